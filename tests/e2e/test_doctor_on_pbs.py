"""`dask-gateway-server doctor` on a simulated PBS: the guide's set-up is fine, and what is odd is named."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.gateway_process import open_gateway, schedulers_here
from tests.e2e.test_doctor import Site
from tests.pbs.simulation import Simulation, jobs_named
from tests.slurm.real import allow_dask, folder_of_dask, installation
from tests.support import original_guide
from tests.support.users import ensure_dask, ensure_users, is_root, miniconda

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not is_root(), reason="jobs of several users need root"),
    pytest.mark.timeout(300),
]

PATHS = """
c.PBSBackend.submit_command = "PBS/qsub"
c.PBSBackend.cancel_command = "PBS/qdel"
c.PBSBackend.status_command = "PBS/qstat"
c.PBSBackend.dask_gateway_jobqueue_launcher = "PREFIX/bin/dask-gateway-jobqueue-launcher"
c.DBBackendBase.db_url = "sqlite:///FOLDER/gateway.sqlite"
c.SimpleAuthenticator.password = "secret"
c.Proxy.address = "127.0.0.1:PORT"
"""
#: Without TLS users' words can be read on the way; the guide's example has none.
KNOWN = {"certificate"}


class PBSSite(Site):
    """The guide's example for PBS, on a PBS whose commands are at `bin`."""

    def __init__(self, folder, bin):
        super().__init__(folder)
        self.bin = bin

    def text(self, more=""):
        words = {"PBS/": f"{self.bin}/", "FOLDER": self.folder, "PREFIX": installation(), "PORT": self.port}
        whole = original_guide.PBS + PATHS + more + schedulers_here()
        for word, value in words.items():
            whole = whole.replace(word, str(value))
        return whole


@pytest.fixture(scope="module")
def pbs():
    ensure_dask()
    allow_dask()
    with (
        miniconda(installation(), ensure_users()),
        Simulation.start(timing={"delete": 0.3}, queues={"workq": True, "dask": True}) as simulation,
    ):
        yield simulation


@pytest.fixture(scope="module")
def site(pbs):
    with folder_of_dask() as folder:
        yield PBSSite(folder, pbs.bin)


def test_nothing_is_wrong_with_the_guide_s(site):
    python = installation() / "bin" / "python"
    with open_gateway(site.folder / "gateway", site.text(), base="", user="dask", python=python):
        bad, findings = site.examine("", "--submit-as", "alice")
    assert (bad["failed"], bad["warning"].keys()) == ({}, KNOWN)
    told = {one["subject"]: one["evidence"] for one in findings}
    assert ": dask 20" in told["Dask in jobs"]
    assert told["API from a node"].endswith("reaches the gateway")


@pytest.mark.parametrize(
    ("settings", "subject", "words"),
    [
        ({"history": False}, "ended jobs", "forgets them at once"),
        ({"operators": ["root"], "query_other_jobs": False}, "jobs of others", "query_other_jobs"),
        ({"max_array_size": 1}, "job arrays", "takes none"),
        ({"disabled": ["dask"]}, "queue of workers", "dask takes no jobs"),
        ({"queues": {"workq": True, "dask": False}}, "queue of workers", "dask starts no jobs"),
        ({"queues": {"workq": True}}, "queue of workers", "there is no queue 'dask': there are workq"),
    ],
)
def test_an_odd_server(site, pbs, settings, subject, words):
    usual = {
        "history": True,
        "operators": ["root", "dask"],
        "query_other_jobs": True,
        "max_array_size": 10_000,
        "disabled": [],
        "queues": {"workq": True, "dask": True},
    }
    pbs.set(**settings)
    try:
        bad, _ = site.examine()
    finally:
        pbs.set(**{name: usual[name] for name in settings})
    found = {**bad["warning"], **bad["failed"]}
    assert words in found[subject]["evidence"]
    assert found.keys() - KNOWN <= {subject, "queue of schedulers"}


def test_a_server_that_is_away(site, pbs):
    with pbs.away():
        bad, _ = site.examine()
    assert "does not answer" in bad["failed"]["PBS"]["evidence"]


def test_commands_that_are_not_there(site):
    bad, _ = site.examine("c.PBSBackend.submit_command = '/opt/nowhere/qsub'")
    assert "/opt/nowhere/qsub" in bad["failed"]["configuration"]["evidence"]


def test_a_refusal_has_the_words_of_qsub(site):
    bad, _ = site.examine("c.PBSClusterConfig.account = 'x'\nc.PBSClusterConfig.queue = 'gone'", "--submit-as", "alice")
    assert "Unknown queue" in bad["failed"]["a job"]["evidence"]


def test_a_job_that_waits_for_ever_is_ended(site, pbs):
    more = "c.PBSClusterConfig.scheduler_memory = '900 G'\n"
    bad, _ = site.examine(more, "--submit-as", "alice", "--patience", "5")
    assert "has not ended within 5 s; it is queued." in bad["failed"]["the job's end"]["evidence"]
    assert jobs_named(pbs.bin, "dask-gateway-doctor-.*") == []


@contextmanager
def wrapper(pbs, script):
    """A site's own qsub, which is root's."""
    folder = Path(f"/usr/local/lib/dask-gateway-doctor-{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        (folder / "qsub").write_text(f"#!/bin/sh\n{script.replace('REAL', str(pbs.bin / 'qsub'))}\n")
        (folder / "qsub").chmod(0o755)
        yield f"\nc.PBSBackend.submit_command = '{folder}/qsub'\n"
    finally:
        shutil.rmtree(folder)


def test_a_wrapper_that_answers_with_another_job_s_id(site, pbs):
    with wrapper(pbs, 'REAL "$@" | sed "s/^[0-9]*/1/"') as more:
        bad, _ = site.examine(more, "--submit-as", "alice", "--patience", "5")
    assert "the submit command answered 1.pbs, and the queue has" in bad["failed"]["the job's name"]["evidence"]
