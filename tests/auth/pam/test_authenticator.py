"""PAM's authenticator beside PAM: what it asks, when, and how often. The real PAM is in tests/e2e/test_pam.py."""

import threading

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gateway.auth.basic import basic_credentials
from gateway.auth.pam.answers import AUTH_ERR, SUCCESS, Answer
from gateway.auth.pam.authenticator import PAMAuthenticator
from gateway.auth.pam.logins import PamLogins
from gateway.config.fields import SettingError
from gateway.errors import TryAgainLater, Unauthorized
from tests.auth.test_authenticator import a_request, basic


async def test_a_failure_takes_its_time_without_a_thread(mock_clock: MockClock) -> None:
    """Twenty failures at once take as long as one, though there is only one thread."""
    asked, told = list[str](), list[int]()
    logins = PamLogins(
        lambda name, *_: Answer(AUTH_ERR, delay=2.5, account=asked.append(name) or name), threads=1, most_alike=20
    )

    async def fail() -> None:
        told.append((await logins.ask("alice", "wrong", "")).code)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(fail)
        while len(asked) < 20 or logins.threads.borrowed_tokens:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        mock_clock.jump(2.4)
        await wait_all_tasks_blocked()
        assert told == []
        mock_clock.jump(0.1)
        await wait_all_tasks_blocked()
        assert told == [AUTH_ERR] * 20


async def test_a_failure_takes_no_longer_than_that(autojump_clock: MockClock) -> None:
    logins = PamLogins(lambda *asked: Answer(AUTH_ERR, delay=3600), deadline=float("inf"), longest_delay=10)
    began = trio.current_time()
    assert (await logins.ask("alice", "wrong", "")).code == AUTH_ERR
    assert trio.current_time() - began == pytest.approx(10)


async def test_a_module_that_hangs(autojump_clock: MockClock) -> None:
    released = threading.Event()

    def hang(name: str, password: str, host: str) -> Answer:
        released.wait()
        return Answer(SUCCESS, name)

    logins = PamLogins(hang, deadline=30)
    try:
        with pytest.raises(TryAgainLater, match="PAM does not answer"):
            await logins.ask("alice", "right", "")
        assert trio.current_time() == pytest.approx(30)
    finally:
        released.set()


async def test_only_so_many_wait() -> None:
    released = threading.Event()

    def wait(name: str, password: str, host: str) -> Answer:
        released.wait()
        return Answer(SUCCESS, name)

    logins = PamLogins(wait, threads=1, most_waiting=2)
    try:
        async with trio.open_nursery() as nursery:
            for name in ("ann", "bob", "eve"):
                nursery.start_soon(logins.ask, name, "right", "")
            await wait_all_tasks_blocked()
            with pytest.raises(TryAgainLater, match="Too many logins are under way"):
                await logins.ask("joe", "right", "")
            released.set()
    finally:
        released.set()


async def test_of_one_user_from_one_address_only_a_few_are_under_way(autojump_clock: MockClock) -> None:
    logins = PamLogins(lambda *asked: Answer(AUTH_ERR, delay=5), deadline=float("inf"), most_alike=3)
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            for host in ("1.2.3.4", "1.2.3.5"):
                for _ in range(3):
                    nursery.start_soon(logins.ask, "alice", "guess", host)
            await wait_all_tasks_blocked()
            with pytest.raises(TryAgainLater, match="Too many logins are under way"):
                await logins.ask("alice", "guess", "1.2.3.4")
            nursery.start_soon(logins.ask, "bob", "guess", "1.2.3.4")


def authenticator(asked: list[tuple[str, str, str]]) -> PAMAuthenticator:
    """One that has been set up with somebody else in PAM's place."""

    def ask(name: str, password: str, host: str) -> Answer:
        asked.append((name, password, host))
        return Answer(SUCCESS, "alice")

    pam = PAMAuthenticator()
    pam._logins = PamLogins(ask)
    return pam


async def test_the_account_is_who_pam_says() -> None:
    asked: list[tuple[str, str, str]] = []
    user = await authenticator(asked).authenticate(a_request(basic("ALICE", "sésame".encode("latin-1"))))
    assert (user.name, asked) == ("alice", [("ALICE", "sésame", "")])


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("alice", "", "No password"),
        ("alice", "a\0b", "wrong"),
        ("alice", "x" * 512, "wrong"),
        ("alice", "é" * 256, "wrong"),
        ("a\0b", "x", "wrong"),
        ("a\nb", "x", "wrong"),
        ("x" * 257, "x", "wrong"),
        ("alice", "\ud800", "wrong"),
    ],
)
async def test_what_pam_is_not_asked(name: str, password: str, reason: str) -> None:
    """Within a text, C takes a zero for its end; and some directories let in whoever has no password."""
    asked: list[tuple[str, str, str]] = []
    with pytest.raises(Unauthorized, match=reason):
        await authenticator(asked).check_password(name, password)
    assert asked == []


@pytest.mark.parametrize("header", [None, "", "Basic", "Basic !!", "Bearer abc"])
async def test_what_holds_no_password(header: str | None) -> None:
    assert basic_credentials(header or "") is None
    asked: list[tuple[str, str, str]] = []
    with pytest.raises(Unauthorized):
        await authenticator(asked).authenticate(a_request(header))
    assert asked == []


@pytest.mark.parametrize("service", ["", "../login", "a/b", ".hidden", "Dask", "a b", "a\0"])
def test_what_is_no_service(service: str) -> None:
    with pytest.raises(SettingError, match="must be the name of a file"):
        PAMAuthenticator(service=service)


def test_what_is_missing_on_this_machine() -> None:
    mistakes = dict(PAMAuthenticator(service="there-is-no-such-service").find_mistakes())
    assert "'there-is-no-such-service', for which there is no file in /etc/pam.d" in mistakes["service"]
