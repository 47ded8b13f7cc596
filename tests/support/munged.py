"""A real munged of our own, with its own key and socket; that of this machine is left alone."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATH = f"{os.environ['PATH']}:/usr/sbin"


def why_not():
    """What is missing; empty when nothing is."""
    return "" if shutil.which("munged", path=_PATH) else "needs MUNGE (apt-get install munge)"


needs_munge = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


class Munged:
    """A running daemon. `socket` is where it answers, `key` what others would need to make the same credentials."""

    def __init__(self, socket, key):
        self.socket = socket
        self.key = key

    def credential(self, payload, *options, user=None):
        """A credential that `user` (this one) asks for, by MUNGE's own program."""
        command = ["munge", f"--socket={self.socket}", "--string", payload, *options]
        done = subprocess.run(command, capture_output=True, check=True, text=True, user=user, cwd="/")
        return done.stdout.strip()


@contextmanager
def run_munged(key=None, environment=None):
    """A daemon as long as the body runs; with a key of its own, or this one."""
    with tempfile.TemporaryDirectory(prefix="dgt-munge-", dir="/tmp") as folder:  # a socket's path may have 107 bytes
        directory = Path(folder)
        directory.chmod(0o755)
        key = key or os.urandom(128)
        (directory / "key-file").touch(mode=0o600)
        (directory / "key-file").write_bytes(key)
        files = [f"--{name}={directory / name}" for name in ("socket", "key-file", "pid-file", "seed-file")]
        command = [shutil.which("munged", path=_PATH), "--foreground", *files]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, **(environment or {})})
        try:
            said = b""
            while b"work threads" not in said:  # the socket is there, and listens
                line = process.stderr.readline()
                assert line, said
                said += line
            yield Munged(directory / "socket", key)
        finally:
            process.terminate()
            process.communicate(timeout=10)
