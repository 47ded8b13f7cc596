"""The installed launcher through the guide's rule in sudoers, and through its daemon: what dask gets from it."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from gateway.backends.launcher.settings import SETTINGS
from tests.slurm.real import allow_dask, as_user, ensure_slurm, installation, needs_slurm
from tests.support.launcher_daemon import open_daemon

pytestmark = needs_slurm


def launcher():
    return str(installation() / "bin" / "dask-gateway-jobqueue-launcher")


class Sudo:
    """The guide's rule. `settings` is root's file, and `policy` what it has to begin with."""

    settings = Path(SETTINGS)
    policy = ""

    def ask(self, user="alice", **request):
        """What dask gets when it asks the launcher to act for a user: an answer, or sudo's words."""
        done = as_user("dask", "sudo", "-nHu", user, launcher(), stdin=json.dumps(request))
        return json.loads(done.stdout) if done.stdout else done.stderr


class Daemon:
    """The daemon, with its policy."""

    def __init__(self, daemon):
        self._daemon = daemon
        self.settings = daemon.folder / "launcher.conf"
        self.policy = self.settings.read_text()

    def ask(self, user="alice", **request):
        return self._daemon.ask(user, **request)


@pytest.fixture(scope="module", params=["sudo", "daemon"])
def way(request):
    ensure_slurm()
    if request.param == "sudo":
        allow_dask()
        yield Sudo()
        return
    with open_daemon("gateway = dask\ngroups = dask_users", commands=()) as daemon:
        yield Daemon(daemon)


@pytest.fixture
def ask(way):
    return way.ask


SUBMIT = {
    "action": "submit",
    "cluster": "attack",
    "staging_directory": "{home}/.dask-gateway",
    "rules": "slurm",
    "arguments": ["--parsable", "--job-name=dask-gateway-attack-w1", "--partition=parked"],
    "script": "#!/bin/sh\ntrue\n",
    "log": "w1-0.log",
}


def test_dask_submits_and_cancels_as_the_user(ask):
    answer = ask(**SUBMIT)
    assert answer["returncode"] == 0, answer
    job = answer["stdout"].strip()
    owner = subprocess.run(["squeue", "-h", "-j", job, "-o", "%u %o %Z"], check=True, capture_output=True, text=True)
    assert owner.stdout.split() == ["alice", "(null)", "/home/alice/.dask-gateway/attack"]
    # Another user's launcher cannot end it; the batch system says so.
    assert ask("bob", action="cancel", rules="slurm", arguments=[job])["returncode"] != 0
    assert ask(action="cancel", rules="slurm", arguments=[job])["returncode"] == 0
    assert ask(action="clean", cluster="attack", staging_directory="{home}/.dask-gateway")["ok"]
    assert not Path("/home/alice/.dask-gateway/attack").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"rules": "bash"},
        {"rules": "/tmp/dask-gateway-attack/launcher_rules.py"},
        {"rules": "gateway.backends.slurm.launcher_rules"},
        {"path": "/bin/bash"},
        {"path": "/home/dask/sbatch"},
        {"path": "/tmp/dask-gateway-attack/sbatch"},
        {"arguments": ["--wrap=id"]},
        {"arguments": ["--output=/home/alice/.bashrc"]},
        {"arguments": ["--uid=root"]},
        {"environment": {"LD_PRELOAD": "/tmp/x.so"}},
        {"environment": {"SLURM_CONF": "/tmp/slurm.conf"}},
        {"cluster": "../.ssh"},
        {"log": "../../.bashrc"},
    ],
)
def test_dask_gets_no_other_command(ask, change):
    folder = Path("/tmp/dask-gateway-attack")
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    (folder / "sbatch").write_text("#!/bin/sh\nid > /home/alice/attacked\n")
    (folder / "sbatch").chmod(0o755)
    (folder / "launcher_rules.py").write_text("import os\nos.system('id > /home/alice/attacked')\n")
    try:
        answer = ask(**{**SUBMIT, **change})
    finally:
        shutil.rmtree(folder)
    assert answer["ok"] is False, answer
    assert not Path("/home/alice/attacked").exists()


