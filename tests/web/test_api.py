"""The REST API as its clients meet it: every route and every status, above a real manager."""

import orjson
import pytest
import trio
import trio.testing
import werkzeug.exceptions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway import __version__
from gateway.auth.simple import SimpleAuthenticator
from gateway.clusters import cluster as cluster_module
from gateway.clusters.events import time_ms
from gateway.clusters.reasons import by_scheduler
from gateway.clusters.scheduler_client import SchedulerUnreachable
from gateway.config.cluster import ClusterConfig
from gateway.config.option_fields import Integer, Mapping, String
from gateway.config.user_options import Options
from gateway.errors import PublicException, TryAgainLater, Unauthorized
from gateway.models import ClusterStatus, User
from gateway.web import api
from tests.support.fake_store import FakeStore
from tests.support.houses import REPORT_KEYS, open_house, record

CLUSTERS = "/api/v1/clusters/"


@pytest.fixture
def heard(monkeypatch):
    """What schedulers were told; put an exception in to make them deaf."""
    messages = []

    async def tell(address, token, message, *, attempts):
        await trio.lowlevel.checkpoint()
        if messages and isinstance(messages[-1], Exception):
            raise messages[-1]
        messages.append(message)

    monkeypatch.setattr(cluster_module, "tell_scheduler", tell)
    return messages


# ---- health, version, options


async def test_health_and_version_need_no_user():
    async with open_house() as house:
        answer = await house.ask("GET", "/api/health", user=None)
        assert (answer.status, answer.json) == (200, {"status": "pass"})
        assert answer.headers["content-type"] == ["application/json"]
        answer = await house.ask("GET", "/api/version", user=None)
        assert (answer.status, answer.json) == (200, {"version": __version__})


async def test_how_to_log_in_is_told_to_anybody():
    async with open_house() as house:
        answer = await house.ask("GET", "/api/v1/login", user=None)
        assert (answer.status, answer.json) == (200, {"methods": [{"name": "simple", "schemes": ["basic"]}]})


async def test_health_says_when_the_database_is_down():
    async with open_house() as house:
        house.store.healthy = False
        answer = await house.ask("GET", "/api/health", user=None)
        assert (answer.status, answer.json) == (503, {"status": "fail", "failing": ["database"]})


def some_options():
    return Options(Integer("cores", default=1, min=1, max=4, target="worker_cores"))


async def test_options_are_what_the_client_understands():
    async with open_house(cluster_options=some_options()) as house:
        answer = await house.ask("GET", "/api/v1/options")
        assert answer.json == {
            "cluster_options": [
                {"field": "cores", "label": "cores", "default": 1, "spec": {"type": "int", "min": 1, "max": 4}}
            ]
        }


async def _options_of(user):
    await trio.lowlevel.checkpoint()
    return Options(String(f"for_{user.name}"))


@pytest.mark.parametrize("chosen", [_options_of, lambda user: Options(String(f"for_{user.name}"))])
async def test_options_may_depend_on_the_user(chosen):
    async with open_house(cluster_options=chosen) as house:
        for user in ("alice", "bob"):
            (option,) = (await house.ask("GET", "/api/v1/options", user=user)).json["cluster_options"]
            assert option["field"] == f"for_{user}"


def _raises(error):
    def options_for(user):
        raise error

    return options_for


async def _none_later(user):
    await trio.lowlevel.checkpoint()


class Unshowable(Options):
    def get_specification(self):
        raise KeyError("no such group")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_raises(KeyError("no such group")), "These cluster options cannot be used: 'no such group'"),
        (_raises(SystemExit("no licence")), "These cluster options cannot be used: no licence"),
        (_raises(ValueError()), "These cluster options cannot be used: ValueError"),
        (_raises(PublicException("you have enough clusters")), "you have enough clusters"),
        (_raises(ExceptionGroup("several", [KeyError("x")])), "These cluster options cannot be used: 'x'"),
        (lambda user: None, "<lambda>('alice') returned None, expected Options; please tell the administrators"),
        (lambda user: {}, "returned {}, expected Options"),
        (_none_later, "_none_later('alice') returned None, expected Options"),
    ],
    ids=range(8),
)
async def test_a_sites_function_of_options_that_fails_says_the_same_everywhere(function, text):
    async with open_house(cluster_options=function) as house:
        with capture_logs() as logs:
            shown = await house.ask("GET", "/api/v1/options")
            created = await house.ask("POST", CLUSTERS, body={})
        assert (shown.status, shown.error) == (created.status, created.error) == (422, shown.error)
        assert text in shown.error
        if text != "you have enough clusters":  # which is no mistake of the site's
            assert len([line for line in logs if line["log_level"] == "error"]) == 2


async def test_options_that_cannot_be_shown():
    async with open_house(cluster_options=Unshowable()) as house:
        answer = await house.ask("GET", "/api/v1/options")
        assert (answer.status, "no such group" in answer.error) == (422, True)


