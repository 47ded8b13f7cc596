"""A systemd unit's text, and which of its lines keep sudo or the users' homes from the gateway (pure).

For a service that is not root's, systemd has to set no_new_privs before it may
filter system calls, and more settings imply such a filter than their names
tell (systemd.exec(5), `NoNewPrivileges=`). sudo then refuses.
"""

from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from gateway.doctor.finding import Finding, failed, ok, skipped, warning

_LINES = """
    NoNewPrivileges SystemCallFilter SystemCallArchitectures SystemCallLog RestrictAddressFamilies RestrictNamespaces
    PrivateDevices ProtectKernelTunables ProtectKernelModules ProtectKernelLogs ProtectClock ProtectHostname
    MemoryDenyWriteExecute RestrictRealtime RestrictSUIDSGID LockPersonality DynamicUser
"""
_IMPLY_NO_NEW_PRIVILEGES = tuple(_LINES.split())
_NO = ("", "no", "false", "0", "off", "n", "f")
_NEEDED = ("CAP_SETUID", "CAP_SETGID")
_FOR_SUDO = "or do without sudo: c.JobQueueBackend.impersonation = 'socket'"
REMEDY = "systemctl edit --full {unit}: remove the line, then systemctl daemon-reload && systemctl restart {unit}"


@frozen
class Unit:
    """The settings of the section [Service]; a setting that is a list has all of its values."""

    name: str
    settings: Mapping[str, Sequence[str]]

    def last(self, setting: str) -> str:
        """The value that counts, of a setting that has one."""
        return (self.settings.get(setting) or ("",))[-1]

    def is_on(self, setting: str) -> bool:
        """Whether a switch is not off, or a list not empty."""
        return self.last(setting).lower() not in _NO


def parse(name: str, text: str) -> Unit:
    """Read a unit with its drop-ins behind it, as `systemctl cat` prints them. An empty value begins a list anew."""
    settings: dict[str, list[str]] = {}
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith(("#", ";")) or not line:
            continue
        if line.startswith("["):
            section = line
        elif section == "[Service]":
            setting, _, value = (part.strip() for part in line.partition("="))
            settings.setdefault(setting, []).append(value)
            if not value:
                settings[setting] = []
    return Unit(name, settings)


def verdicts(unit: Unit, *, uses_sudo: bool, config: str, account: str) -> Iterator[Finding]:
    """What there is to say of the gateway's unit; `config` is the file that is looked at, and `account` who asks."""
    started = unit.last("ExecStart")
    if config and config not in started.split():
        yield skipped("unit", f"{unit.name} is another gateway's: it does not start {config}, but {started}")
        return
    found = list(_breaking_sudo(unit)) if uses_sudo else []
    if account and unit.last("User") not in ("", account):
        evidence = f"{unit.name} runs the gateway as {unit.last('User')}; {account} has asked"
        remedy = f"ask as that account: sudo -u {unit.last('User')} dask-gateway-server doctor -f {config}"
        found.append(warning("unit", evidence, remedy))
    yield from found
    if not found:
        yield ok("unit", f"{unit.name}: nothing in it is in the gateway's way")


def _breaking_sudo(unit: Unit) -> Iterator[Finding]:
    remedy = f"{REMEDY.format(unit=unit.name)}; {_FOR_SUDO}"
    is_roots = unit.last("User") in ("", "root", "0")
    for setting in _IMPLY_NO_NEW_PRIVILEGES:
        if unit.is_on(setting) and (not is_roots or setting == "NoNewPrivileges"):
            line = f"{setting}={unit.last(setting)}"
            how = "forbids new privileges" if setting == "NoNewPrivileges" else "implies NoNewPrivileges"
            yield failed("unit", f"{unit.name} has {line}, which {how}: sudo refuses", remedy)
    if unit.is_on("PrivateUsers"):
        yield failed("unit", f"{unit.name} has PrivateUsers={unit.last('PrivateUsers')}: sudo knows no users", remedy)
    if unit.is_on("ProtectHome"):
        line = f"ProtectHome={unit.last('ProtectHome')}"
        yield failed(
            "unit", f"{unit.name} has {line}: users' homes are hidden, and logs cannot be written there", remedy
        )
    if unit.last("ProtectSystem").lower() == "strict":
        evidence = f"{unit.name} has ProtectSystem=strict: nothing can be written into users' homes"
        yield failed("unit", evidence, remedy)
    yield from _capabilities(unit, remedy)


def _capabilities(unit: Unit, remedy: str) -> Iterator[Finding]:
    given = unit.settings.get("CapabilityBoundingSet")
    if given is None:
        return
    words = " ".join(given).split()
    if words and words[0].startswith("~"):
        taken = {word.lstrip("~") for word in words}
        lacking = [capability for capability in _NEEDED if capability in taken]
    else:
        lacking = [capability for capability in _NEEDED if capability not in words]
    if lacking:
        evidence = f"{unit.name} has a CapabilityBoundingSet without {' and '.join(lacking)}: sudo cannot become users"
        yield failed("unit", evidence, remedy)