@pytest.mark.parametrize("user", ["root", "#0", "dask", "nosuchuser"])
def test_dask_acts_for_members_of_the_group_alone(ask, user):
    answer = ask(user, **SUBMIT)
    assert isinstance(answer, str) or answer["ok"] is False, answer
    sudo = ("password is required", "unknown user", "is not allowed to execute")
    daemon = ("not run as root", "no name of a user", "may not have jobs", "is unknown")
    assert any(words in str(answer) for words in (*sudo, *daemon))


@pytest.mark.parametrize("way", ["sudo"], indirect=True)
def test_dask_runs_nothing_else(way):
    for command in (["/bin/sh"], ["/usr/bin/python3", launcher()]):
        done = as_user("dask", "sudo", "-nHu", "alice", *command)
        assert done.returncode != 0, done.stdout
    # The launcher itself reads no arguments.
    done = as_user("dask", "sudo", "-nHu", "alice", launcher(), "--help")
    assert json.loads(done.stdout)["error"] == "the launcher's request is not JSON"


def test_dask_reads_and_removes_nothing_but_its_own(ask):
    private = Path("/home/alice/private")
    private.mkdir(exist_ok=True)
    (private / "notes.log").write_text("private")
    owner = Path("/home/alice").stat()
    for path in (private, private / "notes.log"):
        os.chown(path, owner.st_uid, owner.st_gid)
    try:
        where = {"cluster": "private", "staging_directory": "{home}"}
        assert ask(action="tail", log="notes.log", **where)["text"] == ""
        assert ask(action="clean", **where)["ok"]
        assert (private / "notes.log").exists()
        assert "was not made by the gateway" in ask(**{**SUBMIT, **where})["error"]
    finally:
        (private / "notes.log").unlink()
        private.rmdir()


@pytest.fixture
def full_disk():
    """A file system without room for another directory."""
    folder = tempfile.mkdtemp(prefix="dask-gateway-", dir="/var/tmp")
    mounting = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1,mode=1777", "tmpfs", folder]
    if subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)


def test_a_full_disk_is_a_sentence(ask, full_disk):
    answer = ask(**{**SUBMIT, "staging_directory": full_disk})
    assert answer["error"] == f"the directory {full_disk}/attack cannot be made: the disk is full"


def test_a_directory_that_cannot_be_written_is_a_sentence(ask):
    answer = ask(**{**SUBMIT, "staging_directory": "/proc/{username}"})
    assert answer["error"].startswith("the directory /proc/alice/attack cannot be made")


@pytest.fixture
def settings(way):
    """The launcher's settings, as root may write them. What was there comes back."""
    file = way.settings
    before = file.read_bytes() if file.exists() else None
    made = [folder for folder in (file.parent,) if not folder.exists()]
    file.parent.mkdir(exist_ok=True)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        if before is not None:
            file.write_bytes(before)
        for folder in made:
            folder.rmdir()


@pytest.fixture
def wrapper():
    """A site's own sbatch, with a name of its own, which needs a variable."""
    folder = Path(tempfile.mkdtemp(prefix="dask-gateway-site-", dir="/var/tmp"))
    folder.chmod(0o755)
    file = folder / "submit-with-defaults"
    file.write_text('#!/bin/sh\n[ "$SLURM_CONF" = /etc/slurm/slurm.conf ] || exit 3\nexec /usr/bin/sbatch "$@"\n')
    file.chmod(0o755)
    yield file
    file.unlink()
    folder.rmdir()


def test_root_alone_says_what_commands_there_are_and_what_they_need(way, ask, settings, wrapper):
    request = {**SUBMIT, "path": str(wrapper)}
    assert "only runs an absolute path that ends in /sbatch" in ask(**request)["error"]
    settings.write_text(f"{way.policy}\n[commands]\nsbatch = {wrapper}\n")
    assert ask(**request)["returncode"] == 3  # the variable is missing
    assert "does not pass the variable" in ask(**request, environment={"SLURM_CONF": "/etc/slurm/slurm.conf"})["error"]
    settings.write_text(
        f"{way.policy}\n[commands]\nsbatch = {wrapper}\n[environment]\nSLURM_CONF = /etc/slurm/slurm.conf\n"
    )
    answer = ask(**request)
    assert answer["returncode"] == 0, answer
    ask(action="cancel", rules="slurm", arguments=[answer["stdout"].strip()])
    settings.chmod(0o666)
    assert "can be changed by others than root" in ask(**request)["error"]
    ask(action="clean", cluster="attack", staging_directory="{home}/.dask-gateway")