async def test_a_sites_own_options_class_is_asked_by_the_originals_names():
    class SiteOptions(Options):
        def get_specification(self):
            return [{"field": "mine"}]

        def parse_options(self, request):
            if "bad" in request:
                raise TypeError("bad is bad")
            if "worse" in request:
                raise OSError("worse is worse")
            return {"parsed": dict(request)}

        def get_configuration(self, options, user):
            return None if options["parsed"].get("nothing") else {"worker_cores": options["parsed"].get("n", 1)}

    async with open_house(cluster_options=SiteOptions()) as house:
        assert (await house.ask("GET", "/api/v1/options")).json == {"cluster_options": [{"field": "mine"}]}
        answer = await house.ask("POST", CLUSTERS, body={"cluster_options": {"n": 3}})
        record = house.store.clusters[answer.json["name"]]
        assert record.options == {"parsed": {"n": 3}}
        assert house.manager.find(record.name).ref.config.worker_cores == 3
        for sent, text in (("bad", "Wrong options: bad is bad"), ("worse", "worse is worse"), ("nothing", "got None")):
            answer = await house.ask("POST", CLUSTERS, body={"cluster_options": {sent: 1}})
            assert (answer.status, text in answer.error) == (422, True)


# ---- create


async def test_create_is_durable_before_it_is_acknowledged():
    async with open_house(cluster_options=some_options()) as house:
        answer = await house.ask("POST", CLUSTERS, body={"cluster_options": {"cores": 3}})
        assert (answer.status, set(answer.json)) == (201, {"name"})
        record = house.store.clusters[answer.json["name"]]
        assert (record.username, record.options, record.status) == ("alice", {"cores": 3}, ClusterStatus.PENDING)
        assert house.manager.find(record.name).ref.config.worker_cores == 3


@pytest.mark.parametrize("body", [{}, {"cluster_options": None}, {"cluster_options": {}}, {"more": 1}])
async def test_create_takes_bodies_without_options(body):
    async with open_house() as house:
        assert (await house.ask("POST", CLUSTERS, body=body)).status == 201


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"cluster_options": {"cores": 9}}, 422, "cores must be at most 4"),
        ({"cluster_options": {"cores": "2"}}, 422, "cores must be an integer"),
        ({"cluster_options": {"cors": 2}}, 422, "no option 'cors'"),
        ({"cluster_options": [1]}, 422, "must be an object"),
        ({"cluster_options": []}, 422, "must be an object"),
        ({"cluster_options": False}, 422, "must be an object"),
        ([], 400, "a JSON list"),
        (None, 400, "a JSON NoneType"),
    ],
)
async def test_create_refuses(body, status, text):
    async with open_house(cluster_options=some_options()) as house:
        answer = await house.ask("POST", CLUSTERS, data=orjson.dumps(body))
        assert answer.status == status
        assert text in answer.error
        assert house.store.clusters == {}


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 5000, b'{"a": NaN}'])
async def test_bodies_that_are_no_json(data):
    async with open_house() as house:
        answer = await house.ask("POST", CLUSTERS, data=data)
        assert (answer.status, "not JSON" in answer.error) == (400, True)


async def test_a_body_too_large():
    async with open_house() as house:
        answer = await house.ask("POST", CLUSTERS, data=b" " * (api.BODY_LIMIT + 1))
        assert answer.status == 413
        assert answer.error
        length = [("Content-Length", str(10**12))]
        assert (await house.ask("POST", CLUSTERS, headers=length)).status == 413


@pytest.mark.parametrize("levels", [33, 254, 300, 340, 900])
async def test_options_nested_too_deeply_are_refused(levels):
    options = Options(Mapping("m"), handler=lambda options: {})
    async with open_house(cluster_options=options) as house:
        body = b'{"cluster_options":{"m":' + b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels + 1)
        answer = await house.ask("POST", CLUSTERS, data=body)
        assert (answer.status, "32 levels" in answer.error) == (422, True)
        answer = await house.ask("GET", CLUSTERS)
        assert (answer.status, answer.json) == (200, {})


async def test_options_nested_as_deeply_as_may_be_are_listed():
    options = Options(Mapping("m"), handler=lambda options: {})
    async with open_house(cluster_options=options) as house:
        value = {}
        for _ in range(31):
            value = {"a": value}
        name = await house.create({"m": value})
        answer = await house.ask("GET", CLUSTERS)
        assert answer.json[name]["options"] == {"m": value}


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError("no text")


def a_handler(result):
    def handler(options):
        if isinstance(result, BaseException):
            raise result
        return result

    return Options(handler=handler)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (RuntimeError("the licence server is down"), "the licence server is down"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (SystemExit("no licence"), "no licence"),
        (Unspeakable(), "Unspeakable"),
        ({"worker_coers": 1}, "worker_coers is no option"),
        ({"worker_cores": "one"}, "worker_cores must be an integer"),
        ({"worker_cores": 0, "worker_memory": "lots"}, "worker_memory must be"),
        ([("worker_cores", 1)], "must return a dictionary"),
        ({"scheduler_cores": 9, "cluster_max_cores": 2}, "scheduler_cores must not exceed"),
    ],
)
async def test_a_sites_handler_that_fails_is_explained_and_logged(result, text):
    async with open_house(cluster_options=a_handler(result)) as house:
        with capture_logs() as logs:
            answer = await house.ask("POST", CLUSTERS, body={})
        assert answer.status == 422
        assert text in answer.error
        (line,) = [line for line in logs if line["log_level"] in ("error", "warning")]
        assert line["exc_info"]


