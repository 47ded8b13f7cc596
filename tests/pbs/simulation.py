"""Start and stop a simulated PBS: a directory that can stand for PBS_EXEC.

    with Simulation.start() as pbs:
        subprocess.run([pbs.bin / "qsub"], input="echo hi\n")

Everything the programs need is copied into the directory, so that other
users can run them although they cannot read this checkout.
"""

import atexit
import contextlib
import functools
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

from tests.support.users import USERS

SOURCE = Path(__file__).resolve().parent / "pbssim"
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
OPERATORS = ("qrerun", "qhold", "qrls", "qsig", "qmgr")
_WRAPPER = """\
#!/bin/sh
exec {python} -I -S -c '
import sys
sys.path.insert(0, "{lib}")
from pbssim import {module}
sys.exit({module}.main({first}sys.argv[1:]))' "$@"
"""


def pbssim(module: str) -> ModuleType:
    """A module of the simulation itself, for tests of its parts."""
    if str(SOURCE.parent) not in sys.path:
        sys.path.insert(0, str(SOURCE.parent))
    return importlib.import_module(f"pbssim.{module}")


@contextlib.contextmanager
def some_pbs() -> Iterator[Path]:
    """The folder of the commands of the PBS that PBS_EXEC names, else of a simulated one that is quick to end jobs."""
    if real := os.environ.get("PBS_EXEC"):
        yield Path(real) / "bin"
        return
    yield _shared().bin


def jobs_named(commands: Path, names: str, states: str = "QHWTRSUE") -> list[str]:
    """The ids of our users' jobs in these states with names like this; an array stands for its subjobs.

    Whoever deletes what a test left must use it: on a real PBS the users may have jobs of their own.
    """
    asked = [commands / "qselect", "-T", "-u", ",".join(USERS), "-s", states]
    found = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    ids = sorted(set(re.sub(r"\[\d+\]", "[]", found).split()))
    # Without ids, qstat would list everybody's jobs. Its exit code tells that one of them has ended meanwhile.
    asked = [commands / "qstat", "-f", *ids]
    text = subprocess.run(asked, check=False, capture_output=True, text=True).stdout if ids else ""
    return re.findall(rf"^Job Id: (\S+)\n    Job_Name = {names}$", text, re.MULTILINE)


def server_of(commands: Path) -> str:
    """The name at the end of the ids of a PBS: of one that names no job, too."""
    asked = [commands / "qstat", "99999999"]
    complaint = subprocess.run(asked, check=False, capture_output=True, text=True).stderr
    match = re.search(r"Unknown Job Id 99999999\.(\S+)", complaint)
    assert match is not None, f"{commands}/qstat is not that of a working PBS: {complaint}"
    return match[1]


@functools.cache
def _shared() -> "Simulation":
    simulation = Simulation.start(timing={"delete": 0.3}, queues={"workq": True, "dask": True})
    simulation.fault(qstat_pause=0.0, ports=1_000_000)
    atexit.register(simulation.stop)
    return simulation


class Simulation:
    """A running daemon and the directory it lives in."""

    def __init__(self, home: Path, daemon: subprocess.Popen[str]) -> None:
        self.home = home
        self.bin = home / "bin"
        self._daemon = daemon

    @classmethod
    def start(cls, *, timing: dict[str, float] | None = None, **settings: Any) -> Self:
        """Start a daemon in a new directory below the temporary one. Arguments are fields of Settings and Timing."""
        home = Path(tempfile.mkdtemp(prefix="pbs-", dir="/tmp"))
        home.chmod(0o755)
        shutil.copytree(SOURCE, home / "lib" / "pbssim", ignore=shutil.ignore_patterns("__pycache__"))
        (home / "server_name").write_text(settings.get("server", "pbs"))
        (home / "bin").mkdir()
        modules = {name: (name, "") for name in ("qsub", "qstat", "qselect", "qdel", "pbsnodes")}
        for name, (module, first) in (modules | {name: ("qoper", f'"{name}", ') for name in OPERATORS}).items():
            path = home / "bin" / name
            path.write_text(_WRAPPER.format(python=PYTHON, lib=home / "lib", module=module, first=first))
        subprocess.run([PYTHON, "-I", "-m", "compileall", "-q", home / "lib"], check=True)
        for path in home.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        options = json.dumps({"settings": settings, "timing": timing or {}})
        daemon = subprocess.Popen(
            [PYTHON, "-I", home / "lib" / "pbssim" / "daemon.py", home, options],
            stdin=subprocess.PIPE,  # its end tells the daemon that we are gone, however we ended
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )
        assert daemon.stdout is not None
        if daemon.stdout.readline() != "ready\n":
            daemon.wait()
            raise RuntimeError(f"the simulated PBS in {home} did not start")
        return cls(home, daemon)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the daemon and all its jobs, and remove the directory."""
        with contextlib.suppress(ProcessLookupError):
            self._daemon.send_signal(signal.SIGCONT)
        with contextlib.suppress(OSError, ValueError):
            self.control(stop=True)
        try:
            self._daemon.wait(10)
        except subprocess.TimeoutExpired:
            self._daemon.kill()
            self._daemon.wait()
        assert self._daemon.stdin is not None
        assert self._daemon.stdout is not None
        self._daemon.stdin.close()
        self._daemon.stdout.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def control(self, **request: Any) -> dict[str, Any]:
        """A control of `pbssim/daemon.py`."""
        answer: dict[str, Any] = pbssim("wire").call(self.home / "control.sock", request)
        return answer

    def set(self, **values: Any) -> None:
        """Change fields of Settings or Timing."""
        self.control(set=values)

    def fault(self, **values: Any) -> None:
        """Change fields of Faults."""
        self.control(faults=values)

    def force(self, job: str, **values: Any) -> None:
        """Change fields of a job, for states that cannot be brought about otherwise."""
        self.control(force={"id": job, **values})

    def calls(self, program: str = "") -> list[tuple[str, str, list[str]]]:
        """What was asked so far: (program, user, arguments)."""
        return [(name, user, argv) for name, user, argv in self.control(calls=True)["calls"] if program in ("", name)]

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """The server does not run meanwhile; jobs go on."""
        self.control(away=True)
        try:
            yield
        finally:
            self.control(away=False)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """The server is a stopped process meanwhile: every command hangs."""
        os.kill(self._daemon.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self._daemon.pid, signal.SIGCONT)
