"""Clusters that are shared, as their owners and others meet them by the API."""

import pytest
import trio
import trio.testing

from gateway.auth.simple import SimpleAuthenticator
from gateway.config.cluster import ClusterConfig
from gateway.config.option_fields import String
from gateway.config.user_options import Options
from gateway.models import ClusterStatus, Guest
from tests.support.fake_store import FakeStore
from tests.support.fakes import FakeDriver
from tests.support.houses import REPORT_KEYS, FixedGroups, ask_app, basic, open_house, record

CLUSTERS = "/api/v1/clusters/"
GROUPS = FixedGroups(carol=["physics", "staff"], dave=["staff"])
SHARE_OPTIONS = Options(String("share_use"), String("share_view"), String("note"), handler=lambda options: {
    name: options[name] for name in ("share_use", "share_view")
})  # fmt: skip


def sharing_house(level="use", **options):
    return open_house(sharing=level, groups=GROUPS, cluster_options=SHARE_OPTIONS, **options)


async def put(house, name, user="alice", **shares):
    return await house.ask("PUT", f"{CLUSTERS}{name}/shares", user=user, body=shares)


async def get(house, path, user, query=""):
    """The same by the fast way and by the API's."""
    answer = await house.ask("GET", f"{path}{query}", user=user)
    if not query:
        other = await ask_app(house.without_reads, "GET", path, headers=[("Authorization", basic(user))])
        assert (answer.status, answer.body) == (other.status, other.body)
    return answer


async def report(house, name, user, query=""):
    answer = await get(house, CLUSTERS + name, user, query)
    assert answer.status == 200, answer.body
    assert answer.json.keys() == REPORT_KEYS | {"tls_cert", "tls_key"}, "the published client takes no others"
    return answer.json


async def events(house, name):
    return [event["message"] for event in (await house.ask("GET", f"{CLUSTERS}{name}/events")).json["events"]]


# ---- the owner


async def test_the_owner_shares_and_sees_with_whom():
    async with sharing_house() as house:
        name = await house.running()
        assert (await get(house, f"{CLUSTERS}{name}/shares", "alice")).json == {
            "owner": "alice", "view": [], "use": [], "guests": [],
        }  # fmt: skip
        answer = await put(house, name, view=["@staff"], use="bob, @physics, alice")
        expected = {"owner": "alice", "view": ["@staff"], "use": ["bob", "@physics"], "guests": []}
        assert (answer.status, answer.json) == (200, expected)
        assert (await get(house, f"{CLUSTERS}{name}/shares", "alice")).json == expected
        assert house.store.clusters[name].share_use == ("bob", "@physics")
        assert "Shared: bob, @physics may use it; @staff may view it" in await events(house, name)
        await put(house, name)
        assert (await events(house, name))[-1] == "Shared with nobody"
        before = len(await events(house, name))
        await put(house, name)
        assert len(await events(house, name)) == before, "the same again is no news"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"view": ["bob smith"]}, 422, "Field 'view' must hold names of users, and of groups with an @ in front"),
        ({"use": 3}, 422, "Field 'use' must be a list"),
        ({"use": None}, 422, "Field 'use' must be a list"),
        ({"use": [f"u{number}" for number in range(26)]}, 422, "Field 'use' must hold at most 25 names"),
        ({"users": ["bob"]}, 422, "There is no field 'users': the names stand in 'view' and 'use'"),
        ([], 400, "The request body is a JSON list, expected an object"),
    ],
)
async def test_shares_that_cannot_be(body, status, text):
    async with sharing_house() as house:
        name = await house.running()
        answer = await house.ask("PUT", f"{CLUSTERS}{name}/shares", body=body)
        assert (answer.status, text in answer.error) == (status, True), answer.error
        assert house.store.clusters[name].share_use == ()


