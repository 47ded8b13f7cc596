"""Authentication with real Quart requests, and what an attacker may put into their headers."""

import base64
import gc
import tracemalloc
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from quart import Quart, Request, Response
from trio.testing import MockClock
from werkzeug.datastructures import Headers

from gateway.auth.authenticator import Authenticator, unauthorized
from gateway.auth.identity import Identity
from gateway.auth.secret_compare import same_secret
from gateway.auth.sessions import MOST_OPENED, Sessions
from gateway.auth.simple import SimpleAuthenticator
from gateway.config.fields import SettingError
from gateway.errors import Unauthorized
from gateway.models import User
from tests.support.houses import chain_of


async def _no_push(path: str, headers: Headers) -> None:
    raise NotImplementedError


def a_request(authorization: str | None = None, *, cookie: str = "", scheme: str = "http") -> Request:
    headers = Headers()
    if authorization is not None:
        headers.add("Authorization", authorization)
    if cookie:
        headers.add("Cookie", cookie)
    return Request("GET", scheme, "/", b"", headers, "", "1.1", {}, send_push_promise=_no_push)


async def identify(authenticator: Authenticator, sessions: Sessions, request: Request) -> Identity:
    return await chain_of(authenticator, sessions=sessions).identify(request)


def basic(user: str | bytes, password: str | bytes = b"") -> str:
    parts = [part.encode() if isinstance(part, str) else part for part in (user, password)]
    return "Basic " + base64.b64encode(b":".join(parts)).decode()


def cookie_pair(set_cookie: str | None) -> str:
    """What a client sends back of a Set-Cookie header."""
    assert set_cookie is not None
    return set_cookie.partition(";")[0]


async def test_anybody_without_a_configured_password() -> None:
    for password in (None, ""):
        authenticator = SimpleAuthenticator(password=password)
        assert await authenticator.authenticate(a_request(basic("alice", "whatever"))) == User("alice")


@pytest.mark.parametrize("password", ["secret", "with:colon", "pässwörd ✓", " ", "x" * 1000])
async def test_password(password: str) -> None:
    authenticator = SimpleAuthenticator(password=password)
    assert await authenticator.authenticate(a_request(basic("alice", password))) == User("alice")
    for wrong in ("", password[:-1], password + "x", password.swapcase() + "!"):
        with pytest.raises(Unauthorized):
            await authenticator.authenticate(a_request(basic("alice", wrong)))


def test_password_is_not_shown() -> None:
    assert "hunter2" not in repr(SimpleAuthenticator(password="hunter2"))


@pytest.mark.parametrize(
    "name", ["a", "alice", "Alice.B_c-d", "s123456", "123", "alice@example.org", "_svc", "x" * 128]
)
async def test_names_of_accounts(name: str) -> None:
    assert await SimpleAuthenticator().authenticate(a_request(basic(name))) == User(name)


@pytest.mark.parametrize("charset", ["utf-8", "latin-1"])
async def test_passwords_beyond_ascii(charset: str) -> None:
    sesame = SimpleAuthenticator(password="sésame")
    assert await sesame.authenticate(a_request(basic(b"alice", "sésame".encode(charset)))) == User("alice")


MALFORMED = [
    None,
    "",
    " ",
    "Basic",
    "Basic ",
    "Basic  ",
    "Basic:",
    "Bearer abc",
    "token abc",
    "Negotiate abc",
    "BasicYWxpY2U6",
    "Basic !!!!",
    "Basic YWxpY2U",  # padding is missing
    "Basic YWxp Y2U6",
    "Basic YWxpY2U=",  # no colon
    "Basic \x00",
    "Basic \udcff",
    "Basic ä",
    "Basic " + "A" * 1_000_000,
    "B" * 1_000_000,
    basic(b""),
    basic(b"\xff\xfe"),
    basic("älice"),
    basic("al ice"),
    basic("alice\n"),
    basic("alice\x00root"),
    basic("-alice"),
    basic(".."),
    basic("../alice"),
    basic("alice/../root"),
    basic("alice;id"),
    basic("$(id)"),
    basic("alice%20"),
    basic("x" * 129),
]


@pytest.mark.parametrize("header", MALFORMED, ids=range(len(MALFORMED)))
async def test_malformed_credentials_are_unauthorized(header: str | None) -> None:
    with pytest.raises(Unauthorized) as caught:
        await SimpleAuthenticator().authenticate(a_request(header))
    assert caught.value.status == 401
    assert caught.value.headers == (("WWW-Authenticate", "Basic"),)


def _as_basic(raw: bytes) -> str:
    return "Basic " + base64.b64encode(raw).decode()