async def test_a_handlers_own_refusal_reaches_the_user():
    async with open_house(cluster_options=a_handler(TryAgainLater("Maintenance until noon"))) as house:
        answer = await house.ask("POST", CLUSTERS, body={})
        assert (answer.status, answer.error) == (503, "Maintenance until noon")


async def test_create_when_the_database_is_down():
    async with open_house() as house:
        house.store.broken = TryAgainLater("The gateway's database cannot be written at the moment")
        answer = await house.ask("POST", CLUSTERS, body={})
        assert (answer.status, "database" in answer.error) == (503, True)
        assert (await house.ask("GET", CLUSTERS)).json == {}


async def test_no_clusters_during_a_shutdown():
    async with open_house() as house:
        house.manager.close()
        answer = await house.ask("POST", CLUSTERS, body={})
        assert (answer.status, "shutting down" in answer.error) == (503, True)


# ---- reports


async def test_reports_have_exactly_the_clients_keys():
    async with open_house() as house:
        name = await house.create()
        full = (await house.ask("GET", CLUSTERS + name)).json
        assert set(full) == REPORT_KEYS | {"tls_cert", "tls_key"}
        assert (full["status"], full["dashboard_route"], full["stop_time"]) == ("PENDING", None, None)
        assert (full["tls_cert"], full["tls_key"]) == (None, None)
        assert type(full["start_time"]) is int
        await house.beat(name)
        listed = (await house.ask("GET", CLUSTERS)).json
        assert set(listed) == {name}
        assert set(listed[name]) == REPORT_KEYS
        full = (await house.ask("GET", CLUSTERS + name)).json
        assert full["tls_cert"].startswith("-----BEGIN CERTIFICATE-----")
        assert full["tls_key"].startswith("-----BEGIN")
        assert full["dashboard_route"] == f"/clusters/{name}/status"
        assert {key: value for key, value in full.items() if not key.startswith("tls_")} == listed[name]


async def test_a_cluster_without_a_dashboard():
    async with open_house() as house:
        name = await house.create()
        assert (await house.beat(name, dashboard_address="")).status == 200
        assert (await house.ask("GET", CLUSTERS + name)).json["dashboard_route"] is None


async def test_lists_are_filtered_by_status():
    async with open_house() as house:
        pending, running, stopped = await house.create(), await house.running(), await house.create()
        await house.ask("DELETE", CLUSTERS + stopped)
        await house.manager.find(stopped).wait_ended()

        async def listed(query):
            return set((await house.ask("GET", CLUSTERS + query)).json)

        assert await listed("") == {pending, running}
        assert await listed("?status=STOPPED") == {stopped}
        assert await listed("?status=running,Stopped") == {running, stopped}
        assert await listed("?status=FAILED") == set()
        assert type((await house.ask("GET", CLUSTERS + stopped)).json["stop_time"]) is int
        for bad in ("nonsense", "", "RUNNING,"):
            answer = await house.ask("GET", CLUSTERS + "?status=" + bad)
            assert answer.status == 422
            assert "status" in answer.error


async def test_slashes_are_exact():
    async with open_house() as house:
        name = await house.create()
        for method, path in (
            ("GET", CLUSTERS[:-1]),
            ("POST", CLUSTERS[:-1]),
            ("GET", CLUSTERS + name + "/"),
            ("DELETE", CLUSTERS + name + "/"),
            ("GET", "/api//v1/clusters/"),
            ("GET", "/api/v1/options/"),
            ("POST", CLUSTERS + name + "/heartbeat/"),
            ("GET", "/static/x"),
        ):
            answer = await house.ask(method, path, body={})
            assert (answer.status, set(answer.json)) == (404, {"error"}), path


async def test_methods_a_route_does_not_take():
    async with open_house() as house:
        name = await house.create()
        for method, path in (
            ("PUT", CLUSTERS),
            ("POST", CLUSTERS + name),
            ("GET", CLUSTERS + name + "/scale"),
            ("GET", CLUSTERS + name + "/heartbeat"),
        ):
            answer = await house.ask(method, path)
            assert (answer.status, set(answer.json)) == (405, {"error"})
            assert answer.headers["allow"]


# ---- waiting


async def _put(into, awaitable):
    into.append(await awaitable)


async def test_wait_returns_when_the_cluster_runs():
    async with open_house() as house, trio.open_nursery() as nursery:
        name = await house.create()
        answers = []
        for query in ("?wait", "?wait=1"):
            nursery.start_soon(_put, answers, house.ask("GET", CLUSTERS + name + query))
        await trio.testing.wait_all_tasks_blocked()
        assert answers == []
        for query in ("", "?wait=0", "?wait=soon"):
            assert (await house.ask("GET", CLUSTERS + name + query)).json["status"] == "PENDING"
        await house.beat(name)
        await trio.testing.wait_all_tasks_blocked()
        assert [answer.json["status"] for answer in answers] == ["RUNNING", "RUNNING"]