@pytest.mark.parametrize(
    ("level", "shares", "text"),
    [
        ("off", {"view": ["bob"]}, "clusters cannot be shared here, unless c.Backend.sharing allows it"),
        ("view", {"use": ["bob"]}, "clusters can only be shared for viewing here, unless c.Backend.sharing allows use"),
    ],
)
async def test_what_the_site_does_not_allow(level, shares, text):
    async with sharing_house(level) as house:
        name = await house.running()
        assert (await report(house, name, "alice"))["name"] == name, "nothing is different"
        assert house.routes.routes == {name: ("tls://10.0.0.1:8786", "http://10.0.0.1:8787")}
        answer = await put(house, name, **shares)
        assert (answer.status, answer.error) == (422, f"Cluster {name} stays as it is: {text}")
        options = {f"share_{verb}": names[0] for verb, names in shares.items()}
        answer = await house.ask("POST", CLUSTERS, body={"cluster_options": options})
        assert (answer.status, answer.error) == (422, f"The cluster would be shared, but {text}")


async def test_a_cluster_is_shared_from_its_beginning_by_an_option():
    async with sharing_house() as house:
        name = await house.running({"share_use": "bob,@physics", "share_view": " dave "})
        assert (await events(house, name))[0] == "Shared: bob, @physics may use it; dave may view it"
        assert (await report(house, name, "bob"))["tls_key"] is not None
        answer = await house.ask("POST", CLUSTERS, body={"cluster_options": {"share_use": "bob smith"}})
        assert (answer.status, "share_use must hold names of users" in answer.error) == (422, True)


async def test_a_site_lets_its_support_see_all_clusters():
    async with open_house(sharing="view", groups=GROUPS, cluster_config=ClusterConfig(share_view="@staff")) as house:
        name = await house.running()
        assert (await report(house, name, "dave"))["tls_key"] is None
        assert (await house.ask("GET", CLUSTERS + name, user="eve")).status == 403


async def test_what_is_shared_is_shared_once_it_is_durable():
    async with sharing_house() as house, trio.open_nursery() as nursery:
        name = await house.running()
        house.store.held = trio.Event()
        nursery.start_soon(lambda: put(house, name, use=["bob"]))
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.ask("GET", CLUSTERS + name, user="bob")).status == 403
        house.store.held.set()
        with trio.fail_after(5):
            while (await house.ask("GET", CLUSTERS + name, user="bob")).status == 403:
                await trio.testing.wait_all_tasks_blocked()


async def test_a_cluster_that_ends_stays_as_it_is():
    async with sharing_house() as house:
        name = await house.running({"share_view": "dave"})
        await house.ask("DELETE", CLUSTERS + name)
        answer = await put(house, name)
        assert (answer.status, answer.error) == (
            409,
            f"Cluster {name} is not running: it has stopped: its user has stopped it",
        )
        assert (await report(house, name, "dave"))["status"] == "STOPPED", "whoever may see it sees what became of it"
        assert (await get(house, f"{CLUSTERS}{name}/shares", "dave")).json["guests"] == []


# ---- those with whom it is shared


async def test_who_may_use_it_gets_the_keys_and_a_name_of_their_own():
    async with sharing_house() as house:
        name = await house.running()
        await put(house, name, use=["bob", "@physics"])
        names, pages = {}, {}
        for user in ("alice", "bob", "carol"):
            seen = await report(house, name, user, "?wait")
            pages[user] = seen["dashboard_route"].removeprefix("/clusters/").removesuffix("/status")
            assert (seen["tls_cert"], seen["tls_key"]) == (
                house.store.clusters[name].tls_cert,
                house.store.clusters[name].tls_key,
            )
            assert seen == await report(house, name, user) == await report(house, seen["name"], user)
            names[user] = seen["name"]
        assert pages["alice"] == name
        own = {*names.values(), pages["bob"], pages["carol"]}
        assert len(own) == 5, "who is given the link to a dashboard does not know the way to the scheduler"
        assert all(one.startswith(f"{name}-") for one in own)
        assert house.routes.routes == {
            **{pages[user]: ("", "http://10.0.0.1:8787") for user in pages},
            **{names[user]: ("tls://10.0.0.1:8786", "") for user in names},
        }
        shares = (await get(house, f"{CLUSTERS}{name}/shares", "alice")).json
        assert shares["guests"] == [
            {"user": "bob", "share": "bob", "access": "use"},
            {"user": "carol", "share": "@physics", "access": "use"},
        ]
        told = await events(house, name)
        assert told[-2:] == ["User bob was let in to use it", "User carol was let in to use it, as a member of physics"]
        secret_parts = [one.removeprefix(f"{name}-") for one in own]
        assert not any(part in text for part in secret_parts for text in [*told, str(shares)])


