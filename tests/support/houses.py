"""A whole gateway without sockets: the front, the API and a manager, on a fake batch system and a fake store.

    async with open_house() as house:
        answer = await house.ask("POST", "/api/v1/clusters/", body={})
        await house.beat(answer.json["name"])

`ask` is an ASGI server of one request; a request whose client hangs up is
`house.request(...)` with an event of the test's own.
"""

import base64
from contextlib import asynccontextmanager

import orjson
import trio
from attrs import evolve, frozen

from gateway.auth.chain import Chain
from gateway.auth.ended_sessions import EndedSessions
from gateway.auth.login_state import LoginStates
from gateway.auth.sessions import Sessions
from gateway.auth.simple import SimpleAuthenticator
from gateway.auth.token_registry import TokenRegistry
from gateway.auth.unix_groups import UnixGroups
from gateway.clusters.ledger import Ledger
from gateway.clusters.manager import open_manager
from gateway.clusters.services import Services
from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.server import DaskGateway
from gateway.models import ClusterRecord
from gateway.web.admin.server import open_admin_socket
from gateway.web.api import create_api
from gateway.web.event_stream import EventStreams
from gateway.web.heartbeat_route import heartbeat_app
from gateway.web.reads import FastReads, Reads
from gateway.web.router import Router
from tests.support.fake_store import FakeStore
from tests.support.fakes import RULES, FakeDriver, FakeRoutes

REPORT_KEYS = {"name", "dashboard_route", "status", "start_time", "stop_time", "options"}


@frozen
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return orjson.loads(self.body)

    @property
    def error(self):
        return self.json["error"]


class NoGroups(UnixGroups):
    """A system on which nobody is in any group; it needs no thread."""

    def known(self, name):
        return frozenset()


class FixedGroups(NoGroups):
    """A system on which these users are in these groups."""

    def __init__(self, **groups):
        super().__init__()
        self.groups = groups

    def known(self, name):
        return frozenset(self.groups.get(name, ()))


def chain_of(*authenticators, prefix="", store=None, sessions=None, **parts):
    """These authenticators, with sessions and personal tokens that are kept in a store."""
    store, first = store or FakeStore(), authenticators[0]
    if sessions is None:
        ended = EndedSessions(first.login_max_age, store.save, store.forget_documents)
        keys = store.derive_keys(b"sessions")
        sessions = Sessions(first.cookie_name, first.cache_max_age, prefix, keys=keys, ended=ended)
    tokens = TokenRegistry(store.save, store.forget_documents, store.documents.values())
    return Chain(authenticators, sessions, **{"groups": NoGroups(), "tokens": tokens, **parts})


def basic(user, password=""):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def heartbeat(count=0, *, host="10.0.0.1", **fields):
    """A heartbeat as the published scheduler preload sends it."""
    return {
        "scheduler_address": f"tls://{host}:8786",
        "dashboard_address": f"http://{host}:8787",
        "api_address": f"http://{host}:9000",
        "count": count,
        "active_workers": [],
        "closing_workers": [],
        "closed_workers": [],
        **fields,
    }


def record(name="c0ffee", username="alice", **values):
    """A cluster as the store remembers it."""
    about = {"token": f"token-of-{name}", "tls_cert": "cert", "tls_key": "key", "options": {}, "config": {}}
    return ClusterRecord(name=name, username=username, start_time=1, **(about | values))