async def test_waiting_has_an_end(autojump_clock):
    async with open_house() as house:
        name = await house.create()
        begun = trio.current_time()
        assert (await house.ask("GET", CLUSTERS + name + "?wait")).json["status"] == "PENDING"
        assert trio.current_time() - begun == pytest.approx(api.WAIT_TIMEOUT)


async def test_who_waits_for_a_failed_cluster_hears_the_reason():
    async with open_house() as house:
        house.driver.refuse_next("invalid partition specified: nosuch")
        name = await house.create()
        answer = await house.ask("GET", CLUSTERS + name + "?wait")
        assert (answer.status, "invalid partition specified: nosuch" in answer.error) == (409, True)
        await house.manager.find(name).wait_ended()
        answer = await house.ask("GET", CLUSTERS + name)
        assert (answer.status, answer.json["status"]) == (200, "FAILED")
        assert set(answer.json) == REPORT_KEYS | {"tls_cert", "tls_key"}


@pytest.mark.parametrize(("rest", "body"), [("/scale", {"count": 5}), ("/adapt", {"maximum": 5})])
async def test_who_wants_something_of_a_cluster_that_failed_hears_the_reason(rest, body):
    async with open_house() as house:
        house.driver.refuse_next("invalid partition specified: nosuch")
        name = await house.create()
        for _ in range(2):  # while it is being stopped, and then
            answer = await house.ask("POST", CLUSTERS + name + rest, body=body)
            assert answer.status == 409
            assert f"Cluster {name} is not running: it failed to start: the scheduler could not be" in answer.error
            assert "invalid partition specified: nosuch" in answer.error
            await house.manager.find(name).wait_ended()


@pytest.mark.parametrize(("rest", "body"), [("/scale", {"count": 5}), ("/adapt", {})])
async def test_of_a_cluster_of_before_a_restart_the_reason_is_known(rest, body):
    ended = {"scheduler_address": "tls://n1:1", "stop_time": time_ms()}
    failed = record(status=ClusterStatus.FAILED, reason="the disk is full", **ended)
    idle = record("1d1e", status=ClusterStatus.STOPPED, stopped=by_scheduler(600), **ended)
    store = FakeStore()
    for cluster in (failed, idle):
        await store.save(cluster)
    async with open_house(store=store) as house:
        answer = await house.ask("POST", CLUSTERS + "c0ffee" + rest, body=body)
        assert (answer.status, answer.error) == (409, "Cluster c0ffee is not running: it failed: the disk is full")
        answer = await house.ask("POST", CLUSTERS + "1d1e" + rest, body=body)
        assert (answer.status, "it has stopped: it was idle for 10 min" in answer.error) == (409, True)
        answer = await house.ask("GET", CLUSTERS + "c0ffee?wait")
        assert (answer.status, answer.error) == (409, "Cluster c0ffee failed: the disk is full")
        answer = await house.ask("GET", CLUSTERS + "1d1e?wait")
        assert (answer.status, "it was idle for 10 min" in answer.error) == (409, True)
        assert (await house.ask("GET", CLUSTERS + "1d1e")).json["status"] == "STOPPED"


async def test_an_idle_cluster_says_that_it_was_idle():
    async with open_house(cluster_config=ClusterConfig(idle_timeout=90)) as house:
        name = await house.running()
        token = house.manager.find(name).record.token
        assert (await house.ask("DELETE", CLUSTERS + name, token=token)).status == 204
        await house.manager.find(name).wait_ended()
        told = [event["message"] for event in (await house.ask("GET", CLUSTERS + name + "/events")).json["events"]]
        assert "Stopping: it was idle for 1 min 30 s (its idle timeout) and stopped itself" in told
        answer = await house.ask("POST", CLUSTERS + name + "/scale", body={"count": 1})
        assert (answer.status, "it was idle for 1 min 30 s" in answer.error) == (409, True)
        assert house.store.clusters[name].stopped
        assert house.manager.find(name).record.status is ClusterStatus.STOPPED


async def test_a_cluster_that_its_user_stopped_says_so():
    async with open_house() as house:
        name = await house.running()
        await house.ask("DELETE", CLUSTERS + name)
        await house.manager.find(name).wait_ended()
        answer = await house.ask("POST", CLUSTERS + name + "/scale", body={"count": 1})
        assert (answer.status, "its user has stopped it" in answer.error) == (409, True)
        answer = await house.ask("GET", CLUSTERS + name + "?wait")
        assert (answer.status, answer.json["status"]) == (200, "STOPPED")  # for which the client has its own words


async def test_a_waiting_client_that_hangs_up_leaves_nothing():
    async with open_house() as house:
        name = await house.create()
        await trio.testing.wait_all_tasks_blocked()
        before = trio.lowlevel.current_statistics().tasks_living
        hang_up = trio.Event()
        hang_up.set()
        assert await house.ask("GET", CLUSTERS + name + "?wait", hang_up=hang_up) == []
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().tasks_living == before


# ---- whose cluster


