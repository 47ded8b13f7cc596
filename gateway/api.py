"""The REST API of users and jobs (docs/architecture.md has the routes and who may use them).

Every answer is JSON, every error is `{"error": "<sentence>"}`. Routes are
thin: they authenticate, read and check what was sent, ask the manager or a
cluster, and render what comes back.
"""

from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from quart import Quart, Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from gateway import __version__
from gateway.auth import Authenticator, Identity, Sessions, identify
from gateway.cluster import Cluster
from gateway.errors import BadRequest, Forbidden, GatewayError, InvalidRequest, NotFound
from gateway.manager import Manager
from gateway.models import ClusterRecord, ClusterStatus, User
from gateway.store import Store

_log = structlog.get_logger()

#: Bytes. No honest request of a user comes near it.
BODY_LIMIT = 1024 * 1024

#: Seconds that `?wait` waits at most; the published client asks again.
WAIT_PATIENCE = 20.0


def create_api(manager: Manager, authenticator: Authenticator, sessions: Sessions, store: Store) -> Quart:
    """The app with all its routes."""
    app = QuartTrio(__name__)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.config["RESPONSE_TIMEOUT"] = None
    _add_error_handlers(app)

    async def identified() -> Identity:
        return await identify(authenticator, sessions, request)

    async def respond(identity: Identity, status: int, body: Any = None) -> Response:
        response = _json(status, body)
        if identity.new_cookie is not None:
            response.headers.add("Set-Cookie", identity.new_cookie)
        if identity.fresh:
            await authenticator.pre_response(request, response, identity.context)
        return response

    def owned(name: str, user: User, verb: str = "view") -> Cluster:
        cluster = manager.find(name)
        if cluster.record.username != user.name:
            raise Forbidden(f"User {user.name} lacks permissions to {verb} cluster {name}")
        return cluster

    @app.get("/api/health")
    async def health() -> Response:
        return _json(200, {"status": "pass"}) if store.healthy else _json(503, {"status": "fail"})

    @app.get("/api/version")
    async def version() -> Response:
        return _json(200, {"version": __version__})

    @app.get("/api/v1/options")
    async def options() -> Response:
        who = await identified()
        chosen = await manager.options_for(who.user)
        return await respond(who, 200, {"cluster_options": chosen.specification()})

    @app.get("/api/v1/clusters/")
    async def list_clusters() -> Response:
        who = await identified()
        clusters = manager.list(who.user, _statuses(request.args.get("status")))
        return await respond(who, 200, {cluster.name: report(cluster.record) for cluster in clusters})

    @app.post("/api/v1/clusters/")
    async def create_cluster() -> Response:
        who = await identified()
        body = await _body()
        cluster = await manager.create(who.user, body.get("cluster_options") or {})
        _log.info("cluster created", cluster=cluster.name, user=who.user.name)
        return await respond(who, 201, {"name": cluster.name})

    @app.get("/api/v1/clusters/<name>")
    async def get_cluster(name: str) -> Response:
        who = await identified()
        cluster = owned(name, who.user)
        if _flag(request.args.get("wait")):
            await cluster.wait_started(WAIT_PATIENCE)
        return await respond(who, 200, full_report(cluster.record))

    @app.delete("/api/v1/clusters/<name>")
    async def stop_cluster(name: str) -> Response:
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("token "):
            await manager.authenticated(name, authorization).stop()
            return _json(204)
        who = await identified()
        try:
            cluster = owned(name, who.user, "stop")
        except NotFound:
            pass  # what is not there has stopped
        else:
            await cluster.stop()
        return await respond(who, 204)

    @app.post("/api/v1/clusters/<name>/scale")
    async def scale_cluster(name: str) -> Response:
        who = await identified()
        cluster = owned(name, who.user, "scale")
        count = (await _body()).get("count")
        if type(count) is not int or count < 0:
            raise InvalidRequest(f"Scale expects a non-negative integer, got {count!r}")
        message = await cluster.scale(count)
        return await respond(who, 200, {"ok": not message, "msg": message or None})

    @app.post("/api/v1/clusters/<name>/adapt")
    async def adapt_cluster(name: str) -> Response:
        who = await identified()
        cluster = owned(name, who.user, "scale")
        body = await _body()
        active = body.get("active", True)
        if type(active) is not bool:
            raise InvalidRequest(f"Field 'active' is {active!r}, expected true or false")
        minimum, maximum = (_optional_count(body, field) for field in ("minimum", "maximum"))
        if minimum is not None and maximum is not None and minimum > maximum:
            raise InvalidRequest(f"Field 'minimum' ({minimum}) is larger than field 'maximum' ({maximum})")
        message = await cluster.adapt(minimum, maximum, active)
        return await respond(who, 200, {"ok": not message, "msg": message or None})

    @app.get("/api/v1/clusters/<name>/events")
    async def events(name: str) -> Response:
        who = await identified()
        cluster = owned(name, who.user)
        told = [{"time": event.time, "message": event.message} for event in cluster.events]
        return await respond(who, 200, {"events": told})

    return app


def report(record: ClusterRecord) -> dict[str, Any]:
    """A cluster as lists show it. The published client takes exactly these keys."""
    running = record.status is ClusterStatus.RUNNING
    return {
        "name": record.name,
        "dashboard_route": f"/clusters/{record.name}/status" if running and record.dashboard_address else None,
        "status": record.status,
        "start_time": record.start_time,
        "stop_time": record.stop_time,
        "options": record.options,
    }


def full_report(record: ClusterRecord) -> dict[str, Any]:
    """A single cluster for its owner, with what is needed to connect while it runs."""
    running = record.status is ClusterStatus.RUNNING
    return {
        **report(record),
        "tls_cert": record.tls_cert if running else None,
        "tls_key": record.tls_key if running else None,
    }


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


def _statuses(text: str | None) -> frozenset[ClusterStatus] | None:
    if text is None:
        return None
    try:
        return frozenset(ClusterStatus(name.strip().upper()) for name in text.split(","))
    except ValueError:
        known = ", ".join(ClusterStatus)
        raise InvalidRequest(f"Query 'status' is {text!r}, expected some of {known}, separated by commas") from None


def _flag(text: str | None) -> bool:
    """`?wait` and `?wait=1` are true, `?wait=0` and anything that is no number are false."""
    if text is None or text == "":
        return text == ""
    try:
        return int(text) != 0
    except ValueError:
        return False


def _optional_count(body: Mapping[str, Any], field: str) -> int | None:
    value = body.get(field)
    if value is None or (type(value) is int and value >= 0):
        return value
    raise InvalidRequest(f"Field {field!r} is {value!r}, expected an integer >= 0 or null")


def _add_error_handlers(app: Quart) -> None:
    @app.errorhandler(GatewayError)
    async def told(error: GatewayError) -> Response:
        response = _json(error.status, {"error": str(error)})
        response.headers.extend(error.headers)
        return response

    @app.errorhandler(HTTPException)
    async def http(error: HTTPException) -> Response:
        response = _json(error.code or 500, {"error": error.description or error.name})
        for name, value in error.get_headers():
            if name.lower() == "allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def bug(error: Exception) -> Response:
        _log.error("an error inside the gateway", method=request.method, path=request.path, exc_info=error)
        return _json(500, {"error": "An error inside the gateway; its log has the details"})
