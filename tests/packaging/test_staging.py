"""`make install DESTDIR=...` puts everything in Debian's places, and what is staged knows nothing of the stage."""

import os
import stat
import subprocess
import sysconfig
from pathlib import Path

import pytest

from gateway.backends.launcher.policy import Policy
from gateway.backends.launcher.settings import SETTINGS
from gateway.config.load import load
from tests.packaging.sources import ROOT

HOME = "usr/lib/dask-gateway"
UNITS = "usr/lib/systemd/system"
MODES = {
    "etc/dask-gateway/config.py": 0o600,
    SETTINGS.lstrip("/"): 0o644,
    f"{HOME}/bin/dask-gateway-server": 0o755,
    f"{HOME}/bin/dask-gateway-jobqueue-launcher": 0o755,
    f"{HOME}/bin/dask-gateway-launcherd": 0o755,
    f"{UNITS}/dask-gateway.service": 0o644,
    f"{UNITS}/dask-gateway.socket": 0o644,
    f"{UNITS}/dask-gateway-launcherd.service": 0o644,
    f"{UNITS}/dask-gateway-launcherd.socket": 0o644,
    "usr/lib/sysusers.d/dask-gateway.conf": 0o644,
    "usr/lib/tmpfiles.d/dask-gateway.conf": 0o644,
    "var/lib/dask-gateway": 0o700,
}


def install(stage: Path) -> None:
    """Without the network: what the gateway needs is found where it is installed for the tests."""
    environment = os.environ | {
        "DESTDIR": str(stage),
        "PYTHON": f"{sysconfig.get_config_var('BINDIR')}/python{sysconfig.get_python_version()}",
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "PIP_ARGS": "--no-deps --no-build-isolation --no-index --ignore-installed",
    }
    command = ROOT / "deploy" / "debian" / "install.sh"
    done = subprocess.run([command], env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stage")
    install(folder)
    return folder


def test_places_and_modes(stage: Path) -> None:
    assert {name: stat.S_IMODE((stage / name).stat().st_mode) for name in MODES} == MODES
    made = {str(path.relative_to(stage)) for path in stage.rglob("*") if path.is_file()}
    elsewhere = {name for name in made if not name.startswith(f"{HOME}/")}
    assert elsewhere == {name for name in MODES if (stage / name).is_file() and not name.startswith(f"{HOME}/")}


def test_nothing_knows_the_stage(stage: Path) -> None:
    """Neither programs and units, nor what was compiled."""
    files = [path for path in stage.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if str(stage).encode() in path.read_bytes()] == []


def test_units_start_what_is_staged(stage: Path) -> None:
    for unit in ("dask-gateway", "dask-gateway-launcherd"):
        text = (stage / UNITS / f"{unit}.service").read_text()
        (start,) = [line.partition("=")[2].split() for line in text.splitlines() if line.startswith("ExecStart=")]
        assert os.access(stage / start[0].lstrip("/"), os.X_OK)
        assert all((stage / word.lstrip("/")).exists() for word in start if word.startswith("/"))
    assert "WorkingDirectory=/var/lib/dask-gateway\n" in (stage / UNITS / "dask-gateway.service").read_text()


def test_the_files_of_etc_are_in_order(stage: Path) -> None:
    assert load(stage / "etc/dask-gateway/config.py").backend.impersonation == "socket"
    policy = Policy()
    for line in (stage / SETTINGS.lstrip("/")).read_text().splitlines():
        if " = " in line:
            policy.read(*line.split(" = "))
    assert (policy.gateway, policy.groups, policy.minimum_uid) == ("dask", ("dask_users",), 1000)
    accounts = (stage / "usr/lib/sysusers.d/dask-gateway.conf").read_text()
    assert f"\nu {policy.gateway} " in accounts
    assert f"\ng {policy.groups[0]} " in accounts


def test_a_site_s_own_files_stay(stage: Path) -> None:
    path = stage / "etc/dask-gateway/config.py"
    text = path.read_text() + "# ours\n"
    path.write_text(text)
    install(stage)
    assert path.read_text() == text
