"""A service of our own below /etc/pam.d, and accounts of our own, as long as a test needs them. Needs root."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVICES = Path("/etc/pam.d")

#: Passwords against the system's own file; a failure takes no time here.
RULES = """
auth    required pam_unix.so nullok nodelay
account required pam_nologin.so
account required pam_unix.so
"""

_numbers = itertools.count()


class PamRig:
    """The service's name, and accounts: `add_user` makes one, whose name nobody else has."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.users: list[str] = []

    @property
    def file(self) -> Path:
        """The service's rules."""
        return SERVICES / self.service

    def add_user(self, password: str, *commands: str) -> str:
        """Make an account with this password; then run commands on it, such as "usermod --lock". Returns its name."""
        name = f"dgt{os.getpid()}u{next(_numbers)}"
        self.users.append(name)
        _run("useradd", "--no-create-home", "--shell", "/bin/bash", name)
        _run("chpasswd", text=f"{name}:{password}\n")
        for command in commands:
            _run(*command.split(), name)
        return name


@contextmanager
def pam_rig(rules: str = RULES) -> Iterator[PamRig]:
    """A service with these rules; it and its users are gone at the end."""
    rig = PamRig(f"dask-gateway-test-{os.getpid()}-{next(_numbers)}")
    rig.file.write_text(rules)
    try:
        yield rig
    finally:
        rig.file.unlink()
        for name in rig.users:
            _run("userdel", name)


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
