"""Several authenticators beside each other, and what holds for all of them."""

from typing import Any, ClassVar

import pytest
import trio
from quart import Request
from trio.testing import MockClock

from gateway.auth.authenticator import Authenticator, Login, unauthorized
from gateway.auth.failures import Failures, Limit
from gateway.auth.sessions import Sessions
from gateway.auth.simple import SimpleAuthenticator
from gateway.config.fields import configurable
from gateway.errors import Forbidden, TooManyFailures, TryAgainLater, Unauthorized
from gateway.models import User
from tests.auth.test_authenticator import a_request, basic, cookie_pair
from tests.support.houses import NoGroups, chain_of


@configurable
class Tickets(Authenticator):
    """Knows who has a ticket, and has more to say to whoever has a bad one."""

    schemes: ClassVar[tuple[str, ...]] = ("negotiate",)
    login: ClassVar[Login] = Login.CHALLENGE
    brings_groups: ClassVar[bool] = True

    @property
    def challenge(self) -> str:
        return "Negotiate"

    async def authenticate(self, request: Request) -> User:
        ticket = request.headers["Authorization"].partition(" ")[2]
        if ticket == "away":
            raise TryAgainLater("The KDC does not answer")
        if not ticket.startswith("ticket-of-"):
            raise Unauthorized("The ticket has expired", challenge="Negotiate c29ycnk=")
        return User(ticket.removeprefix("ticket-of-"), {"from-tickets"})


class OtherPassword(SimpleAuthenticator):
    """A second one for the same scheme."""


class OfASite(SimpleAuthenticator):
    """Asks in a way of its own, which takes no password for good enough."""

    async def authenticate(self, request: Request) -> User:
        if request.headers.get("X-Card") != "chip":
            raise unauthorized("Card")
        return User("card")


class Groups(NoGroups):
    def known(self, name: str) -> frozenset[str] | None:
        return {"ann": frozenset({"staff"}), "slow": None}.get(name, frozenset())

    async def of(self, name: str) -> frozenset[str]:
        known = self.known(name)
        if known is None:
            raise TryAgainLater("The groups of user slow are not known at the moment")
        return known


def challenges(error: Unauthorized) -> list[str]:
    return [challenge for _, challenge in error.headers]


def simple(password: str = "p", **options: Any) -> SimpleAuthenticator:
    return SimpleAuthenticator(password=password, **options)


async def refusal(chain: Any, *args: Any) -> Unauthorized:
    with pytest.raises(Unauthorized) as caught:
        await chain.identify(a_request(*args))
    return caught.value


async def test_the_scheme_says_who_is_asked() -> None:
    chain = chain_of(Tickets(), simple())
    assert (await chain.identify(a_request("Negotiate ticket-of-ann"))).user == User("ann", {"from-tickets"})
    assert (await chain.identify(a_request(basic("bob", "p")))).user == User("bob")
    identity = await chain.identify(a_request("NEGOTIATE ticket-of-ann"))
    assert identity.authenticator is chain.named("tickets")


async def test_a_401_names_every_challenge_in_the_order_of_the_configuration() -> None:
    for chain, expected in (
        (chain_of(Tickets(), simple()), ["Negotiate", "Basic"]),
        (chain_of(simple(), Tickets()), ["Basic", "Negotiate"]),
        (chain_of(simple(), OtherPassword(password="q")), ["Basic"]),
    ):
        for authorization in (None, "", "Digest abc", "token abc"):
            assert challenges(await refusal(chain, authorization)) == expected


async def test_what_a_refusal_has_to_say_to_the_client_comes_first() -> None:
    error = await refusal(chain_of(simple(), Tickets()), "Negotiate old")
    assert challenges(error) == ["Negotiate c29ycnk=", "Basic"]
    assert str(error) == "The ticket has expired"


async def test_of_two_for_a_scheme_the_first_that_knows_the_user_counts() -> None:
    chain = chain_of(simple("p"), OtherPassword(password="q"))
    assert (await chain.identify(a_request(basic("ann", "p")))).authenticator is chain.authenticators[0]
    assert (await chain.identify(a_request(basic("ann", "q")))).authenticator is chain.authenticators[1]
    assert str(await refusal(chain, basic("ann", "r"))) == "The password is wrong"
    assert chain.identify_by_headers("", basic("ann", "p"), "", secure=True) is None


async def test_one_that_is_away_says_so() -> None:
    with pytest.raises(TryAgainLater, match="KDC"):
        await chain_of(Tickets(), simple()).identify(a_request("Negotiate away"))


async def test_a_class_of_a_site_that_says_no_scheme_is_asked_for_everything() -> None:
    site = OfASite(password="p")
    assert (site.reads, site.logs_in) == ((), Login.NONE)
    assert (simple().reads, simple().logs_in) == (("basic",), Login.FORM)
    assert challenges(await refusal(chain_of(site), basic("ann", "p"))) == ["Card"]


