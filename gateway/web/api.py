"""The REST API of users and jobs (docs/architecture.md has the routes and who may use them).

Every answer is JSON, every error is `{"error": "<sentence>"}`. Routes are
thin: they authenticate, read and check what was sent, ask the manager or a
cluster, and render what comes back. Whoever was authenticated gets a cookie
with the answer, and the authenticator its say, also when the answer is an error.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from attrs import frozen
from quart import Quart, Response, g, request
from quart_trio import QuartTrio

from gateway.auth.chain import Chain, finished
from gateway.auth.login_state import LoginStates
from gateway.clusters.cluster import Cluster
from gateway.clusters.manager import Manager
from gateway.clusters.sharing import Verb
from gateway.config.structure import shown
from gateway.errors import InvalidRequest, NotFound
from gateway.models import MOST_WORKERS, User
from gateway.web.admin_routes import add_admin
from gateway.web.cluster_news import events_answer, log_answer
from gateway.web.error_answers import add_error_handlers, check_declaration, check_path
from gateway.web.event_stream import EventStreams
from gateway.web.json_answers import flag, json_answer, json_body
from gateway.web.metrics_route import add_metrics
from gateway.web.pages import LEADS_TO, add_pages
from gateway.web.reads import Reads
from gateway.web.shares import add_shares
from gateway.web.token_page import add_token_page
from gateway.web.token_routes import add_token_routes

_log = structlog.get_logger()

#: Bytes. No honest request of a user comes near it; what is stored of one may have a quarter (clusters/quota.py).
BODY_LIMIT = 256 * 1024

#: Seconds that `?wait` waits at most; the published client asks again.
WAIT_TIMEOUT = 20.0


def create_api(
    manager: Manager,
    chain: Chain,
    reads: Reads,
    *,
    states: LoginStates,
    streams: EventStreams,
    prefix: str = "",
    dashboard_host: str = "",
    metrics: Callable[[], bytes] = bytes,
) -> Quart:
    """The app with all its routes, and the pages.

    `prefix` is before the paths that browsers see, `dashboard_host` the pattern of dashboards' own hosts, `metrics` the
    text of `/metrics`.
    """
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_LIMIT
    app.config["RESPONSE_TIMEOUT"] = None
    app.config[LEADS_TO] = f"{dashboard_host}:*" if dashboard_host else ""
    app.before_request(check_path)
    app.before_request(check_declaration)
    add_error_handlers(app, prefix)
    add_pages(app, chain, states, prefix)
    add_token_page(app, chain, prefix)
    add_token_routes(app, chain)
    api = _Api(manager, chain, reads, streams)
    app.after_request(api.introduce)
    app.get("/api/health")(api.health)
    app.get("/api/ready")(api.ready)
    app.get("/api/version")(api.version)
    app.get("/api/v1/login")(api.login_methods)
    app.get("/api/v1/options")(api.options)
    app.get("/api/v1/clusters/")(api.list_clusters)
    app.post("/api/v1/clusters/")(api.create_cluster)
    app.get("/api/v1/clusters/<name>")(api.get_cluster)
    app.delete("/api/v1/clusters/<name>")(api.stop_cluster)
    app.post("/api/v1/clusters/<name>/scale")(api.scale_cluster)
    app.post("/api/v1/clusters/<name>/adapt")(api.adapt_cluster)
    app.get("/api/v1/clusters/<name>/events")(api.events)
    app.get("/api/v1/clusters/<name>/logs")(api.logs)
    app.get("/api/v1/clusters/<name>/traffic")(api.show_traffic)
    add_shares(app, manager, reads, api.identified, prefix)
    add_admin(app, manager, chain, streams)
    add_metrics(app, chain, metrics)
    return app


@frozen
class _Api:
    """The routes, by their functions' names."""

    manager: Manager
    chain: Chain
    reads: Reads
    streams: EventStreams

    async def identified(self) -> User:
        """Who asks. Raises Unauthorized."""
        identity = g.identity = await self.chain.identify(request)
        return identity.user

    async def allowed(self, name: str, verb: Verb) -> Cluster:
        """A cluster with which whoever asks may do this. Raises Unauthorized, NotFound, and what `refusal` says."""
        return self.reads.allowed(await self.identified(), name, verb)

    async def introduce(self, response: Response) -> Response:
        """Give whoever was authenticated a cookie, and the authenticator its say."""
        identity = g.get("identity")
        if identity is not None and identity.new_cookie is not None:
            response.headers.add("Set-Cookie", identity.new_cookie)
        if identity is not None and identity.authenticator is not None:
            await finished(identity.authenticator.pre_response(request, response, identity.context))
        return response

    async def ready(self) -> Response:
        """Whether clusters can be created."""
        return json_answer(*self.reads.ready())

    async def health(self) -> Response:
        """Whether what the gateway needs is there."""
        return json_answer(*self.reads.health())

    async def version(self) -> Response:
        """The gateway's version."""
        return json_answer(*self.reads.version())

    async def login_methods(self) -> Response:
        """How one can log in, for programs that have not yet."""
        methods = [{"name": one.name, "schemes": one.reads, **one.public_hints} for one in self.chain.authenticators]
        return json_answer(200, {"methods": methods})

    async def options(self) -> Response:
        """What the user may set on a cluster."""
        user = await self.identified()
        return json_answer(*self.reads.options(user, await self.manager.options.of(user)))

    async def list_clusters(self) -> Response:
        """The user's clusters; with `?shared`, those of others that are shared with them."""
        user, statuses = await self.identified(), request.args.get("status")
        if flag(request.args.get("shared")):
            return json_answer(*await self.reads.shared_clusters(user, statuses))
        return json_answer(*self.reads.clusters(user, statuses))

    async def create_cluster(self) -> Response:
        """A new cluster."""
        user = await self.identified()
        requested = (await json_body()).get("cluster_options")
        cluster = await self.manager.create(user, {} if requested is None else requested)
        _log.info("cluster created", cluster=cluster.name, user=user.name)
        return json_answer(201, {"name": cluster.name})

    async def get_cluster(self, name: str) -> Response:
        """One cluster; with `?wait`, when it is no longer PENDING."""
        user = await self.identified()
        waits = flag(request.args.get("wait"))  # to connect, as the published client does
        cluster = self.reads.allowed(user, name, "use" if waits else "view")
        if self.reads.needs_admission(user, name):
            await self.manager.let_in(user, cluster)
        if waits:
            await cluster.wait_started(WAIT_TIMEOUT)
        return json_answer(*self.reads.cluster(user, name, keys=g.identity.may_change))

    async def stop_cluster(self, name: str) -> Response:
        """Stop a cluster, for its user or for its own scheduler. What is not there has stopped."""
        authorization = request.headers.get("Authorization", "")
        if authorization.startswith("token "):
            if self.manager.knows(name):  # else it has been forgotten, and its job is told that it has stopped
                await self.manager.authenticated(name, authorization).stop_itself()
            return json_answer(204)
        try:
            cluster = await self.allowed(name, "stop")
        except NotFound:
            return json_answer(204)
        await cluster.stop()
        return json_answer(204)

    async def scale_cluster(self, name: str) -> Response:
        """Ask for a number of workers."""
        cluster = await self.allowed(name, "scale")
        message = await cluster.scale(_count(await json_body(), "count"))
        return json_answer(200, {"ok": not message, "msg": message or None})

    async def adapt_cluster(self, name: str) -> Response:
        """Let the scheduler choose the number of workers, or no longer."""
        cluster = await self.allowed(name, "scale")
        body = await json_body()
        active = body.get("active", True)
        if type(active) is not bool:
            raise InvalidRequest(f"Field 'active' is {shown(active)}, expected true or false")
        minimum, maximum = (
            None if body.get(field) is None else _count(body, field) for field in ("minimum", "maximum")
        )
        if minimum is not None and maximum is not None and minimum > maximum:
            raise InvalidRequest(f"Field 'minimum' ({minimum}) is larger than field 'maximum' ({maximum})")
        message = await cluster.adapt(minimum, maximum, active)
        return json_answer(200, {"ok": not message, "msg": message or None})

    async def events(self, name: str) -> Response:
        """What has happened to a cluster, and happens."""
        user = await self.identified()
        return events_answer(self.streams, user.name, partial(self.reads.allowed, user, name))

    async def logs(self, name: str) -> Response:
        """The log of a job."""
        user = await self.identified()
        return await log_answer(self.streams, user.name, partial(self.reads.allowed, user, name, "use"))

    async def show_traffic(self, name: str) -> Response:
        """What the connections to a cluster's scheduler carry."""
        return json_answer(*self.reads.traffic(await self.identified(), name))


def _count(body: Mapping[str, Any], field: str) -> int:
    value = body.get(field)
    if type(value) is int and 0 <= value <= MOST_WORKERS:
        return value
    raise InvalidRequest(f"Field {field!r} is {shown(value)}, expected a non-negative integer up to {MOST_WORKERS}")
