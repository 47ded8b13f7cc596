import errno
import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest
import trio
from attrs import evolve

from gateway.backends.local import process as local_process
from gateway.backends.local import sessions as local_sessions
from gateway.backends.local.accounts import own_account
from gateway.backends.local.jobs import ProcessId
from gateway.backends.local.process import (
    Process,
    boot_id,
    check_kernel,
    read_marked,
    read_sessions,
    read_status,
    start_process,
)
from gateway.backends.local.sessions import Census, end_processes, send_signal
from gateway.errors import BackendUnavailable, JobRefused, StartError


def start(*argv, environment=None):
    output = os.open(os.devnull, os.O_WRONLY)
    try:
        return start_process(
            argv,
            directory="/",
            environment={"PATH": "/usr/bin:/bin", **(environment or {})},
            output=output,
            account=own_account(),
        )
    finally:
        os.close(output)


@pytest.fixture
def sleeper():
    process = start("sleep", "600", environment={"DASK_GATEWAY_CLUSTERS_DIRECTORY": "/of-this-test"})
    yield process
    process.send(signal.SIGKILL)
    os.waitid(os.P_PIDFD, process.fd, os.WEXITED | os.WNOWAIT)
    process.reap()
    process.close()


async def wait_ended(process):
    with trio.fail_after(30):
        await trio.lowlevel.wait_readable(process.fd)


async def test_the_exit_code_of_a_child_is_known_once():
    with closing(start("sh", "-c", "exit 3")) as process:
        await wait_ended(process)
        assert process.reap() == 3
        assert process.reap() is None


async def test_the_signal_that_killed_a_child_is_known():
    with closing(start("sleep", "600")) as process:
        assert process.reap() is None
        process.send(signal.SIGTERM)
        await wait_ended(process)
        send_signal([process.id], signal.SIGKILL)  # a zombie still has its number; this does not reap it
        assert process.reap() == -signal.SIGTERM
        process.send(signal.SIGTERM)  # to nobody


def test_a_process_is_not_mistaken_for_another(sleeper):
    assert Process.open(evolve(sleeper.id, start=sleeper.id.start - 1)) is None
    assert Process.open(evolve(sleeper.id, boot="00000000")) is None
    assert Process.open(ProcessId(2**22 + 1, 1, boot_id())) is None


def test_other_errors_are_not_taken_for_an_end(sleeper, monkeypatch):
    def pidfd_open(pid):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many"):
        patch.setattr(os, "pidfd_open", pidfd_open)
        Process.open(sleeper.id)


def test_a_job_leads_its_session_and_shows_its_marks(sleeper):
    assert sleeper.id in read_sessions()[sleeper.id.pid]
    (marked,) = read_marked("/of-this-test")
    assert (marked.id.pid, marked.uid, marked.leads) == (sleeper.id.pid, os.geteuid(), True)


def test_a_process_that_is_gone_has_no_status():
    assert read_status(2**22 + 1) is None


@pytest.mark.parametrize(
    ("argv", "environment", "reason"),
    [
        (("no-such-program",), {}, "'no-such-program' cannot be executed as user .*: No such file or directory"),
        (("/etc/passwd",), {}, "'/etc/passwd' .*: Permission denied"),
        (("true",), {"A": "\0"}, "embedded null byte"),
        (("true",), {"A=B": ""}, "illegal environment variable name"),
    ],
)
def test_what_cannot_be_executed_is_refused(argv, environment, reason):
    with pytest.raises(JobRefused, match=reason):
        start(*argv, environment=environment)


def test_a_shortage_is_no_refusal(monkeypatch):
    def popen(*args, **kwargs):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(BackendUnavailable, match="temporarily unavailable"):
        start("true")


def test_a_process_that_cannot_be_watched_is_not_left(monkeypatch):
    pids = []

    def pidfd_open(pid):
        pids.append(pid)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(BackendUnavailable, match="cannot be watched: Too many open files"):
        start("sleep", "600")
    assert read_status(pids[0]) is None


def test_an_old_kernel_is_named(monkeypatch):
    check_kernel()

    def pidfd_open(pid):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(StartError, match=r"Linux 5\.4"):
        check_kernel()


def test_a_process_that_executes_another_program_is_read_again(sleeper, monkeypatch):
    """Its environment is empty at the first readings."""
    pauses = []
    path = f"/proc/{sleeper.id.pid}/environ"

    def open_(name, *args, **kwargs):
        return open(os.devnull if name == path and len(pauses) < 3 else name, *args, **kwargs)

    monkeypatch.setattr(local_process, "open", open_, raising=False)
    monkeypatch.setattr(local_process.time, "sleep", pauses.append)
    assert [marked.id.pid for marked in read_marked("/of-this-test")] == [sleeper.id.pid]
    assert len(pauses) >= 3
    pauses[:] = [-1000.0]  # it never shows anything
    monkeypatch.setattr(local_process.time, "sleep", lambda pause: None)
    assert read_marked("/of-this-test") == []


async def test_processes_are_ended_and_waited_for():
    processes = [start("sleep", "600") for _ in range(3)]
    ids = [process.id for process in processes]
    with trio.fail_after(30):
        await end_processes([*ids, evolve(ids[0], start=1)], signal.SIGKILL)
    assert [process.reap() for process in processes] == [-signal.SIGKILL] * 3
    send_signal(ids, signal.SIGKILL)  # to nobody
    for process in processes:
        process.close()


async def test_those_who_ask_at_once_share_a_census(monkeypatch):
    passes = []

    def read():
        passes.append(None)
        return {1: [len(passes)]}

    monkeypatch.setattr(local_sessions, "read_sessions", read)
    census = Census()
    answers = []

    async def ask():
        answers.append(await census.members(1))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert len(answers) == 20
    assert len(passes) <= 2
    assert await census.members(1) == [len(passes)]
    assert await census.members(2) == ()


def test_the_interpreter_is_where_jobs_can_find_it():
    assert os.access(sys.executable, os.X_OK)
