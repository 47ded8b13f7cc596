"""The REST API of users and jobs (docs/architecture.md has the routes and who may use them).

Every answer is JSON, every error is `{"error": "<sentence>"}`. Routes are
thin: they authenticate, read and check what was sent, ask the manager or a
cluster, and render what comes back. Whoever was authenticated gets a cookie
with the answer, and the authenticator its say, also when the answer is an error.
"""

from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from quart import Quart, Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from gateway.auth.authenticator import Authenticator
from gateway.auth.sessions import Sessions, finished, identify
from gateway.clusters.manager import Manager
from gateway.config.site_errors import advice
from gateway.config.structure import shown
from gateway.errors import BadRequest, GatewayError, InvalidRequest, NoAccount, NotFound, NotJson
from gateway.models import MOST_WORKERS, User
from gateway.web.reads import Reads
from gateway.web.request_origin import may_change

_log = structlog.get_logger()

#: Bytes. No honest request of a user comes near it; what is stored of one may have a quarter (clusters/quota.py).
BODY_LIMIT = 256 * 1024

#: Seconds that `?wait` waits at most; the published client asks again.
WAIT_PATIENCE = 20.0


def create_api(
    manager: Manager,
    authenticator: Authenticator,
    sessions: Sessions,
    reads: Reads,
) -> Quart:
    """The app with all its routes."""
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.config["RESPONSE_TIMEOUT"] = None
    _add_error_handlers(app)

    async def identified() -> User:
        identity = g.identity = await identify(authenticator, sessions, request)
        return identity.user

    @app.after_request
    async def introduce(response: Response) -> Response:
        identity = g.get("identity")
        if identity is not None and identity.new_cookie is not None:
            response.headers.add("Set-Cookie", identity.new_cookie)
        if identity is not None and identity.fresh:
            await finished(authenticator.pre_response(request, response, identity.context))
        return response

    @app.get("/api/health")
    async def health() -> Response:
        return _json(*reads.health())

    @app.get("/api/version")
    async def version() -> Response:
        return _json(*reads.version())

    @app.get("/api/v1/options")
    async def options() -> Response:
        user = await identified()
        return _json(*reads.options(user, await manager.options_for(user)))

    @app.get("/api/v1/clusters/")
    async def list_clusters() -> Response:
        return _json(*reads.clusters(await identified(), request.args.get("status")))

    @app.post("/api/v1/clusters/")
    async def create_cluster() -> Response:
        user = await identified()
        body = await _body()
        requested = body.get("cluster_options")
        cluster = await manager.create(user, {} if requested is None else requested)
        _log.info("cluster created", cluster=cluster.name, user=user.name)
        return _json(201, {"name": cluster.name})

    @app.get("/api/v1/clusters/<name>")
    async def get_cluster(name: str) -> Response:
        user = await identified()
        cluster = reads.owned(user, name)
        if _flag(request.args.get("wait")):
            await cluster.wait_started(WAIT_PATIENCE)
        return _json(*reads.cluster(user, name))

    @app.delete("/api/v1/clusters/<name>")
    async def stop_cluster(name: str) -> Response:
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("token "):
            if manager.knows(name):  # else it has been forgotten, and its job is told that it has stopped
                await manager.authenticated(name, authorization).stop_itself()
            return _json(204)
        user = await identified()
        try:
            cluster = reads.owned(user, name, "stop")
        except NotFound:
            pass  # what is not there has stopped
        else:
            await cluster.stop()
        return _json(204)

    @app.post("/api/v1/clusters/<name>/scale")
    async def scale_cluster(name: str) -> Response:
        user = await identified()
        cluster = reads.owned(user, name, "scale")
        count = _count(await _body(), "count")
        message = await cluster.scale(count)
        return _json(200, {"ok": not message, "msg": message or None})

    @app.post("/api/v1/clusters/<name>/adapt")
    async def adapt_cluster(name: str) -> Response:
        user = await identified()
        cluster = reads.owned(user, name, "scale")
        body = await _body()
        active = body.get("active", True)
        if type(active) is not bool:
            raise InvalidRequest(f"Field 'active' is {shown(active)}, expected true or false")
        minimum, maximum = (
            None if body.get(field) is None else _count(body, field) for field in ("minimum", "maximum")
        )
        if minimum is not None and maximum is not None and minimum > maximum:
            raise InvalidRequest(f"Field 'minimum' ({minimum}) is larger than field 'maximum' ({maximum})")
        message = await cluster.adapt(minimum, maximum, active)
        return _json(200, {"ok": not message, "msg": message or None})

    @app.get("/api/v1/clusters/<name>/events")
    async def events(name: str) -> Response:
        return _json(*reads.events(await identified(), name))

    @app.get("/api/v1/clusters/<name>/traffic")
    async def show_traffic(name: str) -> Response:
        return _json(*reads.traffic(await identified(), name))

    return app


def _json(status: int, body: Any = None) -> Response:
    return Response(b"" if body is None else orjson.dumps(body), status, content_type="application/json")


async def _body() -> Mapping[str, Any]:
    try:
        body = orjson.loads(await request.get_data())
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The request body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"The request body is a JSON {type(body).__name__}, expected an object")
    return body


def _flag(text: str | None) -> bool:
    """`?wait` and `?wait=1` are true, `?wait=0` and anything that is no number are false."""
    if text is None or text == "":
        return text == ""
    try:
        return int(text) != 0
    except ValueError:
        return False


def _count(body: Mapping[str, Any], field: str) -> int:
    value = body.get(field)
    if type(value) is int and 0 <= value <= MOST_WORKERS:
        return value
    raise InvalidRequest(f"Field {field!r} is {shown(value)}, expected a non-negative integer up to {MOST_WORKERS}")


def _add_error_handlers(app: Quart) -> None:
    @app.before_request
    async def exact_paths() -> None:
        if isinstance(request.routing_exception, RequestRedirect):  # to the same path with or without a slash
            raise NotFound(f"There is nothing at {request.path}")

    @app.before_request
    async def declared_as_json() -> None:
        if request.routing_exception is None and not may_change(request.method, request.scope["headers"]):
            raise NotJson("Changes are taken as JSON: send the header Content-Type: application/json")

    @app.errorhandler(NoAccount)
    async def nameless(error: NoAccount) -> Response:
        return _json(422, {"error": str(error)})

    @app.errorhandler(GatewayError)
    async def told(error: GatewayError) -> Response:
        response = _json(error.status, {"error": str(error)})
        response.headers.extend(error.headers)
        return response

    @app.errorhandler(HTTPException)
    async def http(error: HTTPException) -> Response:
        response = _json(error.code or 500, {"error": error.description or error.name})
        for name, value in error.get_headers():
            if name.lower() in ("allow", "www-authenticate"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        hint = advice(error).removeprefix(": ")
        more = {"hint": hint} if hint else {}
        _log.error("an error inside the gateway", method=request.method, path=request.path, **more, exc_info=error)
        return _json(500, {"error": "An error inside the gateway; its log has the details"})
