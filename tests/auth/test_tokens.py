"""Whom a personal token lets in: the rules of the login after which it was made, and what comes with a request."""

from typing import Any

import attrs
import pytest
from quart import Request
from structlog.testing import capture_logs

from gateway.auth.authenticator import method_of
from gateway.auth.chain import Chain
from gateway.auth.failures import Failures, Limit
from gateway.auth.identity import ADMINISTRATOR, Identity
from gateway.auth.simple import SimpleAuthenticator
from gateway.auth.token_record import DAY, Token, Wish
from gateway.auth.token_registry import TokenRegistry
from gateway.auth.token_text import written
from gateway.errors import Forbidden, TooManyFailures, TryAgainLater, Unauthorized
from gateway.models import User
from tests.auth.test_authenticator import a_request, basic
from tests.auth.test_chain import Groups, Tickets, challenges, simple
from tests.support.houses import chain_of

CLUSTERS = Wish("", frozenset({"clusters"}), DAY)
READ = Wish("", frozenset({"read"}), DAY)


async def log_in(chain: Chain, authorization: str) -> Identity:
    return await chain.identify(a_request(authorization))


async def make(chain: Chain, authorization: str, wish: Wish = CLUSTERS) -> tuple[Token, str]:
    identity = await log_in(chain, authorization)
    return await chain.tokens.make(identity.user, identity.method, wish)


def at_once(chain: Chain, authorization: str, cookies: str = "") -> Identity | None:
    return chain.identify_by_headers(cookies, authorization, "127.0.0.1", secure=True)


def request(method: str, authorization: str) -> Request:
    made = a_request(authorization)
    made.method = method
    return made


@pytest.mark.parametrize("how", ["Bearer {}", "jupyterhub {}", "basic"])
async def test_three_ways(how: str) -> None:
    chain = chain_of(Tickets())
    token, text = await make(chain, "Negotiate ticket-of-ann")
    header = basic("ann", text) if how == "basic" else how.format(text)
    expected = Identity(User("ann", {"from-tickets"}), token=token)
    assert await log_in(chain, header) == expected
    assert at_once(chain, header) == expected
    assert expected.new_cookie is None


async def test_a_token_counts_for_more_than_a_cookie() -> None:
    chain = chain_of(simple())
    cookie = str((await log_in(chain, basic("bob", "p"))).new_cookie).partition(";")[0]
    token, text = await make(chain, basic("ann", "p"))
    for identity in (
        await chain.identify(a_request(f"Bearer {text}", cookie=cookie)),
        at_once(chain, f"Bearer {text}", cookie),
    ):
        assert identity == Identity(User("ann"), token=token)
    await chain.tokens.revoke([token], by="ann")
    with pytest.raises(Unauthorized):
        await chain.identify(a_request(f"Bearer {text}", cookie=cookie))
    assert at_once(chain, f"Bearer {text}", cookie) is None


async def test_no_authenticator_sees_one() -> None:
    class Curious(SimpleAuthenticator):
        async def authenticate(self, request: Request) -> User:
            raise AssertionError("asked")

    chain = chain_of(Curious())
    text = written("a" * 10, "b" * 43)
    for header in (f"Bearer {text}", basic("ann", text), basic(text, ""), basic("ann", "dgt_"), "jupyterhub dgt_x"):
        with pytest.raises(Unauthorized) as caught:
            await log_in(chain, header)
        assert challenges(caught.value) == ["Basic"]


async def test_one_that_may_only_read_changes_nothing() -> None:
    chain = chain_of(simple())
    _, text = await make(chain, basic("ann", "p"), READ)
    for method in ("GET", "HEAD", "OPTIONS"):
        assert not (await chain.identify(request(method, f"Bearer {text}"))).may_change
    for method in ("POST", "DELETE", "PUT", "PATCH", "TRACE", "SOMETHING"):
        with pytest.raises(Forbidden, match="may only read"):
            await chain.identify(request(method, f"Bearer {text}"))
        assert (await chain.identify(request(method, f"Bearer {text}"), any_scope=True)).user == User("ann")
    _, text = await make(chain, basic("ann", "p"), Wish("", frozenset({"read", "clusters"}), DAY))
    assert (await chain.identify(request("POST", f"Bearer {text}"))).may_change


