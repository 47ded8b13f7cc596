"""`dask-gateway-server doctor` on the real Slurm, as the gateway's account: what is broken is named, nothing else."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.e2e.gateway_process import open_gateway
from tests.slurm.real import allow_dask, as_user, ensure_slurm, folder_of_dask, installation, needs_slurm

pytestmark = [*needs_slurm, pytest.mark.timeout(300)]

BASE = """
c.DaskGateway.backend_class = "gateway.backends.slurm.SlurmBackend"
c.DBBackendBase.db_url = "sqlite:///FOLDER/gateway.sqlite"
c.SimpleAuthenticator.password = "secret"
c.Proxy.address = "127.0.0.1:PORT"
c.Proxy.host_names = ["gateway.example"]
c.Proxy.tls_cert = "FOLDER/cert.pem"
c.Proxy.tls_key = "FOLDER/key.pem"
c.JobQueueBackend.dask_gateway_jobqueue_launcher = "PREFIX/bin/dask-gateway-jobqueue-launcher"
c.JobQueueClusterConfig.scheduler_cmd = ["PREFIX/bin/dask", "scheduler"]
c.JobQueueClusterConfig.scheduler_memory = "512 M"
c.JobQueueClusterConfig.worker_memory = "1 G"
"""


@pytest.fixture(scope="module", autouse=True)
def slurm():
    ensure_slurm()
    allow_dask()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Site:
    """A folder of the gateway's account, with a certificate that is good."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.authority = trustme.CA()
        self.certify("gateway.example")

    def certify(self, *names, **more):
        made = self.authority.issue_cert(*names, **more)
        made.private_key_pem.write_to_path(str(self.folder / "key.pem"))
        made.cert_chain_pems[0].write_to_path(str(self.folder / "cert.pem"))
        shutil.chown(self.folder / "key.pem", "dask")

    def text(self, more=""):
        words = {"FOLDER": str(self.folder), "PREFIX": str(installation()), "PORT": str(self.port)}
        whole = BASE + more
        for word, value in words.items():
            whole = whole.replace(word, value)
        return whole

    def examine(self, more="", *arguments, prefix=()):
        """The exit code, and the findings that are failures or warnings, by their subjects."""
        file = self.folder / "examined.py"
        file.write_text(self.text(more))
        file.chmod(0o644)
        command = [*prefix, str(installation() / "bin" / "dask-gateway-server"), "doctor", "-f", str(file), *arguments]
        done = as_user("dask", *command)
        assert done.stderr == "", done.stderr
        findings = json.loads(done.stdout)
        bad = {state: [one for one in findings if one["state"] == state] for state in ("failed", "warning")}
        assert done.returncode == len(bad["failed"])
        return {state: {one["subject"]: one for one in found} for state, found in bad.items()}, findings


@pytest.fixture(scope="module")
def site():
    with folder_of_dask() as folder:
        yield Site(folder)


# ---- a set-up that is good


def test_nothing_is_wrong_with_a_set_up_that_is_good(site):
    python = installation() / "bin" / "python"
    with open_gateway(site.folder / "gateway", site.text(), base="", user="dask", python=python):
        bad, findings = site.examine("", "--submit-as", "alice")
    assert bad == {"failed": {}, "warning": {}}
    told = {one["subject"]: one["evidence"] for one in findings}
    assert told["port of Proxy.address"].endswith("a gateway is at work there")
    assert told["the job's name"].startswith("the queue has ")
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in told["Dask in jobs"]
    assert told["API from a node"].endswith("reaches the gateway")


# ---- set-ups that are broken, of which nothing is submitted