@given(
    st.text(max_size=200)
    | st.binary(max_size=200).map(_as_basic)
    | st.text("ab-.ä \t:@", max_size=8).map(lambda said: _as_basic(f"{said}:".encode()))
)
def test_no_header_does_more_than_identify_or_refuse(header: str) -> None:
    class Fake:
        headers = {"Authorization": header}  # noqa: RUF012

    async def check() -> None:
        try:
            user = await SimpleAuthenticator().authenticate(Fake())  # type: ignore[arg-type]
        except Unauthorized:
            return
        assert user.name.isascii()
        assert user.name[0] not in "-."

    trio.run(check)


async def test_the_scheme_has_no_case() -> None:
    assert await SimpleAuthenticator().authenticate(a_request(basic("al").replace("Basic", "bASIC"))) == User("al")


@pytest.fixture
def sessions() -> Sessions:
    return Sessions("dask-gateway-test", 300)


class Counting(SimpleAuthenticator):
    """Counts how often it is asked."""

    asked = 0

    async def authenticate(self, request: Request) -> User:
        type(self).asked += 1
        return await super().authenticate(request)


async def test_cookie_in_place_of_the_header(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counting, "asked", 0)
    authenticator = Counting()
    first = await identify(authenticator, sessions, a_request(basic("alice")))
    assert (first.user, first.authenticator) == (User("alice"), authenticator)
    second = await identify(Counting(), sessions, a_request(cookie=f"other=1; {cookie_pair(first.new_cookie)}"))
    assert second == Identity(User("alice"), method="counting")
    assert Counting.asked == 1


async def test_cookie_attributes(sessions: Sessions) -> None:
    for scheme, secure in (("http", set()), ("https", {"Secure"})):
        identity = await identify(SimpleAuthenticator(), sessions, a_request(basic("alice"), scheme=scheme))
        assert identity.new_cookie is not None
        pair, *attributes = identity.new_cookie.split("; ")
        assert pair.startswith("dask-gateway-test=")
        assert set(attributes) == {"Max-Age=300", "Path=/", "HttpOnly", "SameSite=Lax"} | secure
        assert "alice" not in pair


async def test_cookie_keeps_all_of_a_user(sessions: Sessions) -> None:
    user = User("alice", {"physics", "staff"}, admin=True)
    value = cookie_pair(sessions.cookie(user, secure=False)).partition("=")[2]
    session = sessions.open(value)
    assert session is not None
    assert session.user == user


async def test_cookie_expires(autojump_clock: MockClock, sessions: Sessions) -> None:
    identity = await identify(SimpleAuthenticator(), sessions, a_request(basic("alice")))
    request = a_request(cookie=cookie_pair(identity.new_cookie))
    await trio.sleep(299)
    assert (await identify(SimpleAuthenticator(), sessions, request)).user == User("alice")
    await trio.sleep(3)
    with pytest.raises(Unauthorized):
        await identify(SimpleAuthenticator(), sessions, request)


@pytest.mark.parametrize(
    "damage",
    [
        lambda value: "",
        lambda value: "x",
        lambda value: value[:-1],
        lambda value: value[:20] + ("A" if value[20] != "A" else "B") + value[21:],
        lambda value: value[::-1],
        lambda value: value + "A" * 100_000,
        lambda value: "ä" * 100,
        lambda value: "\x00",
        lambda value: "=;=;;",
        lambda value: cookie_pair(Sessions("c", 300).cookie(User("root"), secure=False))[2:],
    ],
    ids=range(10),
)
async def test_cookie_that_does_not_open_is_as_good_as_none(sessions: Sessions, damage: Any) -> None:
    value = cookie_pair(sessions.cookie(User("root"), secure=False)).partition("=")[2]
    cookie = f"dask-gateway-test={damage(value)}"
    with pytest.raises(Unauthorized):
        await identify(SimpleAuthenticator(), sessions, a_request(cookie=cookie))
    identity = await identify(SimpleAuthenticator(), sessions, a_request(basic("alice"), cookie=cookie))
    assert identity.user == User("alice")
    assert identity.authenticator is not None
    assert identity.new_cookie is not None


async def test_no_cookies_when_they_are_off() -> None:
    sessions = Sessions("c", 0)
    identity = await identify(SimpleAuthenticator(), sessions, a_request(basic("alice")))
    assert identity.new_cookie is None
    assert sessions.open("anything") is None


async def test_no_cookie_that_clients_would_drop(sessions: Sessions) -> None:
    assert sessions.cookie(User("alice", {f"group-{n}" for n in range(1000)}), secure=False) is None


def test_names_of_cookies() -> None:
    names = {Sessions("", 300).cookie_name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("dask-gateway-") for name in names)
    assert SimpleAuthenticator(cookie_name="my-cookie").cookie_name == "my-cookie"
    for bad in ("a b", "a=b", "a;b", "ä", "a\nb"):
        with pytest.raises(SettingError):
            SimpleAuthenticator(cookie_name=bad)