ROUTES = [
    ("GET", "", None),
    ("GET", "/events", None),
    ("GET", "/traffic", None),
    ("DELETE", "", None),
    ("POST", "/scale", {"count": 1}),
    ("POST", "/adapt", {}),
]


@pytest.mark.parametrize(("method", "rest", "body"), ROUTES)
async def test_clusters_of_others(method, rest, body):
    async with open_house() as house:
        name = await house.running(user="alice")
        assert (await house.ask("GET", CLUSTERS, user="mallory")).json == {}
        answer = await house.ask(method, CLUSTERS + name + rest, user="mallory", body=body)
        assert answer.status == 403
        assert "mallory" in answer.error
        assert house.manager.find(name).record.status is ClusterStatus.RUNNING


@pytest.mark.parametrize(("method", "rest", "body"), ROUTES)
async def test_clusters_that_do_not_exist(method, rest, body):
    async with open_house() as house:
        answer = await house.ask(method, CLUSTERS + "nosuch" + rest, body=body)
        assert answer.status == (204 if method == "DELETE" else 404)


@pytest.mark.parametrize(("method", "rest", "body"), ROUTES)
async def test_nobody_is_challenged_even_for_what_does_not_exist(method, rest, body):
    async with open_house() as house:
        answer = await house.ask(method, CLUSTERS + "nosuch" + rest, user=None, body=body)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["Basic"])


@pytest.mark.parametrize(("method", "path"), [("GET", CLUSTERS), ("POST", CLUSTERS), ("GET", "/api/v1/options")])
async def test_nobody_is_challenged(method, path):
    async with open_house() as house:
        answer = await house.ask(method, path, user=None)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["Basic"])


# ---- stop


async def test_stop_by_the_user_and_by_the_job():
    async with open_house() as house:
        for how in ({}, {"token": True}):
            name = await house.running()
            if how:
                how = {"token": house.manager.find(name).record.token}
            for _ in range(2):
                answer = await house.ask("DELETE", CLUSTERS + name, **how)
                assert (answer.status, answer.body) == (204, b"")
                assert house.store.clusters[name].status is not ClusterStatus.RUNNING
            await house.manager.find(name).wait_ended()


async def test_tokens_open_their_own_cluster_only():
    async with open_house() as house:
        mine, other = await house.running(), await house.running()
        token = house.manager.find(mine).record.token
        answer = await house.ask("DELETE", CLUSTERS + other, token=token)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["token"])
        answer = await house.ask("DELETE", CLUSTERS + "nosuch", token=token)
        assert (answer.status, answer.body) == (204, b"")  # a forgotten cluster's idle shutdown is no mistake
        for method, rest, body in ROUTES:
            if method != "DELETE":
                assert (await house.ask(method, CLUSTERS + mine + rest, token=token, body=body)).status == 401
        assert house.manager.find(other).record.status is ClusterStatus.RUNNING


# ---- scale and adapt


async def test_scale(heard):
    async with open_house() as house:
        name = await house.running()
        answer = await house.ask("POST", CLUSTERS + name + "/scale", body={"count": 2})
        assert (answer.status, answer.json) == (200, {"ok": True, "msg": None})
        assert heard == [{"op": "scale", "count": 2}]
        (_, spec) = await house.driver.wait_submissions(2)
        assert spec.count == 2
        assert house.store.clusters[name].count == 2


@pytest.mark.parametrize("count", [-1, True, "2", 2.0, None, [], 10**18, 2**64 - 1, 10**30])
async def test_scale_refuses_what_is_no_count(count, heard):
    async with open_house() as house:
        name = await house.running()
        data = b'{"count": %s}' % (b"1" + b"0" * 30 if count == 10**30 else orjson.dumps(count))
        answer = await house.ask("POST", CLUSTERS + name + "/scale", data=data)
        assert answer.status == 422
        assert "integer" in answer.error
        assert heard == []


async def test_what_the_user_should_know_comes_with_scale_and_adapt(heard):
    async with open_house(cluster_config=ClusterConfig(cluster_max_workers=2)) as house:
        name = await house.running()
        for rest, body in (("/scale", {"count": 5}), ("/adapt", {"maximum": 5})):
            answer = (await house.ask("POST", CLUSTERS + name + rest, body=body)).json
            assert answer["ok"] is False
            assert "limit of 2 workers" in answer["msg"]


async def test_scale_and_adapt_need_a_running_cluster_that_listens(heard):
    async with open_house() as house:
        name = await house.create()
        for rest, body in (("/scale", {"count": 5}), ("/adapt", {})):
            answer = await house.ask("POST", CLUSTERS + name + rest, body=body)
            assert (answer.status, "is not running" in answer.error) == (409, True)
        await house.beat(name)
        heard.append(SchedulerUnreachable("The cluster's scheduler does not take messages"))
        for rest, body in (("/scale", {"count": 5}), ("/adapt", {})):
            answer = await house.ask("POST", CLUSTERS + name + rest, body=body)
            assert (answer.status, "does not take" in answer.error) == (409, True)