async def ask_app(
    app,
    method,
    path,
    *,
    headers=(),
    data=b"",
    scheme="http",
    hang_up=None,
    kind="http",
    query="",
    whole=True,
    sent=None,
):
    """One request to an ASGI app: an `Answer`, or the list of what was sent for a websocket.

    Unless the request is `whole`, more is announced, and never comes. `sent` is a list that gets what is sent, at once.
    """
    scope = {
        "type": kind,
        "asgi": {"spec_version": "2.3", "version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "extensions": {},
        "state": {},
    }
    pending = [{"type": "http.request", "body": data, "more_body": not whole}]
    if kind == "websocket":
        pending = [{"type": "websocket.connect"}]
    sent = [] if sent is None else sent

    async def receive():
        await trio.lowlevel.checkpoint()
        if pending:
            return pending.pop(0)
        await (trio.Event() if hang_up is None else hang_up).wait()
        return {"type": f"{kind}.disconnect"}

    async def send(message):
        await trio.lowlevel.checkpoint()
        sent.append(message)

    await app(scope, receive, send)
    if kind == "websocket" or not sent:
        return sent
    assert sent[0]["type"] == "http.response.start"
    names = {}
    for name, value in sent[0]["headers"]:
        names.setdefault(name.decode().lower(), []).append(value.decode("latin-1"))
    return Answer(sent[0]["status"], names, b"".join(message.get("body", b"") for message in sent[1:]))


class InProcessGateway:
    """A gateway. `ask` speaks as a user, or as a job with `token`."""

    def __init__(self, app, manager, driver, store, routes):
        self.app = app
        self.manager = manager
        self.driver = driver
        self.store = store
        self.routes = routes

    async def ask(self, method, path, *, user="alice", password="", token=None, body=None, headers=(), **more):
        headers = list(headers)
        if token is not None:
            headers.append(("Authorization", f"token {token}"))
        elif user is not None:
            headers.append(("Authorization", basic(user, password)))
        if body is not None:
            more["data"] = orjson.dumps(body)
        if ("data" in more or method == "POST") and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/json"))
        path, _, query = path.partition("?")
        return await ask_app(self.app, method, path, headers=headers, query=query, **more)

    async def create(self, options=None, user="alice"):
        """A new cluster's name."""
        answer = await self.ask("POST", "/api/v1/clusters/", user=user, body={"cluster_options": options or {}})
        assert answer.status == 201, answer.body
        return answer.json["name"]

    async def beat(self, name, count=0, **fields):
        token = self.manager.find(name).record.token
        path = f"/api/v1/clusters/{name}/heartbeat"
        return await self.ask("POST", path, token=token, body=heartbeat(count, **fields))

    async def running(self, options=None, user="alice"):
        """The name of a new cluster that runs."""
        name = await self.create(options, user)
        answer = await self.beat(name)
        assert answer.status == 200, answer.body
        return name


@asynccontextmanager
async def with_admin_socket(house, path):
    """The administrator's socket of a house at this path, for as long as the context lasts."""
    with open_admin_socket(DaskGateway(admin_socket=str(path)), {}) as admin:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(admin.serve, house.api)
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_house(
    *,
    authenticator=None,
    cluster_config=None,
    store=None,
    driver=None,
    dashboards=None,
    prefix="",
    secure=False,
    hosts=None,
    limits=None,
    groups=None,
    tokens=None,
    **backend_options,
):
    """A gateway with these parts; the rest are the usual ones."""
    store, driver, routes = store or FakeStore(), driver or FakeDriver(), FakeRoutes()
    backend = DBBackendBase(db_url="sqlite://", **backend_options)
    rules = evolve(RULES, options=backend, scheduler_api_retries=1)
    services = Services(driver=driver, store=store, routes=routes, rules=rules, ledger=Ledger(limits))
    authenticator = authenticator or SimpleAuthenticator()
    authenticators = authenticator if isinstance(authenticator, tuple) else (authenticator,)
    more = {} if tokens is None else {"tokens": tokens}
    streams = EventStreams()
    chain = chain_of(*authenticators, prefix=prefix, store=store, groups=groups or NoGroups(), **more)
    async with open_manager(backend, cluster_config or ClusterConfig(), services) as manager:
        reads = Reads(manager, store)
        states = LoginStates(store.derive_keys(b"states"))
        api = create_api(manager, chain, reads, states=states, streams=streams, prefix=prefix)
        router = Router(
            api=api,
            heartbeats=heartbeat_app(manager),
            find_read=FastReads(reads, chain).find,
            dashboards=dashboards,
            prefix=prefix,
            secure=secure,
            hosts=hosts,
        )
        house = InProcessGateway(router, manager, driver, store, routes)
        house.chain, house.api, house.streams = chain, api, streams
        house.without_reads = Router(api=api, heartbeats=heartbeat_app(manager), dashboards=None)
        yield house
