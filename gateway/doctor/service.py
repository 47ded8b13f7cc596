"""The gateway's systemd unit, if there is one, with its drop-ins: found as systemd finds it."""

from collections.abc import Sequence
from pathlib import Path

from gateway.backends.launcher.client import own_account
from gateway.doctor.finding import skipped
from gateway.doctor.site import Say, Site, is_root, looked_at
from gateway.doctor.unit import parse, verdicts
from gateway.process.units import GATEWAY

#: systemd.unit(5): the first one counts.
FOLDERS = tuple(
    map(Path, ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"))
)


async def examine(site: Site, say: Say) -> None:
    """Look at the unit as it is written; what systemd has loaded is the same after daemon-reload."""
    name = f"{GATEWAY}.service"
    text = await looked_at(read_unit, name)
    if text is None:
        say(skipped("unit", f"there is no unit {name}", "dask-gateway-server systemd-unit --install writes it"))
        return
    for finding in verdicts(
        parse(name, text),
        uses_sudo=getattr(site.config.backend, "impersonation", "") == "sudo",
        config=str(site.file or ""),
        account="" if is_root() else own_account(),
    ):
        say(finding)


def read_unit(name: str, folders: Sequence[Path] = FOLDERS) -> str | None:
    """The unit's text and that of its drop-ins, None without a unit. Raises OSError."""
    unit = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if unit is None:
        return None
    drop_ins: dict[str, Path] = {}
    for folder in reversed(folders):
        drop_ins |= {file.name: file for file in (folder / f"{name}.d").glob("*.conf")}
    files = [unit, *(drop_ins[file] for file in sorted(drop_ins))]
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