async def test_scale_is_durable_before_it_is_acknowledged(heard):
    async with open_house() as house, trio.open_nursery() as nursery:
        name = await house.running()
        await trio.testing.wait_all_tasks_blocked()
        house.store.held = trio.Event()
        answers = []
        nursery.start_soon(_put, answers, house.ask("POST", CLUSTERS + name + "/scale", body={"count": 2}))
        await trio.testing.wait_all_tasks_blocked()
        assert answers == []
        house.store.held.set()
        await trio.testing.wait_all_tasks_blocked()
        assert answers[0].status == 200


@pytest.mark.parametrize(("rest", "body"), [("/scale", {"count": 2}), ("/adapt", {})])
async def test_a_cluster_that_ends_while_its_scheduler_is_told(rest, body, monkeypatch):
    go_on = trio.Event()

    async def slow(*arguments, **more):
        await go_on.wait()

    monkeypatch.setattr(cluster_module, "tell_scheduler", slow)
    async with open_house() as house, trio.open_nursery() as nursery:
        name = await house.running()
        answers = []
        nursery.start_soon(_put, answers, house.ask("POST", CLUSTERS + name + rest, body=body))
        await trio.testing.wait_all_tasks_blocked()
        await house.ask("DELETE", CLUSTERS + name)
        await house.manager.find(name).wait_ended()
        go_on.set()
        await trio.testing.wait_all_tasks_blocked()
        assert answers[0].status == 409
        with trio.fail_after(30):  # and there is nothing left to write
            assert (await house.ask("DELETE", CLUSTERS + name)).status == 204


async def test_adapt(heard):
    async with open_house() as house:
        name = await house.running()
        path = CLUSTERS + name + "/adapt"
        for body in ({"minimum": 1, "maximum": 3, "active": True}, {"minimum": None, "maximum": None}, {}):
            assert (await house.ask("POST", path, body=body)).json == {"ok": True, "msg": None}
        assert heard[0] == {"op": "adapt", "minimum": 1, "maximum": 3, "active": True}
        assert heard[1] == heard[2] == {"op": "adapt", "minimum": None, "maximum": None, "active": True}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"minimum": -1}, "minimum"),
        ({"maximum": True}, "maximum"),
        ({"maximum": "3"}, "maximum"),
        ({"maximum": 10**15}, "maximum"),
        ({"active": 1}, "active"),
        ({"active": None}, "active"),
        ({"minimum": 3, "maximum": 2}, "minimum"),
    ],
)
async def test_adapt_names_the_wrong_field(body, field, heard):
    async with open_house() as house:
        name = await house.running()
        answer = await house.ask("POST", CLUSTERS + name + "/adapt", body=body)
        assert (answer.status, f"'{field}'" in answer.error) == (422, True)
        assert heard == []


# ---- events


async def test_events_tell_what_happened():
    async with open_house() as house:
        name = await house.running()
        told = (await house.ask("GET", CLUSTERS + name + "/events")).json["events"]
        assert [set(event) for event in told] == [{"time", "message"}] * len(told)
        # The first heartbeat may come before the id is on record.
        assert {event["message"] for event in told} == {"The scheduler is job 1_0", "The scheduler is running"}


# ---- who asks


def a_sites_authenticator(**options):
    """As Kerberos does it, with a context for the answer; what it has seen is in two lists."""
    authenticated, responded = [], []

    class SitesAuthenticator(SimpleAuthenticator):
        async def authenticate(self, request):
            user = await super().authenticate(request)
            authenticated.append(user.name)
            return user, "context"

        async def pre_response(self, request, response, context=None):
            responded.append((response.status_code, context))
            response.headers["WWW-Authenticate"] = "Negotiate proof"

    return SitesAuthenticator(**options), authenticated, responded


async def test_cookies_spare_asking_the_authenticator():
    authenticator, authenticated, responded = a_sites_authenticator(password="secret", cookie_name="dask-gateway-x")
    async with open_house(authenticator=authenticator) as house:
        first = await house.ask("GET", CLUSTERS, password="secret")
        assert first.headers["www-authenticate"] == ["Negotiate proof"]
        (cookie,) = first.headers["set-cookie"]
        assert cookie.startswith("dask-gateway-x=")
        cookie = cookie.split(";")[0]
        again = await house.ask("GET", CLUSTERS, user=None, headers=[("Cookie", cookie)])
        assert again.status == 200
        assert "set-cookie" not in again.headers
        assert "www-authenticate" not in again.headers
        assert authenticated == ["alice"]
        assert responded == [(200, "context")]


async def test_the_authenticator_also_sees_answers_that_are_errors():
    authenticator, _, responded = a_sites_authenticator()
    async with open_house(authenticator=authenticator) as house:
        answer = await house.ask("GET", CLUSTERS + "nosuch")
        assert answer.status == 404
        assert answer.headers["www-authenticate"] == ["Negotiate proof"]
        assert answer.headers["set-cookie"]
        await house.ask("GET", CLUSTERS, user=None)
        assert responded == [(404, "context")]  # the second time nobody was there


