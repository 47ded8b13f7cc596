"""`dask-gateway-server clusters` and `sessions`, with a real gateway's routes at the other end of a real socket."""

import json
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from gateway.auth.simple import SimpleAuthenticator
from gateway.clusters.events import time_ms
from gateway.models import ClusterStatus
from gateway.server.cli import run
from gateway.web.admin.tables import moment
from tests.support.fake_store import FakeStore
from tests.support.houses import open_house, record, with_admin_socket

#: In milliseconds since the epoch; not long ago, else it is forgotten.
ENDED = time_ms()


class Commands:
    """What the commands print, beside a house."""

    def __init__(self, path, capsys):
        self._path = path
        self._capsys = capsys

    async def __call__(self, group, *arguments):
        """The exit code, and what was printed on standard output and error."""
        self._capsys.readouterr()
        argv = [group, "--socket", str(self._path), *arguments]
        code = await trio.to_thread.run_sync(run, argv)
        return code, *self._capsys.readouterr()


@pytest.fixture
def folder(tmp_path: Path):
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
async def house(folder):
    store = FakeStore()
    ended = {"status": ClusterStatus.FAILED, "reason": "no disk\nTraceback", "stop_time": ENDED}
    store.clusters["old"] = record("old", "ann", **ended)
    store.clusters["c0ffee"] = record(share_view=("bob", "@staff"), status=ClusterStatus.PENDING, count=2)
    authenticator = SimpleAuthenticator(password="p")
    async with (
        open_house(authenticator=authenticator, store=store, sharing="view") as house,
        with_admin_socket(house, folder / "a.sock"),
    ):
        yield house


@pytest.fixture
def command(house, folder, capsys):
    with capture_logs():  # they would be printed among what the commands print
        yield Commands(folder / "a.sock", capsys)


async def test_list(house, command):
    code, out, _ = await command("clusters", "list", "--table")
    assert code == 0
    assert out == (
        "NAME    USER   STATUS   STARTED (UTC)     ENDED  WORKERS  SHARED WITH  WHY\n"
        "c0ffee  alice  PENDING  1970-01-01 00:00  -      2        bob,@staff\n"
    )
    assert (await command("clusters"))[1] == (await command("clusters", "list", "--json"))[1]
    code, out, _ = await command("clusters", "list", "--status", "failed", "--user", "ann", "--table")
    words = ["old", "ann", "FAILED", "1970-01-01", "00:00", *moment(ENDED).split(), "0", "no", "disk"]
    assert out.splitlines()[1].split() == words
    code, out, _ = await command("clusters", "list", "--user", "nobody")
    assert (code, json.loads(out)) == (0, [])
    code, _, err = await command("clusters", "list", "--status", "gone")
    assert (code, "Query 'status' is 'gone'" in err) == (1, True)


async def test_lists_of_more_than_a_page(house, command):
    for number in range(1001):
        kept = record(f"x{number}", "eve", status=ClusterStatus.STOPPED, stop_time=time_ms())
        house.manager.adopt(kept, ())
    _, out, _ = await command("clusters", "list", "--status", "STOPPED", "--json")
    assert len(json.loads(out)) == 1001


async def test_stop_and_unshare(house, command):
    assert await command("clusters", "unshare", "c0ffee", "--reason", "left") == (0, "Shared with nobody: c0ffee\n", "")
    assert house.store.clusters["c0ffee"].share_view == ()
    assert await command("stop", "c0ffee", "--reason", "node is down") == (0, "Stopped: c0ffee\n", "")
    assert house.store.clusters["c0ffee"].stopped.endswith(") has stopped it: node is down")
    code, _, err = await command("stop", "a/b?c", "--reason", "x")
    assert (code, "not found" in err or "nothing" in err) == (1, True), err


async def test_sessions(house, command):
    answer = await house.ask("GET", "/api/v1/clusters/", password="p")
    cookie = [("Cookie", answer.headers["set-cookie"][0].partition(";")[0])]
    assert await command("sessions", "end", "alice", "--reason", "lost") == (0, "Ended: all sessions of alice\n", "")
    assert (await house.ask("GET", "/api/v1/clusters/", user=None, headers=cookie)).status == 401


@pytest.mark.parametrize(
    "argv",
    [
        ("stop", "c0ffee"),
        ("stop", "--reason", "x"),
        ("clusters", "unshare", "c0ffee"),
        ("sessions", "end", "alice"),
        ("sessions", "end", "--reason", "x"),
    ],
)
async def test_wrong_usage(house, command, argv):
    code, _, err = await command(*argv)
    assert (code, "Missing" in err) == (2, True)
    assert house.store.clusters["c0ffee"].status is ClusterStatus.PENDING
