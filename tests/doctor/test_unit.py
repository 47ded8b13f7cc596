"""Units of systemd: which lines are in the gateway's way."""

import pytest

from gateway.doctor.finding import Status
from gateway.doctor.service import read_unit
from gateway.doctor.unit import parse, verdicts
from gateway.process.units import Installation, render_units

INSTALLATION = Installation(
    folder="/opt/dask-gateway/venv/bin",
    config="/etc/dask-gateway/config.py",
    user="dask",
    directory="/var/dask-gateway",
    addresses=(":8000",),
)
OURS = render_units(INSTALLATION)["dask-gateway.service"]


def found(text, *, uses_sudo=True, config="/etc/dask-gateway/config.py", account="dask"):
    unit = parse("dask-gateway.service", text)
    return list(verdicts(unit, uses_sudo=uses_sudo, config=config, account=account))


def test_nothing_is_wrong_with_what_the_gateway_writes():
    assert [finding.status for finding in found(OURS)] == [Status.OK]
    beside_daemon = render_units(
        Installation(
            folder="/opt/dask-gateway/venv/bin",
            config="/etc/dask-gateway/config.py",
            user="dask",
            directory="/var/dask-gateway",
            addresses=(":8000",),
            launcher_socket="/run/launcherd.sock",
        )
    )["dask-gateway.service"]
    assert [finding.status for finding in found(beside_daemon, uses_sudo=False)] == [Status.OK]
    assert len(found(beside_daemon)) > 10  # what would become of sudo there


@pytest.mark.parametrize(
    "line",
    [
        "NoNewPrivileges=yes",
        "PrivateDevices=true",
        "ProtectKernelTunables=1",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectClock=on",
        "ProtectHostname=yes",
        "RestrictAddressFamilies=AF_INET AF_UNIX",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "PrivateUsers=yes",
        "ProtectHome=read-only",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "CapabilityBoundingSet=~CAP_SETUID CAP_SYS_ADMIN",
    ],
)
def test_lines_that_break_sudo_are_named(line):
    (finding,) = found(f"[Service]\nUser=dask\nExecStart=/bin/gateway -f /etc/dask-gateway/config.py\n{line}\n")
    assert finding.status is Status.FAILED
    assert line.partition("=")[0] in finding.evidence
    assert "systemctl edit" in finding.remedy


@pytest.mark.parametrize(
    "lines",
    [
        "NoNewPrivileges=yes\n[Service]\nNoNewPrivileges=no",
        "SystemCallFilter=@system-service\nSystemCallFilter=",
        "# NoNewPrivileges=yes\n; PrivateUsers=yes\n\n[Install]\nNoNewPrivileges=yes",
        "CapabilityBoundingSet=~CAP_SYS_ADMIN",
        "CapabilityBoundingSet=CAP_SETUID \\\n  CAP_SETGID",
    ],
)
def test_what_does_not_count(lines):
    (finding,) = found(f"[Service]\nUser=dask\nExecStart=/bin/gateway -f /etc/dask-gateway/config.py\n{lines}\n")
    assert finding.status is Status.OK


def test_a_gateway_of_root_has_what_only_a_setting_of_that_name_takes():
    (finding,) = found("[Service]\nPrivateDevices=yes\n", config="", account="")
    assert finding.status is Status.OK
    (finding,) = found("[Service]\nNoNewPrivileges=yes\n", config="", account="")
    assert finding.status is Status.FAILED


def test_another_configuration_and_another_account():
    (finding,) = found(OURS, config="/tmp/other.py", account="ann")
    assert (finding.status, "/tmp/other.py" in finding.evidence) == (Status.SKIPPED, True)
    (finding,) = found(OURS, account="ann")
    assert (finding.status, "sudo -u dask" in finding.remedy) == (Status.WARNING, True)


def test_units_are_found_as_systemd_finds_them(tmp_path):
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    for folder, value in ((etc, "1"), (usr, "2")):
        (folder / "a.service.d").mkdir(parents=True)
        (folder / "a.service.d" / "same.conf").write_text(f"[Service]\nA={value}\n")
    assert read_unit("a.service", (etc, usr)) is None
    (usr / "a.service").write_text("[Service]\nA=0\n")
    (usr / "a.service.d" / "z.conf").write_text("[Service]\nB=9\n")
    unit = parse("a.service", read_unit("a.service", (etc, usr)))
    assert (unit.settings["A"], unit.last("B"), unit.last("C")) == (["0", "1"], "9", "")
