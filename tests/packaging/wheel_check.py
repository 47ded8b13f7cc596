"""`make wheel-check`: a wheel is built, looked at, installed into an empty environment, and runs the demo.

All of it happens away from the checkout. The wheel is made of the source distribution, and that of a copy
without what earlier builds have left, since setuptools believes their list of files.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from tests.packaging.sources import ROOT, package_files

#: What is not source: hidden folders, environments, leftovers.
_LEFTOVERS = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "findings")


def _run(*command: str | Path, cwd: Path) -> str:
    """What it prints; SystemExit if it fails. Nothing of the checkout is on its path."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{done.stdout}\nwheel-check: {' '.join(map(str, command))} failed with {done.returncode}")
    return done.stdout


def _built(folder: Path) -> Path:
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=_LEFTOVERS, symlinks=True)
    _run(sys.executable, "-m", "build", "--outdir", folder / "dist", source, cwd=folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def _look_at(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    missing, surplus = package_files() - names, names - package_files()
    if missing or surplus:
        raise SystemExit(f"wheel-check: missing in {wheel.name}: {sorted(missing)}; not of it: {sorted(surplus)}")
    print(f"==> {wheel.name} has all {len(names)} files")


def _try(wheel: Path, folder: Path) -> None:
    place = folder / "empty"
    venv.create(place, with_pip=True)
    _run(place / "bin/pip", "--quiet", "install", f"{wheel}[dask]", cwd=folder)
    where = _run(place / "bin/python", "-c", "import gateway; print(gateway.__file__)", cwd=folder).strip()
    if not Path(where).is_relative_to(place):
        raise SystemExit(f"wheel-check: what was tried is not what was installed, but {where}")
    programs = sorted(path.name for path in (place / "bin").glob("dask-gateway*"))
    print(f"==> installed in an empty environment: {', '.join(programs)}")
    _run(place / "bin/python", "-m", "dask_gateway_login", "--help", cwd=folder)
    _run(place / "bin/dask-gateway-server", "generate-config", cwd=folder)
    _run(place / "bin/dask-gateway-server", "check-config", cwd=folder)
    print(_run(place / "bin/dask-gateway-server", "demo", cwd=folder), end="")


def main() -> None:
    """Do all of it in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="wheel-check.") as name:
        folder = Path(name)
        wheel = _built(folder)
        _look_at(wheel)
        _try(wheel, folder)


if __name__ == "__main__":
    main()
