"""Units on the disk: written where systemd looks for them, unless somebody else's are there."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import StartError
from gateway.process.units import LAUNCHER, MARK, Installation
from gateway.trusted_files import unsafe

#: Where an administrator's units are.
UNITS = Path("/etc/systemd/system")

#: Seconds that systemd may take to read its units.
_PATIENCE = 60


def check_programs(installation: Installation) -> None:
    """Raises StartError when root would run a program that others could change, or that is not there."""
    path = os.path.join(installation.folder, LAUNCHER)
    if installation.launcher_socket and (why := unsafe(path, program=True)):
        raise StartError(f"{path} would run as root, but {why}: install the gateway where root alone can write.")


def write_units(units: Mapping[str, str], folder: Path = UNITS, *, force: bool = False) -> list[Path]:
    """Write units, and have systemd read them if it runs; the files that have changed.

    Files that were not written here are left alone, unless `force`. Raises StartError.
    """
    try:
        there = {name: _read(folder / name) for name in units}
        if not force:
            _refuse_foreign(folder, there)
        changed = [name for name in units if there[name] != units[name]]
        for name in changed:
            _write(folder / name, units[name])
    except OSError as error:
        raise StartError(f"{error.filename} cannot be written: {error.strerror}.") from error
    if changed and folder == UNITS and os.path.isdir("/run/systemd/system"):
        subprocess.run(["systemctl", "daemon-reload"], check=False, timeout=_PATIENCE)
    return [folder / name for name in changed]


def _refuse_foreign(folder: Path, there: Mapping[str, str | None]) -> None:
    for name, text in there.items():
        if text is not None and not text.startswith(MARK):
            raise StartError(
                f"{folder / name} is there, and was not written by this command. --force replaces it; `systemctl edit`"
                " is the place for lines of your own."
            )


def _write(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