async def test_rules_hold_by_every_way_in(autojump_clock: MockClock) -> None:
    first = simple(allowed_users={"ann"}, admin_users={"root"})
    chain = chain_of(first)
    cookie = cookie_pair((await chain.identify(a_request(basic("ann", "p")))).new_cookie)
    assert chain.identify_by_headers("", basic("root", "p"), "", secure=False).user.admin
    assert chain.identify_by_headers("", basic("eve", "p"), "", secure=False) is None
    with pytest.raises(Forbidden):
        await chain.identify(a_request(basic("eve", "p")))
    stricter = chain_of(simple(allowed_users={"bob"}), sessions=chain.sessions)
    assert chain.user_by_cookie(cookie) == User("ann")
    assert stricter.user_by_cookie(cookie) is None


async def test_whoever_is_no_administrator_any_more_is_none_by_an_old_session_either(autojump_clock: MockClock) -> None:
    chain = chain_of(simple(admin_users={"ann"}), Tickets(admin_groups={"from-tickets"}))
    request = a_request(basic("ann", "p"))
    way = chain.authenticators[0]
    identities = [
        await chain.identify(request),
        chain.identify_by_headers("", basic("ann", "p"), "", secure=False),
        await chain.log_in(way, "", "ann", lambda: way.check_password("ann", "p"), secure=False),
        await chain.identify(a_request("Negotiate ticket-of-bob")),
    ]
    cookies = [cookie_pair(identity.new_cookie) for identity in identities if identity]
    assert [identity.user.admin for identity in identities if identity] == [True] * 4
    assert [user.admin for user in map(chain.user_by_cookie, cookies) if user] == [True] * 4
    after = chain_of(simple(), Tickets(), sessions=chain.sessions)
    assert [user.admin for user in map(after.user_by_cookie, cookies) if user] == [False] * 4


async def test_groups_are_those_of_the_account_unless_the_authenticator_has_them() -> None:
    chain = chain_of(Tickets(), simple(), groups=Groups())
    assert (await chain.identify(a_request(basic("ann", "p")))).user.groups == {"staff"}
    assert (await chain.identify(a_request("Negotiate ticket-of-ann"))).user.groups == {"from-tickets"}
    assert chain.identify_by_headers("", basic("slow", "p"), "", secure=False) is None
    assert (await chain.identify(a_request(basic("slow", "p")))).user.groups == frozenset()
    with pytest.raises(TryAgainLater):
        await chain_of(simple(allowed_groups={"staff"}), groups=Groups()).identify(a_request(basic("slow", "p")))
    with pytest.raises(TryAgainLater):  # where limits, or a function of the site's own, may depend on them
        await chain_of(simple(), groups=Groups(needed=True)).identify(a_request(basic("slow", "p")))
    tickets = chain_of(Tickets(), groups=Groups(needed=True))
    assert (await tickets.identify(a_request("Negotiate ticket-of-slow"))).user.name == "slow"


async def test_sessions_of_an_authenticator_that_is_gone_or_has_another_password(autojump_clock: MockClock) -> None:
    chain = chain_of(Tickets(), simple())
    ticket, password = [
        cookie_pair((await chain.identify(a_request(authorization))).new_cookie)
        for authorization in ("Negotiate ticket-of-ann", basic("ann", "p"))
    ]
    for others, known in (
        ((Tickets(), simple()), (True, True)),
        ((simple(),), (False, True)),
        ((Tickets(), simple("new")), (True, False)),
    ):
        after = chain_of(*others, sessions=chain.sessions)
        assert tuple(after.user_by_cookie(cookie) is not None for cookie in (ticket, password)) == known


async def test_a_restart_ends_no_session_and_brings_none_back(autojump_clock: MockClock) -> None:
    def sessions(key: int) -> Sessions:
        return Sessions("", 300, keys=[bytes([key] * 32)])

    cookie = cookie_pair(
        (await chain_of(simple(), sessions=sessions(1)).identify(a_request(basic("ann", "p")))).new_cookie
    )
    assert chain_of(simple(), sessions=sessions(1)).user_by_cookie(cookie) == User("ann")
    assert chain_of(simple(), sessions=sessions(2)).user_by_cookie(cookie) is None
    rotated = Sessions("", 300, keys=[bytes([2] * 32), bytes([1] * 32)])
    assert chain_of(simple(cookie_name="x"), sessions=rotated).sessions.open(cookie.partition("=")[2]) is not None


async def test_a_session_can_be_ended(autojump_clock: MockClock) -> None:
    chain = chain_of(simple())
    first, second = [cookie_pair((await chain.identify(a_request(basic("ann", "p")))).new_cookie) for _ in range(2)]
    await chain.end_session(first)
    await chain.end_session("nothing=1")
    assert chain.user_by_cookie(first) is None
    assert chain.user_by_cookie(second) == User("ann")


