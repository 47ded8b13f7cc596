"""The unit with which systemd runs the gateway: directives that keep sudo from working."""

import re
from collections.abc import AsyncGenerator

import trio

from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.processes import run_command
from gateway.config.finding import Finding, failure, fine, skipped
from gateway.process.units import GATEWAY
from gateway.server.doctor.patient import Patient

#: They imply NoNewPrivileges for a service that is not root's, or are it (systemd.exec(5)); tried with systemd 252.
BREAK_SUDO = (
    *("DynamicUser", "LockPersonality", "MemoryDenyWriteExecute", "NoNewPrivileges", "PrivateDevices", "PrivateUsers"),
    *("ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables"),
    *("RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID"),
    *("SystemCallArchitectures", "SystemCallFilter"),
)
_OFF = ("", "no", "false", "off", "0")


async def unit(patient: Patient) -> AsyncGenerator[Finding, None]:
    """The unit as systemd has put it together, drop-ins included."""
    backend = patient.config.backend
    if not isinstance(backend, JobQueueBackend):
        return
    try:
        with trio.fail_after(10):
            argv = ("systemctl", "cat", f"{GATEWAY}.service")
            answer = await run_command(argv, environment={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    except (OSError, trio.TooSlowError):
        yield skipped("unit", "there is no systemd to ask")
        return
    if answer.returncode:
        yield skipped("unit", f"systemd has no {GATEWAY}.service")
        return
    yield verdict(answer.stdout, sudo=backend.impersonation == "sudo", helpers=backend.setuid_helpers)


def verdict(text: str, *, sudo: bool, helpers: bool) -> Finding:
    """What a unit's text means where `sudo` is needed, or setuid `helpers` of the batch system; pure."""
    given = dict(re.findall(r"^\s*(\w+)\s*=[ \t]*(.*?)\s*$", text, re.MULTILINE))  # the last one counts
    found = [name for name in BREAK_SUDO if given.get(name, "").lower() not in _OFF]
    home = given.get("ProtectHome", "").lower()
    if found and (sudo or helpers):
        what = "sudo" if sudo else "the batch system's commands"
        evidence = f"{', '.join(found)} in {GATEWAY}.service keep{'s' if len(found) == 1 else ''} {what} from working"
        return failure("unit", evidence, f"systemctl edit {GATEWAY}: leave {'them' if len(found) > 1 else 'it'} out")
    if sudo and home not in _OFF:
        evidence = f"ProtectHome={home} in {GATEWAY}.service hides the homes in which clusters have their folders"
        return failure("unit", evidence, f"systemctl edit {GATEWAY}: ProtectHome=no")
    return fine("unit", f"{GATEWAY}.service leaves what is needed")