async def test_who_may_see_it_gets_no_keys_and_no_options():
    async with sharing_house() as house:
        name = await house.running({"share_view": "dave", "note": "password=hunter2"})
        seen = await report(house, name, "dave")
        assert (seen["tls_cert"], seen["tls_key"], seen["options"], seen["name"]) == (None, None, {}, name)
        own = seen["dashboard_route"].split("/")[2]
        assert house.routes.routes[own] == ("", "http://10.0.0.1:8787")
        for part in ("events", "traffic"):
            assert (await get(house, f"{CLUSTERS}{name}/{part}", "dave")).status == 200
        answer = await house.ask("GET", f"{CLUSTERS}{name}?wait", user="dave")
        assert answer.status == 409, "which the published client tells its user, instead of failing for want of a key"
        assert answer.error == (
            f"User dave cannot use cluster {name}: its owner alice shares it with them to see its dashboard,"
            " and nothing else"
        )


@pytest.mark.parametrize("user", ["bob", "dave"])
@pytest.mark.parametrize(
    ("method", "path", "body", "verb"),
    [
        ("POST", "/scale", {"count": 1}, "scale"),
        ("POST", "/adapt", {}, "scale"),
        ("DELETE", "", None, "stop"),
        ("PUT", "/shares", {"use": ["eve"]}, "share"),
        ("DELETE", "/guests/alice", None, "share"),
    ],
)
async def test_what_is_the_owners_alone(user, method, path, body, verb):
    async with sharing_house() as house:
        name = await house.running({"share_use": "bob", "share_view": "dave"})
        own = (await report(house, name, user))["name"]
        for which in (name, own):
            answer = await house.ask(method, f"{CLUSTERS}{which}{path}", user=user, body=body)
            assert (answer.status, f"User {user} cannot {verb} cluster {name}" in answer.error) == (409, True)
        assert house.store.clusters[name].status is ClusterStatus.RUNNING
        assert house.store.clusters[name].share_use == ("bob",)


async def test_others_see_of_the_shares_what_concerns_them():
    async with sharing_house() as house:
        name = await house.running({"share_use": "bob,@physics", "share_view": "@staff,eve"})
        await report(house, name, "bob")
        for user, expected in {
            "bob": {"view": [], "use": ["bob"], "guests": [{"user": "bob", "share": "bob", "access": "use"}]},
            "carol": {"view": ["@staff"], "use": ["@physics"], "guests": []},
            "dave": {"view": ["@staff"], "use": [], "guests": []},
        }.items():
            assert (await get(house, f"{CLUSTERS}{name}/shares", user)).json == {"owner": "alice", **expected}


async def test_lists_have_what_is_shared_when_they_are_asked():
    async with sharing_house() as house:
        mine = await house.running(user="bob")
        name = await house.running({"share_use": "bob", "share_view": "@staff", "note": "n"})
        pending = await house.create({"share_view": "bob"})
        await house.running()
        assert list((await get(house, CLUSTERS, "bob")).json) == [mine], "what a user's scripts connect to, and stop"
        assert (await get(house, CLUSTERS, "bob", "?shared=0")).json.keys() == {mine}
        shared = (await get(house, CLUSTERS, "bob", "?shared=1")).json
        assert list(shared) == [name, pending]
        assert all(entry.keys() == REPORT_KEYS for entry in shared.values())
        assert (shared[name]["name"], shared[name]["dashboard_route"], shared[name]["options"]) == (name, None, {})
        route = (await report(house, name, "bob"))["dashboard_route"]
        shared = (await get(house, CLUSTERS, "bob", "?shared&status=RUNNING")).json
        assert [(entry["name"], entry["dashboard_route"]) for entry in shared.values()] == [(name, route)]
        assert list((await get(house, CLUSTERS, "dave", "?shared=1")).json) == [name]
        assert (await get(house, CLUSTERS, "alice", "?shared=1")).json == {}
        assert (await get(house, CLUSTERS, "bob", "?shared=1&status=NONE")).status == 422


# ---- the end