@pytest.mark.parametrize(("name", "status"), [("alice", 200), ("bob", 403), ("DOMAIN\\alice", 422)])
async def test_whoever_is_known_and_refused_is_answered_through_the_authenticator_as_well(name, status):
    base, _, responded = a_sites_authenticator(allowed_users={"alice"})

    class Known(type(base)):
        async def authenticate(self, request):
            return User(name), "context"

    async with open_house(authenticator=Known(allowed_users={"alice"})) as house:
        answer = await house.ask("GET", CLUSTERS)
        assert (answer.status, answer.headers["www-authenticate"]) == (status, ["Negotiate proof"])
        assert responded == [(status, "context")]


async def test_a_stale_cookie_falls_through():
    async with open_house(authenticator=SimpleAuthenticator(cookie_name="c")) as house:
        stale = [("Cookie", "c=gAAAAABstale")]
        assert (await house.ask("GET", CLUSTERS, headers=stale)).status == 200
        answer = await house.ask("GET", CLUSTERS, user=None, headers=stale)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["Basic"])


@pytest.mark.parametrize(
    "value", ["", "Basic", "Basic !!", "Basic YQ==", "basic \xff\xfe", "Bearer x", "token", "Negotiate", "Basic " * 99]
)
async def test_malformed_credentials_are_401(value):
    async with open_house() as house:
        for method in ("GET", "DELETE", "POST"):
            answer = await house.ask(method, CLUSTERS + "x", user=None, headers=[("Authorization", value)])
            assert answer.status in (401, 405)
        answer = await house.ask("POST", CLUSTERS + "x/heartbeat", user=None, headers=[("Authorization", value)])
        assert answer.status == 401


async def test_a_wrong_password():
    async with open_house(authenticator=SimpleAuthenticator(password="secret")) as house:
        assert (await house.ask("GET", CLUSTERS, password="guess")).status == 401


class Clumsy(SimpleAuthenticator):
    """A site's own authenticator with mistakes in it."""

    async def authenticate(self, request):
        await trio.lowlevel.checkpoint()
        raise OSError("LDAP is away")


async def test_an_error_inside_shows_users_nothing_of_itself():
    async with open_house(authenticator=Clumsy()) as house:
        with capture_logs() as logs:
            answer = await house.ask("GET", CLUSTERS)
        assert (answer.status, "LDAP" in answer.error) == (500, False)
        assert any("LDAP is away" in repr(line.get("exc_info")) for line in logs)


class HTTPRefusal(Exception):
    """An error as aiohttp's are, without aiohttp."""

    __module__ = "aiohttp.web_exceptions"

    def __init__(self, status, reason, **headers):
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers


class Denied(Exception):
    status = 401


class DeniedByCode(Exception):
    status_code = 401
    headers = {"WWW-AUTHENTICATE": "Bearer\r\nX-Injected: 1"}  # noqa: RUF012


class UpstreamError(Exception):
    status = 404


def an_authenticator_that_raises(error, *, later=True):
    class Raising(SimpleAuthenticator):
        def authenticate(self, request):
            if not later:
                raise error
            return self.fail()

        async def fail(self):
            await trio.lowlevel.checkpoint()
            raise error

    return Raising()