async def test_one_for_metrics_is_for_nothing_else() -> None:
    chain = chain_of(simple())
    _, text = await make(chain, basic("ann", "p"), Wish("", frozenset({"metrics"}), DAY))
    assert at_once(chain, f"Bearer {text}") is None
    for method in ("GET", "POST"):
        with pytest.raises(Forbidden, match="for /metrics alone"):
            await chain.identify(request(method, f"Bearer {text}"))
        assert not (await chain.identify(request(method, f"Bearer {text}"), any_scope=True)).may_change
    _, text = await make(chain, basic("ann", "p"), Wish("", frozenset({"read", "metrics"}), DAY))
    assert at_once(chain, f"Bearer {text}") is not None


async def test_the_rules_of_today_hold() -> None:
    store_chain = chain_of(simple(), Tickets())
    _, by_password = await make(store_chain, basic("ann", "p"))
    _, by_ticket = await make(store_chain, "Negotiate ticket-of-ann")
    registry = store_chain.tokens.registry

    async def who(*authenticators: Any, groups: Any = None) -> list[str]:
        chain = chain_of(*authenticators, tokens=registry, **({"groups": groups} if groups else {}))
        found = []
        for text in (by_password, by_ticket):
            try:
                user = (await log_in(chain, f"Bearer {text}")).user
                assert at_once(chain, f"Bearer {text}") is not None
                found.append(" ".join([user.name, *sorted(user.groups)]))
            except (Unauthorized, Forbidden) as error:
                assert at_once(chain, f"Bearer {text}") is None
                found.append(type(error).__name__)
        return found

    assert await who(simple(), Tickets()) == ["ann", "ann from-tickets"]
    assert await who(simple(), Tickets(), groups=Groups()) == ["ann staff", "ann from-tickets"]
    assert await who(simple(allowed_users={"bob"}), Tickets()) == ["Forbidden", "ann from-tickets"]
    assert await who(simple(allowed_groups={"staff"}), groups=Groups()) == ["ann staff", "Unauthorized"]
    assert await who(simple(allowed_groups={"staff"})) == ["Forbidden", "Unauthorized"]
    assert await who(Tickets(allowed_groups={"from-tickets"})) == ["Unauthorized", "ann from-tickets"]
    assert await who(Tickets(allowed_groups={"staff"}), groups=Groups()) == ["Unauthorized", "Forbidden"]
    assert await who(simple("another password"), Tickets()) == ["Unauthorized", "ann from-tickets"]


async def test_groups_of_the_system_are_looked_up_anew() -> None:
    before = chain_of(simple(), groups=Groups())
    token, text = await make(before, basic("ann", "p"))
    assert token.groups == frozenset()
    after = chain_of(simple(), tokens=before.tokens.registry)
    assert (await log_in(after, f"Bearer {text}")).user == User("ann")


async def test_groups_that_are_not_known_at_the_moment() -> None:
    chain = chain_of(simple())
    _, text = await make(chain, basic("slow", "p"))
    later = chain_of(simple(), tokens=chain.tokens.registry, groups=Groups())
    assert (await log_in(later, f"Bearer {text}")).user == User("slow")
    assert at_once(later, f"Bearer {text}") is None  # somebody has to be asked
    stricter = chain_of(simple(allowed_groups={"staff"}), tokens=chain.tokens.registry, groups=Groups())
    needed = chain_of(simple(), tokens=chain.tokens.registry, groups=Groups(needed=True))
    for one in (stricter, needed):
        with pytest.raises(TryAgainLater):
            await log_in(one, f"Bearer {text}")
    with pytest.raises(TryAgainLater):
        await later.tokens.make(User("slow"), method_of(later.authenticators[0]), CLUSTERS)


async def test_nobody_is_an_administrator_with_one() -> None:
    chain = chain_of(simple(admin_users={"ann"}, allowed_users={"bob"}))
    assert (await log_in(chain, basic("ann", "p"))).user.admin
    _, text = await make(chain, basic("ann", "p"))
    for identity in (await log_in(chain, f"Bearer {text}"), at_once(chain, f"Bearer {text}")):
        assert identity is not None
        assert identity.user == User("ann")
        assert not identity.user.admin


