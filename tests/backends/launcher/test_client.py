"""The way to the launcher: who is asked for, and what every failure of it means."""

import json
import sys

import pytest

from gateway.backends.commands import Answer
from gateway.backends.launcher import client as impersonation
from gateway.backends.launcher.client import Launcher, own_account, parse_answer
from gateway.backends.processes import OutputTooLong
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused

PATH = "/opt/dask-gateway/bin/dask-gateway-jobqueue-launcher"


@pytest.fixture
def calls(monkeypatch):
    """Calls of commands; the answer is what the test puts first in the list."""
    calls = []

    async def run_command(argv, *, environment, stdin, max_output):
        assert max_output == impersonation.MAX_ANSWER
        answer = calls.pop(0)
        calls.append((tuple(argv), json.loads(stdin)))
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(impersonation, "run_command", run_command)
    return calls


async def ask(user="alice", *, impersonate=True):
    return await Launcher(PATH, impersonate, "dask").request(user, {"action": "tail"}, seconds=20)


async def test_the_launcher_is_run_through_sudo_as_the_guide_has_it(calls):
    calls.append(Answer(0, '{"ok": true, "text": "x"}', ""))
    assert await ask() == {"ok": True, "text": "x"}
    assert calls == [(("sudo", "-nHu", "alice", PATH), {"action": "tail", "seconds": 20})]


async def test_without_impersonation_there_is_one_user(calls):
    calls.append(Answer(0, '{"ok": true}', ""))
    assert await ask("dask", impersonate=False) == {"ok": True}
    assert calls[0][0] == (PATH,)
    with pytest.raises(JobRefused, match=r"as dask only .* not as alice"):
        await ask("alice", impersonate=False)


@pytest.mark.parametrize("user", ["", "-u", "#0", "#1000", "a b", "a,b", "a\n", "%wheel", "a/b", "é"])
async def test_names_that_are_none(calls, user):
    with pytest.raises(JobRefused, match="no name of a user"):
        await ask(user)


@pytest.mark.parametrize("user", ["alice", "a.b", "user@EXAMPLE.ORG", "_x", "7of9", "host$", "a-b"])
async def test_names_that_are_some(calls, user):
    calls.append(Answer(0, '{"ok": true}', ""))
    assert (await ask(user))["ok"]


@pytest.mark.parametrize(
    ("stderr", "error", "words"),
    [
        ("sudo: unknown user nosuch\nsudo: error initializing audit plugin sudoers_audit", JobRefused, "is unknown on"),
        ("sudo: a password is required", JobRefused, "sudo has no rule that lets dask run"),
        ("Sorry, user dask is not allowed to execute '/x' as alice on edge.", JobRefused, "sudo has no rule"),
        ("dask is not in the sudoers file.", JobRefused, "sudo has no rule"),
        (f"sudo: {PATH}: command not found", JobRefused, "set dask_gateway_jobqueue_launcher"),
        ("Traceback: boom", BackendUnavailable, "The launcher failed for alice: Traceback: boom"),
        ("", BackendUnavailable, "exit code 1"),
    ],
)
def test_no_answer_has_a_reason(stderr, error, words):
    with pytest.raises(error, match=words):
        parse_answer(Answer(1, "", stderr), "alice", PATH, "dask")


@pytest.mark.parametrize("stdout", ["[]", "{}", "1", '"ok"', "{", "[" * 100_000, '{"ok": ' * 100_000, "9" * 5000])
def test_other_output_is_no_answer(stdout):
    with pytest.raises(BackendUnavailable):
        parse_answer(Answer(0, stdout, ""), "alice", PATH, "dask")


def test_a_refusal_and_a_loss_of_the_launcher():
    refusal = '{"ok": false, "error": "the disk is full", "lost": false}'
    with pytest.raises(JobRefused, match=r"^For user alice: the disk is full\.$"):
        parse_answer(Answer(0, refusal, ""), "alice", PATH, "dask")
    with pytest.raises(AnswerLost):
        parse_answer(Answer(0, refusal.replace('"lost": false', '"lost": true'), ""), "alice", PATH, "dask")


async def test_a_launcher_that_does_not_answer(calls, autojump_clock, monkeypatch):
    import trio

    async def run_command(argv, *, environment, stdin, max_output):
        await trio.sleep_forever()

    monkeypatch.setattr(impersonation, "run_command", run_command)
    with pytest.raises(AnswerLost, match="within 30 seconds"):
        await ask()


async def test_an_answer_that_is_too_long_is_lost(calls):
    calls.append(OutputTooLong("it printed more than 1048576 bytes"))
    with pytest.raises(AnswerLost, match="for alice is not read: it printed more than"):
        await ask()


def test_texts_of_an_answer_can_be_written_and_shown():
    result = parse_answer(Answer(0, r'{"ok": true, "text": "a\ud800b", "kept": 1}', ""), "alice", PATH, "dask")
    assert result == {"ok": True, "text": "a?b", "kept": 1}
    refusal = json.dumps({"ok": False, "error": "x" * 100_000})
    with pytest.raises(JobRefused) as caught:
        parse_answer(Answer(0, refusal, ""), "alice", PATH, "dask")
    assert len(str(caught.value)) < 1000


async def test_sudo_that_cannot_be_run(calls):
    calls.append(FileNotFoundError(2, "No such file or directory", "sudo"))
    with pytest.raises(BackendUnavailable, match="sudo cannot be run"):
        await ask()


async def test_a_real_process_answers():
    launcher = Launcher(sys.executable, False, own_account())
    with pytest.raises(BackendUnavailable, match=r"SyntaxError|NameError|exit code"):
        await launcher.request(own_account(), {"action": object.__name__}, seconds=20)