async def test_whoever_has_no_share_any_more_has_no_way_any_more():
    async with sharing_house() as house:
        name = await house.running({"share_use": "bob,@physics,dave"})
        names = {user: (await report(house, name, user))["name"] for user in ("bob", "carol", "dave")}
        pages = {guest.user: guest.dashboard for guest in house.store.clusters[name].guests}
        await put(house, name, use=["@physics"], view=["dave"])
        routes = house.routes.routes
        assert not {names["bob"], pages["bob"], names["dave"]} & routes.keys()
        assert routes[pages["dave"]] == routes[pages["carol"]] == ("", "http://10.0.0.1:8787")
        assert routes[names["carol"]] == ("tls://10.0.0.1:8786", "")
        for which in (name, names["bob"], names["carol"]):
            answer = await house.ask("GET", CLUSTERS + which, user="bob")
            assert (answer.status, answer.error) == (403, f"User bob lacks permissions to view cluster {name}")
        assert (await report(house, name, "dave"))["tls_key"] is None
        await put(house, name, use=["bob", "dave"])
        assert (await report(house, name, "dave"))["name"] == names["dave"]
        assert (await report(house, name, "bob"))["name"] not in (name, names["bob"]), "an old name stays closed"


async def test_one_guest_is_turned_out_and_may_come_again():
    async with sharing_house() as house:
        name = await house.running({"share_use": "@physics"})
        own = (await report(house, name, "carol"))["name"]
        assert (await house.ask("DELETE", f"{CLUSTERS}{name}/guests/carol")).status == 204
        assert own not in house.routes.routes
        assert (await house.ask("DELETE", f"{CLUSTERS}{name}/guests/carol")).status == 404
        assert (await report(house, name, "carol"))["name"] not in (name, own)


async def test_a_member_who_has_left_the_group():
    groups = FixedGroups(carol=["physics"])
    async with open_house(sharing="use", groups=groups) as house:
        name = await house.running()
        await put(house, name, use=["@physics"])
        await report(house, name, "carol")
        groups.groups["carol"] = ["staff"]
        for path in ("", "/events", "/shares"):
            assert (await house.ask("GET", f"{CLUSTERS}{name}{path}", user="carol")).status == 403


async def test_after_a_restart_it_is_still_shared():
    store, driver = FakeStore(), FakeDriver()

    def restarted(level="use"):
        return sharing_house(level, store=store, driver=driver)

    async with restarted() as house:
        name = await house.running({"share_use": "bob", "share_view": "@staff"})
        names = {user: (await report(house, name, user))["name"] for user in ("alice", "bob")}
    async with restarted() as house:
        assert {user: (await report(house, name, user))["name"] for user in names} == names
        await house.beat(name, host="10.0.0.2")
        assert house.routes.routes[names["bob"]] == ("tls://10.0.0.2:8786", "")
    async with restarted("view") as house:
        assert (await report(house, name, "bob"))["tls_key"] is None
        assert (await report(house, name, "alice"))["name"] == names["alice"]
    async with restarted("off") as house:
        assert (await house.ask("GET", CLUSTERS + name, user="bob")).status == 403
        assert set(house.routes.routes) <= {name, names["alice"]}
    async with restarted() as house:
        assert (await report(house, name, "bob"))["name"] == names["bob"], "what was allowed, is again"


async def test_a_cluster_of_before_can_be_seen_by_others_but_not_used():
    store = FakeStore()
    early = record(status=ClusterStatus.RUNNING, scheduler_address="tls://h:1", dashboard_address="http://h:2")
    store.clusters["c0ffee"] = early
    async with sharing_house(store=store) as house:
        answer = await put(house, "c0ffee", use=["bob"])
        assert (answer.status, "was started when the site allowed no more" in answer.error) == (409, True)
        assert (await put(house, "c0ffee", view=["bob"])).status == 200
        assert (await report(house, "c0ffee", "alice"))["name"] == "c0ffee"
        assert (await report(house, "c0ffee", "bob"))["tls_key"] is None


async def test_a_full_cluster_lets_nobody_else_in():
    store = FakeStore()
    guests = tuple(Guest(f"u{number}", "@staff", f"c0ffee-{number}", f"c0ffee-p{number}") for number in range(200))
    store.clusters["c0ffee"] = record(share_view=("@staff", "bob"), guests=guests, status=ClusterStatus.RUNNING)
    async with sharing_house(store=store) as house:
        answer = await house.ask("GET", f"{CLUSTERS}c0ffee", user="bob")
        assert (answer.status, "200 people have a way into it" in answer.error) == (409, True)
        assert (await house.ask("GET", f"{CLUSTERS}c0ffee/events", user="bob")).status == 200


