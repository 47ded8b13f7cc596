"""Recorded conversations with a PBS, played again and compared.

A file holds what was typed at a real OpenPBS and what it answered:

    alice$ qstat 99999
    stderr: qstat: Unknown Job Id 99999.pbs
    exit 153

and, between, lines for the player:

    @next 83               the next job gets this number (a simulation only; elsewhere numbers are mapped)
    @until 85.pbs R 42     wait for a state, and a substate
    @gone 85.pbs           wait until PBS does not know the job any more
    @ended 85.pbs          wait until the job's process has ended, without asking the server
    @alice qsub ...        run something as preparation; its answer is not compared
    @files a b             these files and no others are in the user's directory
    @away, @back           the server stops and starts (a simulation only)
    @timing exit 4         how long something takes (a simulation only)

What differs from run to run (dates, numbers of jobs, places, sizes) is
replaced by the same words in the recorded and the new answer.
"""

import difflib
import os
import pwd
import re
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from attrs import frozen

from tests.pbs.simulation import Simulation

_COMMAND = re.compile(r"(alice|bob|dask|root)\$ (.*)")
_JOB = re.compile(r"(\d+)(\[\d*\])?\.(\w[\w.-]*)")
_PLACES = {"tmp": "/var/tmp", "aux": "/var/spool/pbs/aux", "jobs": "/var/spool/pbs/mom_priv/jobs"}
_DEADLINE = 60.0
_REPLACEMENTS = [
    (r"\n\t(?![\t\"}])", ""),  # broken lines of -f
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", "DATE"),
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d at \d\d:\d\d", "DATE"),
    (r"\b1[78]\d{8}\b", "STAMP"),
    (r"\b00:00:\d\d\b", "00:00:00"),
    (r"(resources_used\.\w+ =).*", r"\1 N"),
    (r"\b\d+kb\b(?!\))", "Nkb"),
    (r"(exec_host = |\"exec_host\":\t\")pbs/\d+", r"\1pbs/N"),
    (r"(session_id = |\"session_id\":\t)\d+", r"\1N"),
    (r"(JOBCOOKIE=)\w+", r"\1COOKIE"),
    (r" +", " "),
    (r" $", ""),
]


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


@dataclass
class Player:
    """Plays conversations at the commands in `bin`, in `directory`, which takes the place of /home/alice/p."""

    bin: Path
    directory: Path
    simulation: Simulation | None
    numbers: dict[str, str] = field(default_factory=dict)  # recorded → given now
    pids: dict[str, int] = field(default_factory=dict)
    server: str = "pbs"
    host: str = "pbs"

    def play(self, steps: list[Step]) -> None:
        """Play and compare all steps."""
        for step in steps:
            if not step.user:
                self._direct(*step.command[1:].split(" ", 1))
                continue
            code, out, err = self.run(step.user, self._now(step.command))
            if step.command.startswith(("qsub", "printf", "echo")) or "qsub" in step.command:
                self._learn(step.stdout, out)
            answer = f"{self._then(out)}\n--- stderr\n{self._then(err)}\n--- exit {code}"
            wanted = f"{normal(step.stdout)}\n--- stderr\n{normal(step.stderr)}\n--- exit {step.code}"
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
            done.returncode,
            done.stdout.decode(errors="surrogateescape"),
            done.stderr.decode(errors="surrogateescape"),
        )

    def _direct(self, word: str, rest: str = "") -> None:
        if word in ("alice", "bob", "dask", "root"):
            code, out, err = self.run(word, self._now(rest))
            assert code == 0, f"{rest}: {out}{err}"
            if self.simulation is None and (match := _JOB.match(out)):
                raise AssertionError(f"{match[0]}: preparations with qsub need a simulation's numbers")
        elif word == "next" and self.simulation is not None:
            self.simulation.set(next=int(rest))
        elif word == "timing" and self.simulation is not None:
            self.simulation.set(**{rest.split()[0]: float(rest.split()[1])})
        elif word == "until":
            self._until(*self._now(rest).split())
        elif word == "gone":
            self._wait(f"{rest} to be gone", lambda: self.run("root", f"qstat '{self._now(rest)}'")[0] == 153)
        elif word == "ended":
            self._wait(f"{rest} to end", lambda: not Path(f"/proc/{self.pids[rest]}").exists())
        elif word == "files":
            found = {str(path.relative_to(self.directory)) for path in self.directory.rglob("*")}
            assert {self._then(name) for name in found} == set(rest.split())
        elif word in ("away", "back") and self.simulation is not None:
            if word == "away":
                out = self.run("root", "qstat -f")[1]
                pairs = re.findall(r"Job Id: (\S+)(?:\n .*|\n\t.*)*?\n    session_id = (\d+)", out)
                self.pids = {job: int(pid) for job, pid in pairs}
            self.simulation.control(away=word == "away")

    def _until(self, job: str, state: str, substate: str = "") -> None:
        wanted = f"    job_state = {state}\n"

        def reached() -> bool:
            out = self.run("root", f"qstat -x -f '{job}'")[1]
            return wanted in out and (not substate or f"    substate = {substate}\n" in out)

        self._wait(f"{job} to be {state} {substate}", reached)

    def _wait(self, what: str, reached: Callable[[], bool]) -> None:
        end = time.monotonic() + _DEADLINE
        while not reached():
            assert time.monotonic() < end, f"waited for {what}"
            time.sleep(0.05)  # PBS tells nobody when something changes

    def _learn(self, recorded: str, given: str) -> None:
        """Which number a recorded job has now."""
        for old, new in zip(_JOB.finditer(recorded), _JOB.finditer(given), strict=False):
            self.numbers[old[1]] = new[1]
            self.server = new[3]
            self.host = "pbs" if self.simulation is not None else socket.gethostname().partition(".")[0]

    def _now(self, text: str) -> str:
        """A recorded command with the numbers and places of today."""
        text = re.sub(r"(?<![\w.])\d+(?=(\[[\d-]*\])?(\.pbs|'|$| ))", lambda m: self.numbers.get(m[0], m[0]), text)
        text = re.sub(r"(?<=[\d\]])\.pbs\b", f".{self.server}", text)
        return text.replace("/home/alice/p", str(self.directory)).replace("~/p", str(self.directory))

    def _then(self, text: str) -> str:
        """An answer of today with recorded numbers and places."""
        back = {new: old for old, new in self.numbers.items() if old != new}
        if back:
            text = re.sub(r"(?<![\w.])\d+(?=(\[\d*\])?\.)", lambda m: back.get(m[0], m[0]), text)
        text = text.replace(f".{self.server}", ".pbs")
        text = re.sub(rf"(?<=[@:( ]){re.escape(self.host)}(?=[:/\n]|$)", "pbs", text)
        text = text.replace(str(self.directory), "/home/alice/p").replace(str(self.bin), "/opt/pbs/bin")
        if self.simulation is not None:
            home = str(self.simulation.home)
            for part, real in (
                ("tmp", "/var/tmp"),
                ("aux", "/var/spool/pbs/aux"),
                ("jobs", "/var/spool/pbs/mom_priv/jobs"),
            ):
                text = text.replace(f"{home}/{part}", real)
        return normal(text)


def normal(text: str) -> str:
    """Text without what differs from run to run."""
    text = re.sub(r"PBS_O_PATH=[^,\n]*|PBS_O_PATH\":\t\"[^\"]*|^PATH=.*$", "PATH", text, flags=re.MULTILINE)
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text.strip("\n")


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
