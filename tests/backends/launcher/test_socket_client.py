"""The gateway's side of the daemon's socket, with servers of the test's own: what each failure means."""

import json
import os
import socket
from contextlib import suppress

import pytest
import trio
from structlog.testing import capture_logs

from gateway.backends.launcher.answers import MAX_ANSWER
from gateway.backends.launcher.socket_client import SocketLauncher
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused

GOOD = b'{"ok": true, "text": "x"}'


class Server:
    """Answers each connection as it is told, once it has read everything (`reads`)."""

    def __init__(self, path, nursery):
        self.path = str(path)
        self.said = []
        self._nursery = nursery

    async def open(self, data, *, reads=True):
        listener = trio.socket.socket(socket.AF_UNIX)
        await listener.bind(self.path)
        listener.listen()
        self._nursery.start_soon(self._serve, listener, data, reads)
        return SocketLauncher(self.path, os.getuid())

    async def _serve(self, listener, data, reads):
        with listener:
            connection, _ = await listener.accept()
            async with trio.SocketStream(connection) as stream:
                if reads:
                    self.said.append(b"".join([piece async for piece in stream]))
                if data is None:
                    await trio.sleep_forever()
                with suppress(trio.BrokenResourceError):  # nobody waits for it
                    await stream.send_all(data)


@pytest.fixture
def server(tmp_path, nursery):
    return Server(tmp_path / "launcher.sock", nursery)


async def ask(launcher, user="alice", **request):
    return await launcher.request(user, {"action": "tail", **request}, seconds=20)


async def test_a_name_a_request_and_its_answer(server):
    launcher = await server.open(GOOD)
    assert await ask(launcher) == {"ok": True, "text": "x"}
    name, _, request = server.said[0].partition(b"\n")
    assert name == b"alice"
    assert json.loads(request) == {"action": "tail", "seconds": 20}


async def test_a_large_request(server):
    launcher = await server.open(GOOD)
    assert (await ask(launcher, script="x" * 2**22))["ok"]
    assert len(server.said[0]) > 2**22


@pytest.mark.parametrize("user", ["", "#0", "a b", "a\n", "é", "-u"])
async def test_names_that_are_none_are_not_sent(server, user):
    with pytest.raises(JobRefused, match="no name of a user"):
        await ask(await server.open(GOOD), user)
    assert server.said == []


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", AnswerLost, "has ended without an answer for alice; see `journalctl -u dask-gateway-launcherd`"),
        (b'{"ok": tr', AnswerLost, "has ended without an answer"),
        (b'{"ok": false, "error": "no", "lost": false, "away": false}', JobRefused, r"^For user alice: no\.$"),
        (b'{"ok": false, "error": "no", "lost": false, "away": true}', BackendUnavailable, r"^For user alice: no\.$"),
        (b'{"ok": false, "error": "no", "lost": true, "away": true}', AnswerLost, r"^For user alice: no\.$"),
        (b'{"ok": tr\n{"ok": false, "error": "ended", "lost": true}', AnswerLost, "ended"),
        (b"x" * (MAX_ANSWER + 1), AnswerLost, "has more than 1048576 bytes"),
    ],
)
async def test_what_is_answered(server, answer, error, words):
    with pytest.raises(error, match=words):
        await ask(await server.open(answer))


async def test_a_refusal_of_who_does_not_listen(server):
    """The daemon says so before it has read anything, and closes: what was sent has nobody to go to."""
    launcher = await server.open(b'{"ok": false, "error": "not you"}', reads=False)
    with pytest.raises(JobRefused, match="not you"):
        await ask(launcher, script="x" * 2**22)


async def test_no_answer_in_time(server, autojump_clock):
    with pytest.raises(AnswerLost, match="gave no answer for alice within 30 seconds"):
        await ask(await server.open(None))


@pytest.mark.parametrize("there", [True, False])
async def test_a_daemon_that_is_not_there(tmp_path, there):
    path = str(tmp_path / "launcher.sock")
    if there:
        with socket.socket(socket.AF_UNIX) as closed:
            closed.bind(path)
    with capture_logs() as logs, pytest.raises(BackendUnavailable, match=r"systemctl status .*launcherd\.socket"):
        await ask(SocketLauncher(path, os.getuid()))
    assert [line["event"] for line in logs] == ["no answer of the launcher"]


async def test_somebody_else_s_socket_is_told_nothing(server):
    await server.open(GOOD)
    with pytest.raises(BackendUnavailable, match=f"is not the launcher daemon's: uid {os.getuid()} has made it"):
        await ask(SocketLauncher(server.path, os.getuid() + 1))
    with trio.fail_after(5):
        while not server.said:
            await trio.lowlevel.checkpoint()
    assert server.said == [b""]


async def test_a_full_queue_is_waited_for(tmp_path, autojump_clock):
    path = str(tmp_path / "launcher.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        answers = []

        async def request():
            answers.append(await ask(SocketLauncher(path, os.getuid())))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(request)
            await trio.sleep(5)
            assert not answers
            listener.accept()[0].close()
            await trio.sleep(1)
            connection, _ = listener.accept()
            connection.sendall(GOOD)
            connection.close()
        assert answers == [{"ok": True, "text": "x"}]