@pytest.mark.parametrize(
    ("error", "status", "text", "challenge"),
    [
        (HTTPRefusal(401, "a token is needed"), 401, "a token is needed", ["Basic"]),
        (HTTPRefusal(401, "no", **{"Www-Authenticate": "Negotiate"}), 401, "no", ["Negotiate"]),
        (HTTPRefusal(403, "not you"), 403, "not you", None),
        (HTTPRefusal(502, "LDAP is away"), 502, "LDAP is away", None),
        (HTTPRefusal(302, "elsewhere"), 500, "An error inside the gateway", None),
        (Denied("the token\nhas expired"), 401, "the token has expired", ["Basic"]),
        (Denied(), 401, "Denied", ["Basic"]),
        (DeniedByCode("x" * 5000), 401, "x" * 1000, ["Basic"]),
        (ExceptionGroup("several", [Denied("in a group")]), 401, "in a group", ["Basic"]),
        (werkzeug.exceptions.Unauthorized("by quart"), 401, "by quart", ["Basic"]),
        (UpstreamError("secret detail"), 500, "An error inside the gateway", None),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("later", [True, False])
async def test_whoever_says_401_means_it(error, status, text, challenge, later):
    async with open_house(authenticator=an_authenticator_that_raises(error, later=later)) as house:
        answer = await house.ask("GET", CLUSTERS)
        assert (answer.status, answer.headers.get("www-authenticate")) == (status, challenge)
        assert text in answer.error
        assert "x-injected" not in answer.headers


async def test_exceptions_of_the_real_aiohttp():
    web = pytest.importorskip("aiohttp.web")
    refusal = web.HTTPUnauthorized(reason="a token is needed", headers={"WWW-Authenticate": "Negotiate"})
    async with open_house(authenticator=an_authenticator_that_raises(refusal)) as house:
        answer = await house.ask("GET", CLUSTERS)
        assert (answer.status, answer.error) == (401, "a token is needed")
        assert answer.headers["www-authenticate"] == ["Negotiate"]


class Synchronous(SimpleAuthenticator):
    """An authenticator whose methods are not async."""

    def authenticate(self, request):
        return User("ann"), "context"

    def pre_response(self, request, response, context=None):
        response.headers["X-Context"] = context


async def test_an_authenticators_methods_need_not_be_async():
    async with open_house(authenticator=Synchronous()) as house:
        answer = await house.ask("POST", CLUSTERS, body={})
        assert (answer.status, answer.headers["x-context"]) == (201, ["context"])
        assert house.store.clusters[answer.json["name"]].username == "ann"


@pytest.mark.parametrize("name", ["DOMAIN\\ann", "ann+x", "ann/admin", "", "an n", "x" * 129, "-ann", "ann\n", None, 3])
async def test_a_name_of_no_account_is_refused_with_the_reason(name):
    class Careless(SimpleAuthenticator):
        async def authenticate(self, request):
            return User(name)

    async with open_house(authenticator=Careless()) as house:
        with capture_logs() as logs:
            answer = await house.ask("GET", CLUSTERS)
        # Of a 401 the published client shows no text.
        assert (answer.status, "www-authenticate" in answer.headers) == (422, False)
        assert f"The user name {name!r} cannot be the name of an account" in answer.error
        assert "c.Authenticator.username_map" in answer.error
        (line,) = logs
        assert (line["log_level"], line["user"], line["authenticator"]) == ("warning", repr(name), "Careless")


@pytest.mark.parametrize("name", ["DOMAIN\\ann", "ann+x"])
async def test_basic_credentials_with_a_name_of_no_account(name):
    async with open_house(authenticator=SimpleAuthenticator(password="secret")) as house:
        answer = await house.ask("GET", CLUSTERS, user=name, password="secret")
        assert (answer.status, "cannot be the name of an account" in answer.error) == (422, True)
        answer = await house.ask("GET", CLUSTERS, user=name, password="guess")  # who knows no password learns nothing
        assert (answer.status, answer.error) == (401, "The password is wrong")


def _without_domain(name):
    domain, _, user = name.rpartition("\\")
    return {"": name, "SITE": user, "ODD": f"{user}+x"}.get(domain)


async def test_names_are_mapped_to_accounts():
    async with open_house(authenticator=SimpleAuthenticator(username_map=_without_domain)) as house:
        for name in ("SITE\\ann", "ann"):
            answer = await house.ask("POST", CLUSTERS, user=name, body={})
            assert house.store.clusters[answer.json["name"]].username == "ann"
        with capture_logs() as logs:
            other = await house.ask("GET", CLUSTERS, user="OTHER\\ann")
            odd = await house.ask("GET", CLUSTERS, user="ODD\\ann")
        assert (other.status, "belongs to no account of this site" in other.error) == (422, True)
        assert (odd.status, "(after username_map: 'ann+x')" in odd.error) == (422, True)
        assert len([line for line in logs if line["log_level"] == "warning"]) == 2  # beside events of the clusters


async def _async_map(name):
    raise NotImplementedError


async def test_a_map_of_names_is_not_async():
    async with open_house(authenticator=SimpleAuthenticator(username_map=_async_map)) as house:
        with capture_logs() as logs:
            assert (await house.ask("GET", CLUSTERS)).status == 500
        assert "username_map must be a function that is not async" in repr(logs[0]["exc_info"])


async def test_code_for_asyncio_is_told_what_to_use():
    error = RuntimeError("no running event loop")
    async with open_house(authenticator=an_authenticator_that_raises(error)) as house:
        with capture_logs() as logs:
            assert (await house.ask("GET", CLUSTERS)).status == 500
        assert "runs on trio" in logs[0]["hint"]


class Unready(SimpleAuthenticator):
    """Fails in groups, as structured concurrency does."""

    async def authenticate(self, request):
        async with trio.open_nursery():
            raise Unauthorized(challenge="Negotiate")


async def test_errors_in_groups_are_what_they_are_alone():
    async with open_house(authenticator=Unready()) as house:
        answer = await house.ask("GET", CLUSTERS)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["Negotiate"])


# ---- anything at all


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = ["cluster_options", "count", "minimum", "maximum", "active", "cores", "environment"]
_bodies = _json | st.dictionaries(st.sampled_from(_FIELDS), _json | st.dictionaries(st.sampled_from(_FIELDS), _json))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_bodies)
def test_no_body_is_an_error_of_ours(body):
    async def main():
        options = Options(Integer("cores", target="worker_cores", default=1), Mapping("environment"))
        async with open_house(cluster_options=options) as house:
            name = await house.running()
            data = orjson.dumps(body, default=str)
            for path in (CLUSTERS, f"{CLUSTERS}{name}/scale", f"{CLUSTERS}{name}/adapt"):
                assert (await house.ask("POST", path, data=data)).status in (200, 201, 400, 409, 422)
            token = house.manager.find(name).record.token
            answer = await house.ask("POST", f"{CLUSTERS}{name}/heartbeat", token=token, data=data)
            assert answer.status in (200, 400, 409, 422)

    async def nobody_listens(*arguments, **more):
        await trio.lowlevel.checkpoint()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster_module, "tell_scheduler", nobody_listens)
        trio.run(main)