async def test_one_person_who_comes_twice_at_once_has_one_name():
    async with sharing_house() as house, trio.open_nursery() as nursery:
        name = await house.running({"share_use": "bob"})
        seen = []

        async def come():
            seen.append((await house.ask("GET", f"{CLUSTERS}{name}?wait", user="bob")).json["name"])

        for _ in range(3):
            nursery.start_soon(come)
        with trio.fail_after(5):
            while len(seen) < 3:
                await trio.testing.wait_all_tasks_blocked()
        assert len(set(seen)) == 1
        assert len(house.store.clusters[name].guests) == 1


async def test_rights_that_end_while_somebody_waits():
    async with sharing_house() as house, trio.open_nursery() as nursery:
        name = await house.create({"share_use": "bob"})
        answers = []

        async def come():
            answers.append(await house.ask("GET", f"{CLUSTERS}{name}?wait", user="bob"))

        nursery.start_soon(come)
        with trio.fail_after(5):
            while not house.store.clusters[name].guests:
                await trio.testing.wait_all_tasks_blocked()
            await put(house, name)
            await house.beat(name)
            while not answers:
                await trio.testing.wait_all_tasks_blocked()
        assert answers[0].status == 403


async def test_a_token_that_may_only_read_gets_neither_keys_nor_the_name_that_goes_with_them():
    async with sharing_house() as house:
        name = await house.running({"share_use": "bob"})
        for user in ("alice", "bob"):
            made = await house.ask("POST", "/api/v1/tokens", user=user, body={"scopes": ["read"]})
            headers = [("Authorization", f"Bearer {made.json['token']}")]
            for app in (house.app, house.without_reads):
                seen = (await ask_app(app, "GET", CLUSTERS + name, headers=headers)).json
                assert (seen["name"], seen["tls_cert"], seen["tls_key"]) == (name, None, None)
            body = {"use": ["bob"]}
            answer = await house.ask("PUT", f"{CLUSTERS}{name}/shares", user=None, headers=headers, body=body)
            assert (answer.status, "may only read" in answer.error) == (403, True)


async def test_an_administrator_is_like_anybody_by_these_routes():
    authenticator = SimpleAuthenticator(admin_users={"root"})
    async with open_house(sharing="use", authenticator=authenticator) as house:
        name = await house.running()
        for method, path, body in (
            ("GET", "", None),
            ("GET", "/shares", None),
            ("PUT", "/shares", {"use": ["root"]}),
            ("DELETE", "", None),
        ):
            assert (await house.ask(method, f"{CLUSTERS}{name}{path}", user="root", body=body)).status == 403
        assert (await get(house, CLUSTERS, "root", "?shared=1")).json == {}


# ---- browsers


PAGE = [("Accept", "text/html")]


async def test_a_browser_is_let_in_and_sent_on():
    store = FakeStore()
    running = {"status": ClusterStatus.RUNNING, "scheduler_address": "tls://h:1", "dashboard_address": "http://h:2"}
    store.clusters["c0ffee"] = record(share_view=("dave",), **running)
    async with sharing_house(store=store, prefix="/dask") as house:

        async def visit(user):
            return await house.ask("GET", "/dask/open/c0ffee", user=user, headers=list(PAGE))

        first, again, own = await visit("dave"), await visit("dave"), await visit("alice")
        (guest,) = store.clusters["c0ffee"].guests
        assert (first.status, first.headers["location"]) == (303, [f"/dask/clusters/{guest.dashboard}/status"])
        assert again.headers["location"] == first.headers["location"]
        assert own.headers["location"] == ["/dask/clusters/c0ffee/status"]
        assert (await visit("eve")).status == 403
        assert (await visit(None)).headers["location"] == ["/dask/login?next=%2Fdask%2Fopen%2Fc0ffee"]
        await house.ask("DELETE", f"/dask{CLUSTERS}c0ffee")
        ended = await visit("dave")
        assert (ended.status, b"has no dashboard at the moment" in ended.body) == (404, True)