async def test_administrators_make_them_for_whom_the_rules_let_in() -> None:
    chain = chain_of(simple(allowed_users={"bob"}), Tickets(allowed_users={"ann"}), groups=Groups())
    token, text = await chain.tokens.make_for("ann", CLUSTERS, administrator="root")
    assert (token.user, token.made_by, token.method) == ("ann", "root", "")
    assert (await log_in(chain, f"Bearer {text}")).user == User("ann")  # groups here are not those of tickets
    with pytest.raises(Forbidden, match="User eve is not among those"):
        await chain.tokens.make_for("eve", CLUSTERS, administrator="root")
    stricter = chain_of(simple(allowed_users={"bob"}), tokens=chain.tokens.registry, groups=Groups())
    with pytest.raises(Forbidden):
        await log_in(stricter, f"Bearer {text}")
    by_group = chain_of(simple(allowed_groups={"staff"}), tokens=chain.tokens.registry, groups=Groups())
    assert (await log_in(by_group, f"Bearer {text}")).user == User("ann", {"staff"})


async def test_who_has_not_logged_in_here_makes_none() -> None:
    chain = chain_of(simple())
    for method in ("", "tickets", "simple"):  # the last one's fingerprint is missing
        with pytest.raises(Forbidden, match="who have logged in"):
            await chain.tokens.make(User("ann"), method, CLUSTERS)


async def test_how_they_stand() -> None:
    chain = chain_of(simple(), Tickets())
    token, _ = await make(chain, basic("ann", "p"))
    assert chain.tokens.state(token) == "active"
    assert chain_of(Tickets(), tokens=chain.tokens.registry).tokens.state(token) == "unusable"
    by_root, _ = await chain.tokens.make_for("ann", CLUSTERS, administrator="root")
    assert chain_of(Tickets(), tokens=chain.tokens.registry).tokens.state(by_root) == "active"
    shorter = chain_of(simple(), tokens=TokenRegistry(longest=0))
    shorter.tokens.registry._add(token)
    assert shorter.tokens.state(token) == "expired"


async def test_uses_are_noted_of_those_that_are_let_in() -> None:
    chain = chain_of(simple(allowed_users={"ann"}))
    registry = chain.tokens.registry
    token, text = await make(chain, basic("ann", "p"))
    stricter = chain_of(simple(allowed_users={"bob"}), tokens=registry)
    with pytest.raises(Forbidden):
        await log_in(stricter, f"Bearer {text}")
    assert registry.used(token) is None
    at_once(chain, f"Bearer {text}")
    assert registry.used(token) is not None


async def test_wrong_ones_are_slowed_down_and_nobody_else(mock_clock: Any) -> None:
    failures = Failures(Limit(2, 10.0), Limit(5, 1.0))
    chain = chain_of(simple(), failures=failures)
    _, good = await make(chain, basic("ann", "p"))
    wrong = written("a" * 10, "b" * 43)
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await log_in(chain, basic("ann", wrong))
    with pytest.raises(TooManyFailures) as caught:
        await log_in(chain, basic("ann", wrong))
    assert dict(caught.value.headers) == {"Retry-After": "11"}
    assert (await log_in(chain, basic("ann", "p"))).user == User("ann")  # the owner may log in
    for n in range(10):
        with pytest.raises((Unauthorized, TooManyFailures)):
            await log_in(chain, f"Bearer {written(f'{n:010}', 'b' * 43)}")
    with pytest.raises(TooManyFailures):  # the address has failed too often
        await log_in(chain, basic("ann", "p"))
    assert (await log_in(chain, f"Bearer {good}")).user == User("ann")  # which can be no guess
    assert at_once(chain, f"Bearer {good}") is not None


async def test_what_the_log_says() -> None:
    chain = chain_of(simple())
    token, text = await make(chain, basic("ann", "p"))
    with capture_logs() as lines:
        await chain.tokens.revoke([token], by="ann")
        for header in (basic("bob", text), basic(text, ""), f"Bearer {text[:-1]}"):
            with pytest.raises(Unauthorized):
                await log_in(chain, header)
    assert [line["event"] for line in lines] == ["personal token revoked", "a login has failed"]
    assert {"user": "ann", "token": token.id, "by": "ann"}.items() <= lines[0].items()
    assert {"user": "bob", "method": "token", "address": ""}.items() <= lines[1].items()
    assert token.id in lines[1]["reason"]
    assert text[15:40] not in repr(lines)


async def test_who_comes_by_the_administrators_socket() -> None:
    chain = chain_of(simple())
    request = a_request("Bearer dgt_whatever")
    request.scope[ADMINISTRATOR] = "root"  # type: ignore[typeddict-unknown-key]
    identity = await chain.identify(request)
    assert identity == attrs.evolve(Identity(User("root", admin=True)), local=True)