async def test_requests_without_cookies_leave_nothing_behind(sessions: Sessions) -> None:
    authenticator, request = SimpleAuthenticator(), a_request(basic("alice"))
    await identify(authenticator, sessions, request)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            await identify(authenticator, sessions, request)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 50_000
    finally:
        tracemalloc.stop()


class Site(Authenticator):
    """As a site writes its own: with state, a context, and a header in the answer."""

    async def setup(self, app: Quart) -> None:
        self.directory = {"token-of-alice": User("alice", {"physics"})}

    async def cleanup(self) -> None:
        self.directory.clear()

    async def authenticate(self, request: Request) -> tuple[User, str]:
        try:
            return self.directory[request.headers.get("Authorization", "")], "context"
        except KeyError:
            raise unauthorized("Negotiate") from None

    async def pre_response(self, request: Request, response: Response, context: Any = None) -> None:
        response.headers["WWW-Authenticate"] = f"Negotiate {context}"


async def test_authenticator_of_a_site(sessions: Sessions) -> None:
    authenticator = Site(cache_max_age=10)
    app, request, response = Quart(__name__), a_request("token-of-alice"), Response("")
    await authenticator.setup(app)
    identity = await identify(authenticator, sessions, request)
    assert (identity.user, identity.context) == (User("alice", {"physics"}), "context")
    await authenticator.pre_response(request, response, identity.context)
    assert response.headers["WWW-Authenticate"] == "Negotiate context"
    with pytest.raises(Unauthorized) as caught:
        await identify(authenticator, sessions, a_request())
    assert caught.value.headers == (("WWW-Authenticate", "Negotiate"),)
    with pytest.raises(attrs.exceptions.FrozenError):
        authenticator.cache_max_age = 3  # type: ignore[misc]
    await authenticator.cleanup()


async def test_base_does_nothing_by_itself() -> None:
    authenticator = Authenticator()
    await authenticator.setup(Quart(__name__))
    await authenticator.pre_response(a_request(), Response(""))
    await authenticator.cleanup()
    with pytest.raises(NotImplementedError):
        await authenticator.authenticate(a_request())


async def test_name_that_no_account_has_is_refused_whoever_says_it(sessions: Sessions) -> None:
    class Careless(Authenticator):
        async def authenticate(self, request: Request) -> User:
            return User("../root")

    with pytest.raises(Unauthorized, match="name of an account"):
        await identify(Careless(), sessions, a_request())


async def test_answer_that_is_no_user_is_a_bug_with_a_name(sessions: Sessions) -> None:
    class Careless(Authenticator):
        async def authenticate(self, request: Request) -> Any:
            return "alice"

    with pytest.raises(TypeError, match=r"Careless\.authenticate\(\) returned a str, not a User"):
        await identify(Careless(), sessions, a_request())


@given(st.text(), st.text())
def test_same_secret(a: str, b: str) -> None:
    assert same_secret(a, a)
    assert same_secret(a, b) == (a == b)


def test_same_secret_takes_any_text() -> None:
    assert same_secret("\udcff\x00ä", "\udcff\x00ä")
    assert not same_secret("\udcff", "\udcfe")


def test_a_sites_own_subclass_may_keep_state() -> None:
    class Counting(SimpleAuthenticator):
        seen: int

    counting = Counting(password="x")
    counting.seen = 1
    assert counting.seen == 1
    with pytest.raises(attrs.exceptions.FrozenAttributeError):
        counting.password = "y"  # type: ignore[misc]


async def test_opened_cookies_are_remembered_and_forgotten(
    autojump_clock: MockClock, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [User(f"user{number}") for number in range(MOST_OPENED + 2)]
    values = [cookie_pair(sessions.cookie(user, secure=False)).partition("=")[2] for user in users]

    def user_of(value: str) -> User | None:
        session = sessions.open(value)
        return session and session.user

    for _ in range(2):
        assert [user_of(value) for value in values] == users
        assert list(sessions._opened) == values[2:]
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "_fernet", None)
        assert user_of(values[-1]) == users[-1]
    await trio.sleep(301)
    assert [sessions.open(value) for value in values] == [None] * len(values)


def test_whom_an_authenticator_believes() -> None:
    class OfASite(SimpleAuthenticator):
        async def authenticate(self, request: Any) -> User:
            raise unauthorized("Negotiate")

    class WithMore(SimpleAuthenticator):
        async def setup(self, app: Any) -> None:
            """Opens something."""

    for anybody in (SimpleAuthenticator(), SimpleAuthenticator(password=""), WithMore()):
        assert anybody.believes_anybody
    for careful in (SimpleAuthenticator(password="p"), OfASite(), Authenticator()):
        assert not careful.believes_anybody


async def test_cookies_are_for_what_is_below_the_prefix() -> None:
    for prefix, path in (("", "Path=/"), ("/a/b", "Path=/a/b/")):
        cookie = Sessions("c", 300, prefix).cookie(User("root"), secure=False)
        assert cookie is not None
        assert path in cookie.split("; ")
