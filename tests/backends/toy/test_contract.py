"""A batch system that is nothing but a folder and a dotted name in the configuration keeps the drivers' contract."""

import importlib
import os
import pwd
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from attrs import evolve

from gateway.config.load import load
from gateway.models import JobId
from tests.contract.backends import Bench
from tests.contract.test_driver_contract import *  # noqa: F403 (the contract, with the bench below)
from tests.support.users import ensure_users, is_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(not is_root(), reason="submits jobs of other users")]

CONFIGURATION = """
c.DaskGateway.backend_class = "toy.backend.ToyBackend"
c.JobQueueBackend.submit_command = "{site}/bin/toysub"
c.JobQueueBackend.cancel_command = "{site}/bin/toydel"
c.JobQueueBackend.status_command = "{site}/bin/toystat"
c.JobQueueBackend.eager_poll_period = 0.5
"""


@pytest.fixture(scope="module")
def site():
    """Where root has installed the toy: the package that a configuration names, its commands, and their spool."""
    site = Path(tempfile.mkdtemp(prefix="toy-", dir="/var/tmp"))
    site.chmod(0o755)
    here = Path(__file__).parent
    (site / "python" / "toy").mkdir(parents=True)
    for name in ("__init__", "backend", "dialect", "launcher_rules"):
        shutil.copy(here / f"{name}.py", site / "python" / "toy")
    (site / "bin").mkdir()
    for name in ("toysub", "toydel", "toystat"):
        (site / "bin" / name).write_text((here / "commands.py").read_text())
        (site / "bin" / name).chmod(0o755)
    (site / "spool").mkdir()
    (site / "spool").chmod(0o1777)
    (site / "config.py").write_text(CONFIGURATION.format(site=site))
    sys.path.insert(0, str(site / "python"))
    importlib.invalidate_caches()
    yield site
    sys.path.remove(str(site / "python"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[name]
    shutil.rmtree(site)


@pytest.fixture
def bench(site):
    config = load(site / "config.py")
    assert type(config.backend).__module__ == "toy.backend"
    users = ensure_users()
    staging = {user: Path(pwd.getpwnam(user).pw_dir, ".dask-gateway") for user in users}
    yield Bench(
        open_driver=config.backend.open_driver,
        users=users,
        account=lambda user: user,
        config=config.cluster_config,
        refused=lambda spec: (
            evolve(spec, cluster=evolve(spec.cluster, config=evolve(spec.cluster.config, queue="nowhere"))),
            "there is no queue nowhere",
        ),
        unknown_job=JobId("99999999.0"),
        files=lambda cluster: sorted((staging[cluster.username] / cluster.name).rglob("*")),
    )
    left = [pid for pid in (site / "spool").glob("*/*.pid") if not pid.with_suffix(".end").exists()]
    for pid in left:  # of a test that failed
        os.killpg(int(pid.read_text()), signal.SIGKILL)
        pid.with_suffix(".end").write_text("deleted")
    assert not left


def test_only_the_configuration_names_it(site):
    root = Path(__file__).parents[3]
    for file in (*(root / "gateway").rglob("*.py"), root / "setup.cfg", root / "pyproject.toml"):
        assert "toy" not in file.read_text().lower(), file
