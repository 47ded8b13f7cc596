"""Whether jobs run on this host as well is seen by the batch system's node daemon."""

import pytest

from gateway.backends.batch import node_daemon
from gateway.backends.batch.node_daemon import runs_here
from gateway.backends.pbs.backend import PBSBackend
from gateway.backends.slurm.backend import SlurmBackend


@pytest.fixture
def proc(tmp_path, monkeypatch):
    monkeypatch.setattr(node_daemon, "_answers", {})
    for pid, name in (("1", "systemd"), ("77", "slurmd"), ("self", "pbs_mom")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{name}\n")
    (tmp_path / "78").mkdir()  # has just ended
    return tmp_path


def test_a_daemon_is_known_by_its_name(proc):
    assert runs_here("slurmd", proc)
    assert not runs_here("slurm", proc)
    assert not runs_here("pbs_mom", proc)


def test_an_answer_is_kept_for_a_moment(proc):
    assert runs_here("slurmd", proc)
    (proc / "77" / "comm").unlink()
    assert runs_here("slurmd", proc)
    node_daemon._answers.clear()
    assert not runs_here("slurmd", proc)


@pytest.mark.parametrize(("backend", "daemon"), [(SlurmBackend(), "slurmd"), (PBSBackend(), "pbs_mom")])
@pytest.mark.parametrize("here", [True, False])
def test_jobs_run_where_the_daemon_does(monkeypatch, backend, daemon, here):
    monkeypatch.setattr(node_daemon, "_answers", {daemon: (float("inf"), here)})
    assert backend.jobs_run_here is here