SLURM = "c.SlurmClusterConfig."
BROKEN = {
    "an option that does not exist": ("c.Proxy.adress = ':1'", "configuration", "no option 'adress'"),
    "no folder for the database": (
        "c.DBBackendBase.db_url = 'sqlite:////var/tmp/nowhere/x.sqlite'",
        "disk",
        "does not exist",
    ),
    "a folder of others' for the database": (
        "c.DBBackendBase.db_url = 'sqlite:////var/lib/x.sqlite'",
        "disk",
        "cannot be written",
    ),
    "a certificate for others": (
        "c.Proxy.host_names = ['dask.example']",
        "names of the certificate",
        "it is not for dask.example, but for gateway.example",
    ),
    "another's key": ("c.Proxy.tls_key = 'FOLDER/other.pem'", "certificate", "does not belong to the certificate"),
    "no rule of sudo's": (
        "c.JobQueueBackend.dask_gateway_jobqueue_launcher = '/opt/elsewhere/dask-gateway-jobqueue-launcher'",
        "sudo's rule",
        "there is none for /opt/elsewhere",
    ),
    "a partition that does not exist": (
        f"{SLURM}partition = 'gpu'",
        "partition of workers",
        "there is no partition 'gpu': there are main, parked, short",
    ),
    "a partition that is down": (f"{SLURM}worker_partition = 'parked'", "partition of workers", "parked is down"),
    "more memory than nodes have": (
        f"{SLURM}worker_memory = '100 G'",
        "partition of workers",
        "no node has the 102400 MiB",
    ),
    "more cores than nodes have": (f"{SLURM}worker_cores = 64", "partition of workers", "no node has the 64 cores"),
    "more time than the partition gives": (
        f"{SLURM}partition = 'short'\n{SLURM}time = '10'",
        "partition of schedulers",
        "longer than the partition's limit",
    ),
    "no such shell": (f"{SLURM}shebang = '#!/bin/zzsh'", "shell of jobs", "there is no /bin/zzsh"),
    "an issuer that is not there": (
        "c.DaskGateway.authenticator_class = 'gateway.auth.OIDCAuthenticator'\n"
        "c.OIDCAuthenticator.issuer = 'http://127.0.0.1:9'\nc.OIDCAuthenticator.audience = 'x'",
        "OIDCAuthenticator",
        "http://127.0.0.1:9",
    ),
    "a Hub that is not there": (
        "c.DaskGateway.authenticator_class = 'gateway.auth.JupyterHubAuthenticator'\n"
        "c.JupyterHubAuthenticator.jupyterhub_api_url = 'http://127.0.0.1:9/hub/api'\n"
        "c.JupyterHubAuthenticator.jupyterhub_api_token = 'x'",
        "JupyterHub",
        "http://127.0.0.1:9/hub/api",
    ),
    "no munged": (
        "c.DaskGateway.authenticator_class = 'gateway.auth.MungeAuthenticator'\n"
        "c.MungeAuthenticator.socket = '/run/nowhere/munge.socket'",
        "MungeAuthenticator",
        "cannot be made",
    ),
    "no service of PAM's": (
        "c.DaskGateway.authenticator_class = 'gateway.auth.PAMAuthenticator'\n"
        "c.PAMAuthenticator.service = 'dask-nowhere'",
        "configuration",
        "no file in /etc/pam.d",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_set_up_is_named_and_nothing_else(site, what):
    more, subject, words = BROKEN[what]
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(str(site.folder / "other.pem"))
    shutil.chown(site.folder / "other.pem", "dask")
    bad, _ = site.examine(more)
    assert words in bad["failed"][subject]["evidence"]
    assert bad["failed"][subject]["remedy"] or subject == "JupyterHub"
    others = bad["failed"].keys() - {subject}
    assert others <= ({"partition of schedulers"} if subject == "partition of workers" else {"partition of workers"})


def test_a_port_that_somebody_else_has(site):
    with socket.create_server(("127.0.0.1", site.port)):
        bad, _ = site.examine()
    assert "cannot be listened at: Address already in use" in bad["failed"]["port of Proxy.address"]["evidence"]


@pytest.mark.parametrize(
    ("days", "state", "words"), [(-1, "failed", "it has expired on"), (5, "warning", "it expires on")]
)
def test_a_certificate_that_ends(site, days, state, words):
    site.certify("gateway.example", not_after=datetime.now(UTC) + timedelta(days=days))
    try:
        bad, _ = site.examine()
    finally:
        site.certify("gateway.example")
    assert words in bad[state]["certificate"]["evidence"]


def test_a_user_whom_no_rule_names(site):
    bad, _ = site.examine("", "--user", "root")
    assert bad["failed"].keys() == {"sudo's rule"}
    assert "sudo has no rule that lets dask run" in bad["failed"]["sudo's rule"]["evidence"]
    assert bad["failed"]["sudo's rule"]["remedy"].startswith("sudo -nHu root ")


def test_no_launcher_daemon(site):
    more = 'c.JobQueueBackend.impersonation = "socket"\nc.JobQueueBackend.launcher_socket = "/run/nowhere.sock"'
    bad, _ = site.examine(more, "--user", "alice")
    assert "/run/nowhere.sock" in bad["failed"]["launcher daemon"]["evidence"]


def test_few_open_files(site):
    bad, _ = site.examine(prefix=("prlimit", "--nofile=1024:1024"))
    assert "1024 may be open" in bad["warning"]["open files"]["evidence"]


def test_this_runs_as_root(tmp_path):
    file = tmp_path / "root.py"
    file.write_text(f'{BASE.splitlines()[1]}\nc.SimpleAuthenticator.password = "secret"\n')
    command = [installation() / "bin" / "dask-gateway-server", "doctor", "-f", file, "--lines"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "warning  account: this runs as root" in done.stdout
    assert "→ sudo -u dask dask-gateway-server doctor" in done.stdout


# ---- a Slurm that is odd: its commands say other things


def setting(name, value):
    """scontrol with another value of a setting."""
    return f'REAL "$@" | sed "s/^{name} .*/{name} = {value}/"'


@contextmanager
def odd_slurm(site, command, script):
    """Commands of Slurm's, of which one is a script; `REAL` is what it stands for."""
    folder = site.folder / "odd"
    folder.mkdir()
    try:
        for name in ("squeue", "scontrol", "sinfo", "sacctmgr", "sacct"):
            real = shutil.which(name) or "/bin/false"
            (folder / name).write_text(
                f"#!/bin/sh\n{script.replace('REAL', real) if name == command else f'exec {real}'}"
            )
            if name != command:
                (folder / name).write_text(f'#!/bin/sh\nexec {real} "$@"\n')
            (folder / name).chmod(0o755)
        yield f'\nc.SlurmBackend.status_command = "{folder}/squeue"\n'
    finally:
        shutil.rmtree(folder)


AWAY = 'echo "slurm_load_ctl_conf error: Unable to contact slurm controller" >&2; exit 1'
TALKS = 'echo "sinfo: error: Ignoring obsolete option" >&2; exec REAL "$@"'
WITHOUT_MEMORY = """REAL "$@" | sed 's/|[0-9]*|\\([0-9:a-z-]*\\)$/|1|\\1/'"""
ODD = [
    ("scontrol", AWAY, "failed", "Slurm", "does not answer: slurm_load"),
    ("scontrol", setting("MaxArraySize", "1"), "failed", "job arrays", "takes none"),
    ("scontrol", setting("PrivateData", "jobs,usage"), "failed", "jobs of others", "hides them"),
    ("scontrol", setting("MinJobAge", "1 sec"), "warning", "ended jobs", "forgets them after 1 s"),
    ("sinfo", TALKS, "warning", "remarks of the batch system", "sinfo says beside its answer: sinfo: error: Ignoring"),
    ("sinfo", WITHOUT_MEMORY, "failed", "partition of workers", "Slurm was not told how much they have"),
    ("sinfo", "REAL \"$@\" | tr -d '*'", "failed", "partition of workers", "no default partition"),
]


@pytest.mark.parametrize(("command", "script", "state", "subject", "words"), ODD)
def test_an_odd_slurm(site, command, script, state, subject, words):
    with odd_slurm(site, command, script) as more:
        bad, _ = site.examine(more)
    assert words in bad[state][subject]["evidence"]


def test_hidden_jobs_do_not_matter_to_an_operator(site):
    with odd_slurm(site, "scontrol", setting("PrivateData", "jobs")) as more:
        (site.folder / "odd" / "sacctmgr").write_text("#!/bin/sh\necho Operator\n")
        bad, _ = site.examine(more)
    assert bad == {"failed": {}, "warning": {}}


# ---- jobs


@pytest.mark.parametrize(
    ("more", "subject", "words"),
    [
        (f"{SLURM}scheduler_cmd = ['no-such-dask']", "Dask in jobs", "there is no command 'no-such-dask' in a job"),
        (f"{SLURM}scheduler_cmd = ['/usr/bin/python3', '-m', 'x']", "Dask in jobs", "has no dask, distributed"),
        ("c.Backend.api_url = 'http://127.0.0.1:9/api'", "API from a node", "cannot be reached"),
        (f"{SLURM}scheduler_setup = 'echo hello; exit 3'", "the job's log", "does not have what the job writes"),
        (f"{SLURM}staging_directory = '/nowhere/{{username}}'", "a job", "cannot be made"),
        (f"{SLURM}constraint = 'moon'", "a job", "cannot be submitted as alice"),
    ],
)
def test_a_job_tells(site, more, subject, words):
    bad, _ = site.examine(more, "--submit-as", "alice")
    assert words in bad["failed"][subject]["evidence"]


def test_a_job_that_ends_the_shell_in_its_profile(site):
    profile = Path("/home/bob/.bash_profile")
    before = profile.read_text() if profile.exists() else None
    profile.write_text("exit 0\n")
    try:
        bad, _ = site.examine("", "--submit-as", "bob")
    finally:
        profile.unlink()
        if before is not None:
            profile.write_text(before)
    assert "profile" in bad["failed"]["the job's log"]["evidence"]


def test_nothing_of_a_trial_is_left(site):
    site.examine("", "--submit-as", "alice")
    assert [name for name in os.listdir("/home/alice/.dask-gateway") if name.startswith("doctor-")] == []
    queue = subprocess.run(["squeue", "-h", "-o", "%j"], check=True, capture_output=True, text=True).stdout
    assert "dask-gateway-doctor-" not in queue
