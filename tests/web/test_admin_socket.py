"""The administrator's socket: who may use it, what is there, and where it is opened; with real sockets."""

import grp
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from structlog.testing import capture_logs

from gateway.auth.simple import SimpleAuthenticator
from gateway.auth.unix_groups import UnixGroups
from gateway.config.fields import SettingError
from gateway.config.server import DaskGateway
from gateway.errors import Forbidden, StartError, TryAgainLater
from gateway.web.admin.client import AdminClient, AdminError
from gateway.web.admin.peers import Administrators, uid_of_peer
from gateway.web.admin.place import socket_path
from gateway.web.admin.server import AdminSocket, open_admin_socket
from gateway.web.admin.tables import moment, table
from tests.support.houses import open_house

TOKENS = "/api/v1/admin/tokens"
OWN = os.geteuid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[AdminSocket]:
    with open_admin_socket(DaskGateway(admin_socket=str(path), **options), {}) as admin:
        yield admin


@asynccontextmanager
async def served(path: Path, administrators: Administrators | None = None) -> Any:
    """A house whose administrator's socket is at this path, and a function that asks there."""
    async with open_house(authenticator=SimpleAuthenticator(password="p")) as house:
        with opened(path) as admin:
            if administrators:
                admin = AdminSocket(admin.listener, administrators)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(admin.serve, house.api)
                client = AdminClient(str(path), deadline=10.0)
                yield house, partial(trio.to_thread.run_sync, client.ask)
                nursery.cancel_scope.cancel()


async def test_an_administrator_of_this_host_needs_no_password(folder: Path) -> None:
    async with served(folder / "a.sock") as (house, ask):
        made = await ask("POST", TOKENS, {"user": "ann", "label": "ci", "scopes": ["read"], "expires_in": 400 * 86400})
        (token,) = house.chain.tokens.registry.of("ann")
        assert (made["id"], made["user"], made["label"]) == (token.id, "ann", "ci")
        assert token.made_by == made["created_by"] != ""
        headers = [("Authorization", f"Bearer {made['token']}")]
        assert (await house.ask("GET", "/api/v1/clusters/", user=None, headers=headers)).status == 200
        (told,) = (await ask("GET", TOKENS))["tokens"]
        assert told["id"] == token.id
        assert await ask("DELETE", f"{TOKENS}/{token.id}") is None
        assert (await ask("GET", f"{TOKENS}?user=ann")) == {"tokens": []}
        assert (await ask("GET", "/api/version"))["version"]


async def test_a_token_for_metrics_opens_nothing_else(folder: Path) -> None:
    async with served(folder / "a.sock") as (house, ask):
        made = await ask("POST", TOKENS, {"user": "ann", "scopes": ["metrics"], "expires_in": 86400})
        headers = [("Authorization", f"Bearer {made['token']}")]
        assert (await house.ask("GET", "/metrics", user=None, headers=headers)).status == 200
        for path in ("/api/v1/clusters/", "/api/v1/options", "/api/v1/tokens", TOKENS):
            answer = await house.ask("GET", path, user=None, headers=headers)
            assert (answer.status, "for /metrics alone" in answer.error) == (403, True)
        made = await ask("POST", TOKENS, {"user": "ann", "scopes": ["clusters", "read"], "expires_in": 86400})
        headers = [("Authorization", f"Bearer {made['token']}")]
        assert (await house.ask("GET", "/metrics", user=None, headers=headers)).status == 403


@pytest.mark.parametrize("user", [None, 1, "", "-rf", "a b", "../x", "x" * 129])
async def test_tokens_are_for_accounts(folder: Path, user: Any) -> None:
    async with served(folder / "a.sock") as (_, ask):
        with pytest.raises(AdminError, match=r"'user' is .*name of an account"):
            await ask("POST", TOKENS, {"user": user})


async def test_nothing_else_is_there(folder: Path) -> None:
    async with served(folder / "a.sock") as (house, ask):
        for method, path in (
            ("GET", "/api/v1/clusters/"),
            ("POST", "/api/v1/clusters/"),
            ("POST", "/api/v1/tokens"),
            ("GET", "/tokens"),
            ("GET", "/api/v1/admin"),
            ("GET", "/clusters/abc/status"),
        ):
            with pytest.raises(AdminError, match="nothing but what is below /api/v1/admin/"):
                await ask(method, path, {} if method == "POST" else None)
        with pytest.raises(AdminError):
            await ask("GET", "/api/v1/admin/../clusters/")
        assert house.driver.submissions == []


async def test_others_are_refused_on_every_path(folder: Path) -> None:
    nobody = Administrators(uids=[OWN + 1])
    with capture_logs() as lines:
        async with served(folder / "a.sock", nobody) as (house, ask):
            for path in (TOKENS, "/api/version"):
                with pytest.raises(AdminError, match="This socket is for root, the gateway's account, and not for"):
                    await ask("GET", path)
            with pytest.raises(AdminError):
                await ask("POST", TOKENS, {"user": "ann"})
            assert house.chain.tokens.registry.all() == []
    assert any("was refused" in line["event"] for line in lines)


async def test_who_may() -> None:
    groups = UnixGroups(lambda name: frozenset({"operators"}) if name == f"uid-{2**31 - 7}" else frozenset())
    administrators = Administrators("operators", uids=[OWN], groups=groups)
    assert await administrators.name(OWN)
    assert await administrators.name(2**31 - 7) == f"uid-{2**31 - 7}"
    with pytest.raises(Forbidden, match="members of group operators, and not for uid-2147483640"):
        await administrators.name(2**31 - 8)
    with pytest.raises(Forbidden):
        await Administrators(uids=[OWN], groups=groups).name(2**31 - 7)
    assert Administrators()._uids == (0, OWN)


