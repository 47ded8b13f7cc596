"""The API of personal tokens, and what one can do with them at all other routes."""

import re

import pytest

from gateway.auth.simple import SimpleAuthenticator
from gateway.auth.token_record import DAY, wish
from gateway.auth.token_registry import TokenRegistry
from gateway.store.errors import StoreUnavailable
from tests.support.houses import basic, open_house

TOKENS, ALL, CLUSTERS = "/api/v1/tokens", "/api/v1/admin/tokens", "/api/v1/clusters/"


def bearer(text):
    return [("Authorization", f"Bearer {text}")]


async def make(house, user="alice", **body):
    answer = await house.ask("POST", TOKENS, user=user, body=body)
    assert answer.status == 201, answer.body
    return answer.json


async def ids(house, path=TOKENS, user="alice"):
    return [token["id"] for token in (await house.ask("GET", path, user=user)).json["tokens"]]


@pytest.fixture
def admin():
    return SimpleAuthenticator(admin_users={"root"})


async def test_make_use_list_and_revoke():
    async with open_house() as house:
        made = await make(house, label="nightly", scopes=["clusters"], expires_in=3600)
        assert re.fullmatch(r"dgt_\w{60}", made["token"])
        assert made["expires"] - made["created"] == 3600_000
        assert (made["label"], made["scopes"], made["state"], made["last_used"]) == (
            "nightly",
            ["clusters"],
            "active",
            None,
        )
        used = await house.ask("GET", CLUSTERS, user=None, headers=bearer(made["token"]))
        assert used.status == 200
        assert "set-cookie" not in used.headers
        (told,) = (await house.ask("GET", TOKENS)).json["tokens"]
        assert told["last_used"] >= made["created"]
        assert "token" not in told
        revoked = await house.ask("DELETE", f"{TOKENS}/{made['id']}")
        assert (revoked.status, revoked.body) == (204, b"")
        refused = await house.ask("GET", CLUSTERS, user=None, headers=bearer(made["token"]))
        assert refused.status == 401
        assert made["id"] in refused.error
        assert (await house.ask("DELETE", f"{TOKENS}/{made['id']}")).status == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"label": 1}, "'label'"),
        ({"scopes": ["all"]}, "'scopes'"),
        ({"scopes": ["metrics"]}, "'scopes'"),
        ({"expires_in": 91 * DAY}, "'expires_in'"),
        ({"expires_in": "soon"}, "'expires_in'"),
    ],
)
async def test_what_is_refused(body, words):
    async with open_house() as house:
        answer = await house.ask("POST", TOKENS, body=body)
        assert answer.status == 422
        assert words in answer.error
        assert (await house.ask("POST", TOKENS, data=b"{")).status == 400
        assert await ids(house) == []


async def test_a_user_has_only_so_many_and_a_site_may_have_none():
    async with open_house(tokens=TokenRegistry(most_of_user=1)) as house:
        await make(house)
        assert (await house.ask("POST", TOKENS, body={})).status == 422
    async with open_house(tokens=TokenRegistry(longest=0)) as house:
        answer = await house.ask("POST", TOKENS, body={})
        assert (answer.status, "token_max_age" in answer.error) == (422, True)


async def test_others_have_their_own():
    async with open_house() as house:
        mine, theirs = await make(house), await make(house, user="bob")
        assert await ids(house) == [mine["id"]]
        assert (await house.ask("DELETE", f"{TOKENS}/{theirs['id']}")).status == 404
        assert (await house.ask("DELETE", f"{TOKENS}/a%20b")).status == 404
        assert await ids(house, user="bob") == [theirs["id"]]


async def test_a_token_makes_none_and_ends_none_but_itself():
    async with open_house() as house:
        for scope in ("clusters", "read"):
            made, other = await make(house, scopes=[scope]), await make(house)
            headers = bearer(made["token"])
            answer = await house.ask("POST", TOKENS, user=None, headers=headers, body={})
            assert answer.status == 403
            assert (await house.ask("DELETE", f"{TOKENS}/{other['id']}", user=None, headers=headers)).status == 403
            assert (await house.ask("GET", TOKENS, user=None, headers=headers)).status == 200
            assert (await house.ask("DELETE", f"{TOKENS}/{made['id']}", user=None, headers=headers)).status == 204
            assert (await house.ask("GET", TOKENS, user=None, headers=headers)).status == 401


