"""Recorded conversations with a PBS, played again and compared.

A file holds what was typed at a real OpenPBS and what it answered:

    alice$ qstat 99999
    stderr: qstat: Unknown Job Id 99999.pbs
    exit 153

and, between, lines for the player:

    @next 83               the next job got this number
    @until 85.pbs R 42     wait for a state, and a substate
    @gone 85.pbs           wait until PBS does not know the job any more
    @ended 85.pbs          wait until the job's process has ended, without asking the server
    @alice qsub ...        run something as preparation; its answer is not compared
    @files a b             these files and no others are in the user's directory
    @away, @back           the server stops and starts (a simulation only)
    @crash                 the server is killed; @back starts it (a simulation only)
    @die qsub crash        how the server dies when it is asked next (a simulation only; see pbssim/wire.py)
    @timing exit 4         how long something takes (elsewhere only `exit` can be made to take longer)

What differs from run to run (dates, numbers of jobs, places, sizes) is
replaced by the same words in the recorded and the new answer.
"""

import difflib
import os
import pwd
import re
import shlex
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from attrs import frozen

from tests.pbs.simulation import Simulation, server_of
from tests.pbs.translation import JOB, Words, shortened, uncut

_COMMAND = re.compile(r"(alice|bob|dask|root)\$ (.*)")
_DEADLINE = 60.0


@frozen
class Step:
    """A command with its recorded answer, or (without `user`) a line for the player."""

    line: int
    user: str
    command: str
    stdout: str = ""
    stderr: str = ""
    code: int = 0


def parse(text: str) -> list[Step]:
    """The steps of a file."""
    steps: list[Step] = []
    current: tuple[int, str, str] | None = None
    out, err = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if current is None:
            if line.startswith("@"):
                steps.append(Step(number, "", line))
            elif match := _COMMAND.match(line):
                current, out, err = (number, match[1], match[2]), [], []
        elif match := re.fullmatch(r"exit (\d+)", line):
            steps.append(Step(*current, "\n".join(out), "\n".join(err), int(match[1])))
            current = None
        elif line.startswith("stderr: "):
            err.append(line.removeprefix("stderr: "))
        else:
            out.append(line)
    assert current is None, f"line {current}: no exit code"
    return steps


