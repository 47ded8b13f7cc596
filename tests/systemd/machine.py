"""A machine of our own in a container: a real systemd that boots in a second, on this machine's /usr.

The root directory is made of what a system needs besides /usr, which is shared
read-only, as is the virtual environment of the tests; the network is private.
One unit runs `inside.py`, which plays the guide and writes down what it sees,
and then powers the machine off. `why_not` says why that cannot be here. What is
left of the machine (its journal, what was seen) goes to the folder KEEP_MACHINE
names, if it names one.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.real import why_not as why_no_slurm

REPOSITORY = Path(__file__).parents[2]

#: Seconds that all of it may take.
PATIENCE = 300

#: What of /etc a small system needs: who is who, how to link and to log in, certificates, and how to submit.
ETC = """
adduser.conf alternatives bash.bashrc ca-certificates ca-certificates.conf debian_version deluser.conf default group
gshadow ld.so.cache ld.so.conf ld.so.conf.d localtime login.defs nsswitch.conf pam.conf pam.d passwd profile protocols
python3 python3.11 security services shadow shells skel ssl subgid subuid sudo.conf sudo_logsrvd.conf sudoers
"""
FOLDERS = "dev etc home mnt opt proc run srv sys tmp usr result var/cache var/lib var/log var/spool var/tmp"
#: Accounts that the guide makes anew.
ACCOUNTS = ("dask", "alice", "bob", "dask_users")

PLAY = """
[Unit]
Description=What a test does on this machine
After=basic.target
[Service]
Type=oneshot
# Of the nodes of Slurm, too: jobs get the limits of who submits them, but no more than this.
LimitMEMLOCK=infinity
Environment=PYTHONPATH={repository} PYTHONDONTWRITEBYTECODE=1
WorkingDirectory={repository}
StandardOutput=file:/result/said
StandardError=inherit
ExecStart={python} -m tests.systemd.inside
ExecStopPost=/bin/sh -c 'journalctl --no-pager > /result/journal; systemctl poweroff --no-block --force'
"""

TARGET = """
[Unit]
Wants=play.service
Requires=basic.target
After=basic.target
AllowIsolate=yes
"""


def why_not() -> str:
    """Why no machine can be booted here; empty when one can."""
    if reason := why_no_slurm():
        return reason
    if missing := [name for name in ("slurmctld", "slurmd", "sbatch", "munged", "sudo") if shutil.which(name) is None]:
        return f"{', '.join(missing)} cannot be installed there; `make test` does so here"
    if shutil.which("systemd-nspawn") is None or not Path("/usr/lib/systemd/systemd").exists():
        return "systemd-nspawn or systemd is not installed (Debian: systemd-container, systemd)"
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        return "this machine, a container itself perhaps, does not let root make namespaces"
    return ""


#: For tests that boot a machine.
needs_machine = [
    pytest.mark.root,
    pytest.mark.systemd,
    pytest.mark.skipif(bool(why_not()), reason=f"no systemd of our own: {why_not()}"),
    pytest.mark.timeout(PATIENCE + 60),
]


def make_root(root: Path) -> None:
    """Everything but /usr."""
    for name in FOLDERS.split():
        (root / name).mkdir(parents=True)
    for name in ("etc/munge", "var/lib/munge", "var/log/munge"):
        (root / name).mkdir()
        shutil.chown(root / name, "munge", "munge")
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "root").mkdir(mode=0o700)
    (root / "var/run").symlink_to("/run")
    for link in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/{link}"):
            (root / link).symlink_to(os.readlink(f"/{link}"))
    etc = root / "etc"
    there = [f"/etc/{name}" for name in ETC.split() if os.path.lexists(f"/etc/{name}")]
    subprocess.run(["cp", "-a", *there, str(etc)], check=True)
    shutil.copy("/usr/lib/os-release", etc / "os-release")
    for name in ("passwd", "shadow", "group", "gshadow", "subuid", "subgid"):
        if (etc / name).exists():
            lines = (etc / name).read_text().splitlines(keepends=True)
            (etc / name).write_text("".join(line for line in lines if line.split(":")[0] not in ACCOUNTS))
    (etc / "sudoers.d").mkdir()
    # As sites with InfiniBand have it: PAM's limits for a session, which sudo has to be able to set.
    (etc / "security/limits.d/infiniband.conf").write_text("* - memlock unlimited\n")
    (etc / "machine-id").write_text(f"{os.urandom(16).hex()}\n")  # or else it would be a first boot
    (etc / "hostname").write_text("edge\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n192.0.2.1 edge\n")


def copy_checkout(to: Path) -> None:
    """The files that `pip install .` takes, where the guide may write beside them."""
    to.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, to / name)
    shutil.copy(REPOSITORY / "tests/slurm/start.sh", to / "start-slurm")
    shutil.copytree(REPOSITORY / "gateway", to / "gateway", ignore=shutil.ignore_patterns("__pycache__"))


@contextmanager
def played() -> Iterator[dict[str, dict[str, Any]]]:
    """What the play has written down: for each of its steps what was seen, or the error that ended it."""
    # Not below a private folder: users of that machine need to pass.
    root = Path(tempfile.mkdtemp(prefix="dask-gateway-machine-", dir="/var/tmp"))
    root.chmod(0o755)
    try:
        make_root(root)
        copy_checkout(root / "srv/dask-gateway")
        units = root / "etc/systemd/system"
        units.mkdir(parents=True)
        (units / "play.service").write_text(PLAY.format(repository=REPOSITORY, python=sys.executable))
        (units / "play.target").write_text(TARGET)
        shared = {"/usr", str(REPOSITORY), sys.prefix, sys.base_prefix}
        outermost = [path for path in shared if not any(path.startswith(f"{other}/") for other in shared)]
        with open(root / "result/console", "wb") as console:
            subprocess.run(
                [
                    *("timeout", "--kill-after=10", str(PATIENCE)),
                    *("systemd-nspawn", "--quiet", f"--directory={root}", "--boot", "--private-network"),
                    *("--register=no", "--keep-unit", "--console=pipe"),
                    *(f"--machine=dask-gateway-{os.getpid()}", "--hostname=edge"),
                    *(f"--bind-ro={path}" for path in outermost),
                    f"--bind-ro={sysconfig.get_path('purelib')}:/srv/packages",
                    "systemd.unit=play.target",
                ],
                env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                check=False,
            )
        try:
            seen = json.loads((root / "result/seen.json").read_text())
        except FileNotFoundError:
            said = [(root / "result" / name) for name in ("console", "said", "journal")]
            raise AssertionError("\n".join(file.read_text()[-5000:] for file in said if file.exists())) from None
        yield seen
    finally:
        if keep := os.environ.get("KEEP_MACHINE"):
            shutil.copytree(root / "result", keep, dirs_exist_ok=True)
        shutil.rmtree(root, ignore_errors=True)