async def test_a_directory_service_that_hangs(autojump_clock: Any) -> None:
    class Hangs(UnixGroups):
        async def of(self, name: str) -> frozenset[str]:
            raise TryAgainLater("The system does not answer")

    with pytest.raises(TryAgainLater):
        await Administrators("operators", uids=[OWN], groups=Hangs()).name(2**31 - 7)


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert uid_of_peer(one) == os.getuid()


@pytest.mark.parametrize(
    ("configured", "directories", "path"),
    [
        ("", "", ""),
        (None, "/run/dask-gateway", ""),
        ("", "/run/dask-gateway", "/run/dask-gateway/admin.sock"),
        ("", "/run/a:/run/b", "/run/a/admin.sock"),
        ("/x/y", "/run/a", "/x/y"),
        ("/x/y", "", "/x/y"),
    ],
)
def test_where_it_is(configured: str | None, directories: str, path: str) -> None:
    assert socket_path(configured, directories) == path


def test_none_is_opened_unless_asked_for(folder: Path) -> None:
    for options in ({}, {"admin_socket": None}):
        with open_admin_socket(DaskGateway(**options), {}) as admin:
            assert admin.listener is None
    with open_admin_socket(DaskGateway(), {"RUNTIME_DIRECTORY": str(folder)}) as admin:
        assert (folder / "admin.sock").is_socket()
    with pytest.raises(SettingError):
        DaskGateway(admin_socket="admin.sock")


def test_nobody_else_can_open_it_and_it_is_gone_at_the_end(folder: Path) -> None:
    before = os.umask(0)
    try:
        with opened(folder / "a.sock"):
            status = (folder / "a.sock").stat()
            assert stat.S_IMODE(status.st_mode) == 0o600
            assert status.st_uid == OWN
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []


def test_one_that_a_crash_has_left_is_replaced(folder: Path) -> None:
    path = folder / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with opened(path) as admin:
        assert admin.listener is not None
        with pytest.raises(StartError, match="another server listens there"), opened(path):
            pass
        assert path.is_socket()
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"
    with pytest.raises(StartError, match="no socket"), opened(path):
        pass


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o1777])
def test_a_folder_where_others_can_put_files_will_not_do(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    words = r"admin_socket\).*can be changed by others.*RuntimeDirectory"
    with pytest.raises(StartError, match=words), opened(folder / "a.sock"):
        pass
    folder.chmod(0o755)


def test_what_else_is_wrong_with_the_place(folder: Path) -> None:
    with pytest.raises(StartError, match="No such file or directory"), opened(folder / "none" / "a.sock"):
        pass
    with pytest.raises(StartError, match="too long"), opened(folder / ("x" * 120)):
        pass
    words = r"there is no group 'no-such-group' here \(c.DaskGateway.admin_group"
    with pytest.raises(StartError, match=words), opened(folder / "a.sock", admin_group="no-such-group"):
        pass


def test_a_group_may_have_it(folder: Path) -> None:
    group = grp.getgrgid(os.getegid())
    with opened(folder / "a.sock", admin_group=group.gr_name):
        status = (folder / "a.sock").stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group.gr_gid)


def test_a_client_says_what_is_wrong(folder: Path) -> None:
    path = folder / "a.sock"
    with pytest.raises(AdminError, match=r"No gateway listens at .*a.sock\. Does it run"):
        AdminClient(str(path)).ask("GET", TOKENS)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(AdminError, match="No gateway listens"):
            AdminClient(str(path)).ask("GET", TOKENS)
        listener.listen()
        with pytest.raises(AdminError, match=r"has not answered within 0.05 seconds"):
            AdminClient(str(path), deadline=0.05).ask("GET", TOKENS)
    with pytest.raises(AdminError, match=r"cannot be asked: .*too long"):
        AdminClient("/" + "x" * 200).ask("GET", TOKENS)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "cannot be asked"),
        (b"", "cannot be asked"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "is no gateway"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n[]", "with status 500"),
        (b'HTTP/1.1 404 No\r\nContent-Length: 18\r\n\r\n{"error":"a\\u001b["}', "a"),
    ],
)
async def test_a_client_believes_nothing(folder: Path, answer: bytes, words: str) -> None:
    path = folder / "a.sock"
    async with answering(path, answer):
        with pytest.raises(AdminError, match=words) as caught:
            await trio.to_thread.run_sync(AdminClient(str(path)).ask, "GET", TOKENS)
        assert "\x1b" not in str(caught.value)


async def test_a_client_hears_what_was_said_before_all_was_read(folder: Path) -> None:
    path = folder / "a.sock"
    too_much = {"label": "x" * 8_000_000}  # no socket holds as much unread
    async with answering(path, b'HTTP/1.1 413 No\r\nContent-Length: 20\r\n\r\n{"error":"Too much"}'):
        with pytest.raises(AdminError, match=r"^Too much$"):
            await trio.to_thread.run_sync(AdminClient(str(path)).ask, "POST", TOKENS, too_much)


@asynccontextmanager
async def answering(path: Path, answer: bytes) -> Any:
    """Somebody at this socket who reads a little, says the same whatever it is, and closes."""

    async def serve() -> None:
        peer, _ = await trio.socket.from_stdlib_socket(listener).accept()
        with peer:
            await peer.recv(4096)
            await peer.send(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield


def test_tables() -> None:
    assert table(("A", "LONG"), [("value", "x"), ("y", "")]) == "A      LONG\nvalue  x\ny"
    assert table(("A",), []) == "A"
    assert (moment(None), moment(0)) == ("never", "1970-01-01 00:00")