async def test_failures_are_slowed_down_and_rights_are_not_told(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = chain_of(simple(), failures=Failures(Limit(3, 60.0), Limit(100, 1.0)))
    for _ in range(3):
        await refusal(chain, basic("ann", "guess"))
    for password in ("guess", "p"):  # whoever guesses does not learn when they have guessed right
        with pytest.raises(TooManyFailures) as caught:
            await chain.identify(a_request(basic("ann", password)))
        assert caught.value.headers == (("Retry-After", "61"),)
        assert chain.identify_by_headers("", basic("ann", password), "", secure=False) is None
    assert (await chain.identify(a_request(basic("bob", "p")))).user == User("bob")
    await trio.sleep(60)
    assert (await chain.identify(a_request(basic("ann", "p")))).user == User("ann")
    lines = [line for line in capsys.readouterr().out.splitlines() if "a login has failed" in line]
    assert lines
    assert all("ann" in line and "The password is wrong" in line and "basic" in line for line in lines)
    assert not any("guess" in line for line in lines)


async def test_guesses_that_are_sent_together_are_no_more_than_others(autojump_clock: MockClock) -> None:
    asked: list[str] = []

    class Slow(SimpleAuthenticator):
        schemes = ("basic",)

        async def authenticate(self, request: Request) -> User:
            asked.append(request.headers["Authorization"])
            await trio.sleep(1)
            return await super().authenticate(request)

    chain = chain_of(Slow(password="p"), failures=Failures(Limit(3, 600.0), Limit(100, 1.0)))
    outcomes: list[str] = []

    async def attempt(password: str) -> None:
        try:
            outcomes.append((await chain.identify(a_request(basic("ann", password)))).user.name)
        except (Unauthorized, TooManyFailures) as error:
            outcomes.append(type(error).__name__)

    async with trio.open_nursery() as nursery:
        for _ in range(20):  # programs that start together, with the right one
            nursery.start_soon(attempt, "p")
    assert outcomes == ["ann"] * 20
    outcomes.clear()
    asked.clear()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(attempt, f"guess {number}")
    assert sorted(outcomes) == ["TooManyFailures"] * 17 + ["Unauthorized"] * 3
    assert len(asked) == 3


async def test_a_login_whose_turn_does_not_come(autojump_clock: MockClock) -> None:
    class Hanging(SimpleAuthenticator):
        schemes = ("basic",)

        async def authenticate(self, request: Request) -> User:
            await trio.sleep_forever()
            raise AssertionError

    chain = chain_of(Hanging(password="p"), failures=Failures(Limit(1, 60.0), Limit(100, 1.0)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(chain.identify, a_request(basic("ann", "p")))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TryAgainLater, match="under way"):
            await chain.identify(a_request(basic("ann", "p")))
        nursery.cancel_scope.cancel()
    assert not chain._attempts._under_way


async def test_the_same_old_token_holds_up_nobody_else_at_its_address(autojump_clock: MockClock) -> None:
    class Bearers(SimpleAuthenticator):
        schemes = ("bearer",)

        async def authenticate(self, request: Request) -> User:
            if request.headers["Authorization"] != "Bearer good":
                raise Unauthorized("The token is not known")
            return User("ann")

    chain = chain_of(Bearers(), failures=Failures(Limit(3, 6.0), Limit(5, 1.0)))
    for _ in range(50):
        with pytest.raises((Unauthorized, TooManyFailures)):
            await chain.identify(a_request("Bearer old"))
        await trio.sleep(0.1)
    assert (await chain.identify(a_request("Bearer good"))).user == User("ann")


async def test_asking_without_credentials_is_no_failure(autojump_clock: MockClock) -> None:
    chain = chain_of(simple(), failures=Failures(Limit(1, 60.0), Limit(1, 60.0)))
    for _ in range(5):
        await refusal(chain)
    assert (await chain.identify(a_request(basic("ann", "p")))).user == User("ann")


async def test_a_login_on_the_page(autojump_clock: MockClock) -> None:
    chain = chain_of(simple(), failures=Failures(Limit(2, 60.0), Limit(9, 60.0)))
    (way,) = chain.authenticators

    async def log_in(name: str, password: str) -> Any:
        return await chain.log_in(way, "here", name, lambda: way.check_password(name, password), secure=True)

    identity = await log_in("ann", "p")
    assert "Max-Age=43200" in identity.new_cookie
    assert chain.user_by_cookie(cookie_pair(identity.new_cookie)) == User("ann")
    await trio.sleep(12 * 3600 + 1)
    assert chain.user_by_cookie(cookie_pair(identity.new_cookie)) is None
    with pytest.raises(Unauthorized, match="cannot be the name of an account"):
        await log_in("../x", "p")
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await log_in("ann", "guess")
    with pytest.raises(TooManyFailures):
        await log_in("ann", "p")