class Player:
    """Plays conversations at the commands in `bin`, in `directory`, which takes the place of /home/alice/p.

    Without a simulation they are those of a real PBS, which others use as
    well: its jobs are ended afterwards, its settings restored.
    """

    def __init__(self, bin: Path, directory: Path, simulation: Simulation | None, *, pause: float = 0.05) -> None:
        self.bin = bin
        self.directory = directory
        self.simulation = simulation
        self.words = Words(directory, bin, simulation and simulation.home)
        self._pause = pause
        self._pids: dict[str, int] = {}
        self._next = 0  # the recorded number of the next job
        self._jobs: list[str] = []
        self._undo: list[str] = []
        if simulation is None:
            self.words.server = server_of(bin)
            self.words.host = socket.gethostname()
            self.words.numbers = {"99999": "9999999", "99998": "9999998"}  # which a busy server reaches last

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.simulation is not None:
            return
        for job in self._jobs:  # one by one: qdel of several has its traps
            self.run("root", f"qdel {shlex.quote(job)}")
        try:  # a queue can be deleted when nothing is in it any more
            self._wait("our jobs to end", lambda: not self._left())
        finally:
            self.run("root", "\n".join(self._undo))

    def play(self, steps: list[Step]) -> None:
        """Play and compare all steps."""
        for step in steps:
            if not step.user:
                self._direct(*step.command[1:].split(" ", 1))
                continue
            command, cut = (step.command, "") if self.simulation else uncut(step.command)
            undo = self._undoing(step.user, step.command)
            code, out, err = self.run(step.user, self.words.now(command))
            self._undo = (undo if code == 0 else []) + self._undo  # the last change first
            if "qsub" in step.command and (match := JOB.match(step.stdout)):
                self._next = int(match[1])
                self._learn(out)
            if self.simulation is None and command.startswith(("qstat", "qselect")):
                out = self.words.ours(out)
            out = shortened(self.words.then(out), cut)
            answer = f"{out}\n--- stderr\n{self.words.then(err)}\n--- exit {code}"
            recorded, complaint = self.words.normal(step.stdout), self.words.normal(step.stderr)
            wanted = f"{recorded}\n--- stderr\n{complaint}\n--- exit {step.code}"
            assert_same(wanted, answer, f"line {step.line}: {step.user}$ {step.command}")

    def run(self, user: str, command: str) -> tuple[int, str, str]:
        """A shell command as a user; returns (exit code, stdout, stderr)."""
        account = pwd.getpwnam(user)
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=self.directory,
            env={
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "HOME": account.pw_dir,
                "LOGNAME": user,
                "SHELL": "/bin/bash",
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            timeout=_DEADLINE,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=os.getgrouplist(user, account.pw_gid),
            check=False,
        )
        return (
            done.returncode if done.returncode >= 0 else 128 - done.returncode,  # as a shell says it
            done.stdout.decode(errors="surrogateescape"),
            done.stderr.decode(errors="surrogateescape"),
        )

    def _direct(self, word: str, rest: str = "") -> None:
        if word in ("alice", "bob", "dask", "root"):
            self._prepare(word, rest)
        elif word == "next":
            self._next = int(rest)
            if self.simulation is not None:
                self.simulation.set(next=self._next)
        elif word == "timing" and self.simulation is not None:
            self.simulation.set(**{rest.split()[0]: float(rest.split()[1])})
        elif word == "timing" and rest.startswith("exit"):
            self.directory.chmod(0o555)  # a job whose output cannot be delivered is in E for seconds
        elif word == "until":
            self._until(*self.words.now(rest).split())
        elif word == "gone":
            job = self.words.now(rest)
            self._wait(f"{rest} to be gone", lambda: self.run("root", f"qstat '{job}'")[0] == 153)
        elif word == "ended":
            self._wait(f"{rest} to end", lambda: not Path(f"/proc/{self._pids[rest]}").exists())
        elif word == "files":
            found = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}
            assert {self.words.then(name) for name in found} == set(rest.split())
        elif word == "crash" and self.simulation is not None:
            self.simulation.control(crash=True)
        elif word == "die" and self.simulation is not None:
            program, death = rest.split(" ", 1)
            self.simulation.fault(deaths={program: [death]})
        elif word in ("away", "back") and self.simulation is not None:
            if word == "away":
                out = self.run("root", "qstat -f")[1]
                pairs = re.findall(r"Job Id: (\S+)(?:\n .*|\n\t.*)*?\n    session_id = (\d+)", out)
                self._pids = {job: int(pid) for job, pid in pairs}
            self.simulation.control(away=word == "away")

    def _prepare(self, user: str, command: str) -> None:
        undo = self._undoing(user, command)
        code, out, err = self.run(user, self.words.now(command))
        assert code == 0, f"{command}: {out}{err}"
        self._undo = undo + self._undo
        if "qsub" in command:
            self._learn(out)

    def _undoing(self, user: str, command: str) -> list[str]:
        """How to undo what a command of qmgr is about to change on a PBS that others use as well."""
        if self.simulation is not None or user != "root":
            return []
        if match := re.match(r'qmgr -c "create queue (\w+)', command):
            return [f"qmgr -c 'delete queue {match[1]}'"]
        if match := re.match(r'qmgr -c "set server (\w+)', command):
            settings = self.run("root", 'qmgr -c "print server"')[1]
            before = re.findall(rf"^set server {match[1]} = .*", settings, re.MULTILINE)
            return [f"qmgr -c {shlex.quote(line)}" for line in before or [f"unset server {match[1]}"]]
        return []

    def _left(self) -> bool:
        """Has any of our jobs not ended?"""
        ours = {match[1] for job in self._jobs if (match := JOB.match(job))}
        return any(match[1] in ours for match in JOB.finditer(self.run("root", "qselect")[1]))

    def _until(self, job: str, state: str, substate: str = "") -> None:
        wanted = f"    job_state = {state}\n"
        # A real PBS may have gone on by the time it is asked; `Words.normal` takes these two for the same.
        substates = ("41", "42") if self.simulation is None and substate == "41" else (substate,)

        def reached() -> bool:
            # Without a history, `-x` shows nothing.
            out = self.run("root", f"qstat -x -f '{job}'")[1] or self.run("root", f"qstat -f '{job}'")[1]
            return wanted in out and (not substate or any(f"    substate = {each}\n" in out for each in substates))

        self._wait(f"{job} to be {state} {substate}", reached)

    def _wait(self, what: str, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + _DEADLINE
        while not reached():
            assert time.monotonic() < end, f"waited for {what}"
            time.sleep(self._pause)  # PBS tells nobody when something changes

    def _learn(self, given: str) -> None:
        """Which number the recorded job has now, and at the first of them what the host is called."""
        match = JOB.match(given)
        if match is None:  # a refusal that was not recorded: the comparison tells
            return
        self.words.numbers[str(self._next)] = match[1]
        self._next += 1
        self._jobs.append(match[0])
        if self.simulation is None and len(self._jobs) == 1:
            shown = self.run("root", f"qstat -x -f -F dsv {shlex.quote(match[0])}")[1]
            host = re.search(r"\bPBS_O_HOST=([\w.-]+)", shown)
            assert host is not None, f"qstat -x does not show {match[0]}: is job_history_enable set?"
            self.words.host = host[1]


def assert_same(wanted: str, answer: str, title: str) -> None:
    """Compare answers; `... (N more lines)` in the recorded one stands for anything."""
    head, more, tail = wanted.partition("\n... (")
    if more:
        tail = tail.partition("more lines)\n")[2]
        same = answer.startswith(head) and answer.endswith(tail)
    else:
        same = wanted == answer
    difference = difflib.unified_diff(wanted.split("\n"), answer.split("\n"), "recorded", "answered", lineterm="")
    assert same, "\n".join([title, *difference])