@pytest.mark.parametrize("fast", [True, False])
async def test_one_that_may_only_read(fast):
    async with open_house() as house:
        name = await house.running()
        if not fast:
            house.app = house.without_reads
        headers = bearer((await make(house, scopes=["read"]))["token"])

        async def ask(method, path, **more):
            return await house.ask(method, path, user=None, headers=headers, **more)

        for path in (CLUSTERS, f"{CLUSTERS}{name}/events", f"{CLUSTERS}{name}/traffic", "/api/v1/options"):
            assert (await ask("GET", path)).status == 200
        read = await ask("GET", CLUSTERS + name)
        waited = await ask("GET", f"{CLUSTERS}{name}?wait")
        for answer in (read, waited):
            assert (answer.json["status"], answer.json["tls_key"], answer.json["tls_cert"]) == ("RUNNING", None, None)
        for method, path, body in (
            ("POST", CLUSTERS, {}),
            ("DELETE", CLUSTERS + name, None),
            ("POST", f"{CLUSTERS}{name}/scale", {"count": 1}),
            ("POST", f"{CLUSTERS}{name}/adapt", {}),
        ):
            answer = await ask(method, path, body=body)
            assert answer.status == 403
            assert "may only read" in answer.error
        assert (await house.ask("GET", CLUSTERS + name)).json["tls_key"]


async def test_one_for_clusters_does_all_with_clusters():
    async with open_house() as house:
        headers = bearer((await make(house))["token"])
        answer = await house.ask("POST", CLUSTERS, user=None, headers=headers, body={})
        assert answer.status == 201
        name = answer.json["name"]
        assert (await house.beat(name)).status == 200
        assert (await house.ask("GET", CLUSTERS + name, user=None, headers=headers)).json["tls_key"]
        assert (await house.ask("DELETE", CLUSTERS + name, user=None, headers=headers)).status == 204
        assert house.manager.find(name).record.username == "alice"


async def test_the_database_is_away():
    async with open_house() as house:
        made = await make(house)
        house.store.broken = StoreUnavailable("The database is full, please try again")
        assert (await house.ask("POST", TOKENS, body={})).status == 503
        answer = await house.ask("DELETE", f"{TOKENS}/{made['id']}")
        assert (answer.status, "please try again" in answer.error) == (503, True)
        assert (await house.ask("GET", CLUSTERS, user=None, headers=bearer(made["token"]))).status == 401
        (told,) = (await house.ask("GET", TOKENS)).json["tokens"]
        assert told["state"] == "revoked"
        house.store.broken = None
        assert (await house.ask("DELETE", f"{TOKENS}/{made['id']}")).status == 204
        assert await ids(house) == []


async def test_administrators_see_and_end_all(admin):
    async with open_house(authenticator=admin) as house:
        made = [await make(house, user=user) for user in ("alice", "alice", "bob", "bob")]
        every = [token["id"] for token in made]
        assert sorted(await ids(house, ALL, "root")) == sorted(every)
        assert set(await ids(house, f"{ALL}?user=alice", "root")) == set(every[:2])
        assert await ids(house, f"{ALL}?user=eve", "root") == []
        assert (await house.ask("DELETE", f"{ALL}/{every[0]}", user="root")).status == 204
        assert (await house.ask("DELETE", f"{ALL}/{every[0]}", user="root")).status == 404
        answer = await house.ask("DELETE", f"{ALL}?user=bob", user="root")
        assert set(answer.json["revoked"]) == set(every[2:])
        assert await ids(house, ALL, "root") == [every[1]]
        assert (await house.ask("DELETE", ALL, user="root")).status == 422


async def test_others_are_no_administrators(admin):
    async with open_house(authenticator=admin) as house:
        made, roots = await make(house), await make(house, user="root")
        for headers in ([("Authorization", basic("alice"))], bearer(made["token"]), bearer(roots["token"])):
            for method, path in (("GET", ALL), ("DELETE", f"{ALL}?user=alice"), ("DELETE", f"{ALL}/{made['id']}")):
                answer = await house.ask(method, path, user=None, headers=headers)
                assert answer.status == 403
                assert "is no administrator" in answer.error
        assert (await house.ask("GET", ALL, user=None)).status == 401


async def test_nobody_makes_tokens_for_others_from_elsewhere(admin):
    async with open_house(authenticator=admin) as house:
        answer = await house.ask("POST", ALL, user="root", body={"user": "alice"})
        assert answer.status == 403
        assert "dask-gateway-server tokens create" in answer.error
        assert await ids(house) == []


async def test_a_token_is_sent_as_bearer_and_not_as_the_clusters_own():
    async with open_house() as house:
        made = await make(house)
        answer = await house.ask("GET", CLUSTERS, user=None, headers=[("Authorization", f"token {made['token']}")])
        assert answer.status == 401


def test_wishes_of_administrators_are_for_ten_years_at_most():
    assert wish(None, None, 3660 * DAY, longest=3660 * DAY).seconds == 3660 * DAY
