"""The daemon itself, with conversations of the test's own: how many there are at once, and what if none can begin.

It runs in a process that is forked from the test's, takes the test for the gateway, and is ended by SIGTERM.
"""

import errno
import json
import os
import signal
import socket
from contextlib import contextmanager
from functools import partial

import pytest

from gateway.backends.launcher import daemon as daemon_module
from gateway.backends.launcher.children import fork
from gateway.backends.launcher.daemon import Daemon

# The process that is forked has this thread alone, whatever others an earlier test has left here.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def repeat(connection):
    """A conversation: each byte comes back, until none comes."""
    while said := connection.recv(1):
        connection.sendall(said)


@contextmanager
def serving(path, grace=30.0, **options):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(50)
        served = Daemon(os.getuid, repeat, **options)
        pid = fork(partial(served.serve, listener, grace))
    try:
        yield pid
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    connection.sendall(b"x")
    return connection


def test_there_are_only_so_many_conversations_at_once(tmp_path):
    with serving(tmp_path / "socket", most=2):
        first, second = connect(tmp_path / "socket"), connect(tmp_path / "socket")
        assert first.recv(1) == second.recv(1) == b"x"
        third = connect(tmp_path / "socket")
        third.settimeout(0.2)
        with pytest.raises(TimeoutError):
            third.recv(1)
        first.close()
        third.settimeout(20)
        assert third.recv(1) == b"x"
        second.close()
        third.close()


def test_conversations_that_do_not_end_are_not_waited_for_longer_than_it_may_take_to_stop(tmp_path):
    with serving(tmp_path / "socket", grace=0.2):
        kept = connect(tmp_path / "socket")
        assert kept.recv(1) == b"x"
    kept.close()


def test_without_a_further_process_it_says_so_and_goes_on(tmp_path, monkeypatch):
    fails = iter([True])

    def no_fork(run):
        if next(fails, False):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork(run)

    monkeypatch.setattr(daemon_module, "fork", no_fork)
    with serving(tmp_path / "socket", pause=0.1):
        refused = connect(tmp_path / "socket")
        answer = json.loads(refused.recv(4096))
        assert (answer["ok"], answer["away"], answer["lost"]) == (False, True, False)
        assert answer["error"] == "the launcher cannot start a process: Resource temporarily unavailable"
        refused.close()
        served = connect(tmp_path / "socket")
        assert served.recv(1) == b"x"
        served.close()


def test_a_conversation_that_breaks_harms_no_other(tmp_path, capfd):
    def hold(connection):
        assert connection.recv(1) != b"b", "it broke"
        connection.sendall(b"good")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        listener.listen()
        pid = fork(partial(Daemon(os.getuid, hold).serve, listener))
    with socket.socket(socket.AF_UNIX) as broken:
        broken.settimeout(20)
        broken.connect(str(tmp_path / "socket"))
        broken.sendall(b"b")
        assert broken.recv(4) == b""
    with connect(tmp_path / "socket") as good:
        assert good.recv(4) == b"good"
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert "it broke" in capfd.readouterr().err
