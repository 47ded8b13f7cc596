"""A job's process: its environment, its output, its signals.

Jobs run as their owner when the daemon is root, else as whoever runs the
daemon. A script is run as the real MoM runs it: its path is fed to the
user's login shell on stdin, so profiles are read, a `#!` line is honoured,
and the shell stays above the script.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from pbssim.jobs import Job


def feed(pipe: IO[bytes], data: bytes) -> None:
    """Write to a process that may have ended already, as a shell has whose profile ends it, and close."""
    with contextlib.suppress(BrokenPipeError), pipe:  # closing writes what is buffered
        pipe.write(data)


class ProcessMom:
    """Runs jobs below `home`, the simulation's directory."""

    def __init__(self, home: Path, loop: AbstractEventLoop) -> None:
        self._home = home
        self._loop = loop
        self._pids: dict[str, int] = {}
        for name in ("jobs", "spool", "tmp", "aux", "undelivered"):
            (home / name).mkdir(mode=0o711)
        # Where sandboxes are, as if the MoM's $jobdir_root said so: another simulation has jobs with the same ids.
        sandboxes = home / "sandboxes"
        sandboxes.mkdir()
        sandboxes.chmod(0o1777)

    def start(self, job: Job, ended: Callable[[int], None]) -> int:
        """Start a job's process and return its pid. Raises OSError when it cannot be started."""
        account = _account(job)
        environment = self._environment(job, account)
        job.directory = environment["PBS_JOBDIR"]
        command, executable, stdin = self._command(job, account)
        paths = self._outputs(job)
        with contextlib.ExitStack() as stack:
            with _as_user(account):
                out, err = (stack.enter_context(path.open("ab")) for path in paths)
            process = subprocess.Popen(
                command,
                executable=executable,
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                cwd=job.directory,
                env=environment,
                umask=0o077,
                start_new_session=True,
                **_identity(account),
            )
        assert process.stdin is not None
        feed(process.stdin, stdin)
        self._pids[job.id] = process.pid
        descriptor = os.pidfd_open(process.pid)

        def reap() -> None:
            self._loop.remove_reader(descriptor)
            os.close(descriptor)
            code = process.wait()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if self._pids.get(job.id) == process.pid:
                del self._pids[job.id]
            shutil.rmtree(environment["TMPDIR"], ignore_errors=True)
            if _private(job):
                with _as_user(account):
                    shutil.rmtree(job.directory, ignore_errors=True)
            ended(code if code >= 0 else 256 - code)

        self._loop.add_reader(descriptor, reap)
        return process.pid

    def signal(self, job: Job, number: int) -> None:
        """Signal all processes of a job."""
        if job.id in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pids[job.id], number)

    def note(self, job: Job, text: str) -> None:
        """Append a line of PBS's own to the job's error output."""
        path = self._outputs(job)[1]
        with contextlib.suppress(OSError), _as_user(_account(job)), path.open("a") as file:
            file.write(text)

    def stage_in(self, job: Job) -> bool:
        """Make the sandbox and copy what is to be staged in; False when a source is missing."""
        if not _private(job):
            return True
        account = _account(job)
        sources = [o.partition("=")[2] for o in job.request.options.get("W", []) if o.startswith("stagein=")]
        sandbox = self._sandbox(job)
        with _as_user(account):
            sandbox.mkdir(mode=0o700, exist_ok=True)
            for source in sources:
                pattern = Path(source.partition(":")[2])
                found = list(pattern.parent.glob(pattern.name)) if pattern.parent.is_dir() else []
                if not found:
                    return False
                for path in found:
                    shutil.copy2(path, sandbox)
        return True

    def deliver(self, job: Job) -> bool:
        """Copy spooled output to where it belongs, as the user; False when that fails."""
        account, good = _account(job), True
        if "d" not in job.request.option("k"):
            for letter, spooled in zip("oe", self._outputs(job), strict=True):
                if not spooled.exists() or (job.request.joined != "n" and letter != job.request.joined[0]):
                    continue
                text = spooled.read_bytes()
                try:
                    with _as_user(account), open(job.output_file(letter), "wb", opener=_private_file) as file:
                        file.write(text)
                except OSError:
                    good = False
                    spooled.rename(self._home / "undelivered" / spooled.name)
                else:
                    spooled.unlink()
        if job.exit_status == 0:
            for letter in job.request.option("R"):
                with contextlib.suppress(OSError), _as_user(account):
                    os.unlink(job.output_file(letter))
        return good

    def end_all(self) -> None:
        """Kill every process; the simulation ends."""
        for pid in self._pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    def _outputs(self, job: Job) -> tuple[Path, Path]:
        direct, joined = "d" in job.request.option("k"), job.request.joined
        out, err = (
            Path(job.output_file(letter)) if direct else self._home / "spool" / f"{job.id}.{name}"
            for letter, name in (("o", "OU"), ("e", "ER"))
        )
        if not direct:
            for path in (out, err):
                if not path.exists():
                    path.touch(mode=0o600)
                    _give(path, _account(job))
        return (out, out) if joined == "oe" else (err, err) if joined == "eo" else (out, err)

    def _sandbox(self, job: Job) -> Path:
        return self._home / "sandboxes" / f"pbs.{job.id}.x8z"

    def _command(self, job: Job, account: pwd.struct_passwd) -> tuple[list[str], str | None, bytes]:
        request = job.request
        if request.command:
            return request.command, None, b""
        script = self._home / "jobs" / f"{job.id}.SC"
        script.write_bytes(os.fsencode(request.script or ""))
        script.chmod(0o700)
        _give(script, account)
        shell = request.option("S") or account.pw_shell
        return [f"-{os.path.basename(shell)}"], shell, os.fsencode(f"{script}\n")

    def _environment(self, job: Job, account: pwd.struct_passwd) -> dict[str, str]:
        directory = str(self._sandbox(job)) if _private(job) else account.pw_dir
        temporary, nodes = self._home / "tmp" / f"pbs.{job.id}", self._home / "aux" / job.id
        temporary.mkdir(mode=0o700, exist_ok=True)
        _give(temporary, account)
        nodes.write_text("pbs\n")
        environment = {
            **dict(job.request.variables),
            "PATH": dict(job.request.variables).get("PATH", "/bin:/usr/bin"),
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "SHELL": account.pw_shell,
            "TMPDIR": str(temporary),
            "NCPUS": str(job.resources.ncpus),
            "OMP_NUM_THREADS": str(job.resources.ncpus),
            "ENVIRONMENT": "BATCH",
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBID": job.id,
            "PBS_JOBNAME": job.request.name,
            "PBS_JOBDIR": directory,
            "PBS_JOBCOOKIE": os.urandom(16).hex().upper(),
            "PBS_MOMPORT": "15003",
            "PBS_NODEFILE": str(nodes),
            "PBS_NODENUM": "0",
            "PBS_TASKNUM": "1",
            "PBS_QUEUE": job.queue,
            "PBS_O_QUEUE": job.queue,
            "PBS_O_HOST": job.server.partition(".")[0],
        }
        if job.parent is not None:
            environment |= {"PBS_ARRAY_INDEX": str(job.index), "PBS_ARRAY_ID": job.parent.id}
        return environment


def _private(job: Job) -> bool:
    return "sandbox=PRIVATE" in job.request.options.get("W", [])


def _private_file(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _account(job: Job) -> pwd.struct_passwd:
    return pwd.getpwnam(job.owner)


def _give(path: Path, account: pwd.struct_passwd) -> None:
    if os.getuid() == 0:
        os.chown(path, account.pw_uid, account.pw_gid)


def _identity(account: pwd.struct_passwd) -> dict[str, object]:
    if os.getuid() != 0:
        return {}
    groups = os.getgrouplist(account.pw_name, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


@contextlib.contextmanager
def _as_user(account: pwd.struct_passwd) -> Iterator[None]:
    """Files are opened with the user's rights."""
    if os.getuid() != 0 or account.pw_uid == 0:
        mask = os.umask(0o077)
        try:
            yield
        finally:
            os.umask(mask)
        return
    groups, mask = os.getgroups(), os.umask(0o077)
    os.setgroups(os.getgrouplist(account.pw_name, account.pw_gid))
    os.setegid(account.pw_gid)
    os.seteuid(account.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
        os.umask(mask)
