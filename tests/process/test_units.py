"""The units: what they say for which installation, and what becomes of those that are there already."""

import re
import shutil
import subprocess

import pytest

from gateway.errors import StartError
from gateway.process.unit_files import check_programs, write_units
from gateway.process.units import MARK, Installation, listen_stream, next_steps, render_units
from tests.support.users import is_root

SOCKET = "/run/dask-gateway-launcherd.sock"


def an_installation(**changes):
    known = {
        "folder": "/opt/dask-gateway/venv/bin",
        "config": "/etc/dask-gateway/dask_gateway_config.py",
        "user": "dask",
        "directory": "/var/dask-gateway",
        "addresses": (":8000", ":8001", "10.1.0.1:8002"),
    }
    return Installation(**{**known, **changes})


def lines(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_with_sudo_there_is_a_service_and_its_socket():
    units = render_units(an_installation())
    assert sorted(units) == ["dask-gateway.service", "dask-gateway.socket"]
    assert all(text.startswith(f"{MARK}\n[Unit]\n") for text in units.values())
    service = lines(units["dask-gateway.service"])
    program = "/opt/dask-gateway/venv/bin/dask-gateway-server -f /etc/dask-gateway/dask_gateway_config.py"
    for line in (f"ExecStart={program}", "User=dask", "WorkingDirectory=/var/dask-gateway", "Type=notify"):
        assert line in service
    assert "Requires=dask-gateway.socket" in service
    streams = [line for line in lines(units["dask-gateway.socket"]) if line.startswith("ListenStream")]
    assert streams == ["ListenStream=8000", "ListenStream=8001", "ListenStream=10.1.0.1:8002"]


#: Settings that systemd cannot keep without NoNewPrivileges, for a service that is not root's: sudo would not work.
BREAKS_SUDO = re.compile(
    r"(NoNewPrivileges|PrivateDevices|PrivateUsers|Protect(Kernel\w+|Clock|Hostname)|Restrict\w+|LockPersonality"
    r"|MemoryDenyWriteExecute|SystemCall\w+|DynamicUser)="
)


def test_nothing_that_breaks_sudo_stands_where_sudo_has_to_work():
    with_sudo = lines(render_units(an_installation())["dask-gateway.service"])
    assert [line for line in with_sudo if BREAKS_SUDO.match(line)] == []
    assert not [line for line in with_sudo if line.startswith(("ProtectHome", "PrivateTmp", "UMask"))]
    without = lines(render_units(an_installation(launcher_socket=SOCKET))["dask-gateway.service"])
    assert len([line for line in without if BREAKS_SUDO.match(line)]) > 10


def test_the_daemon_has_units_of_its_own():
    units = render_units(an_installation(launcher_socket=SOCKET))
    socket = lines(units["dask-gateway-launcherd.socket"])
    assert {f"ListenStream={SOCKET}", "SocketUser=dask", "SocketMode=0600"} <= set(socket)
    service = lines(units["dask-gateway-launcherd.service"])
    assert "ExecStart=/opt/dask-gateway/venv/bin/dask-gateway-launcherd" in service
    assert "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL" in service
    assert "NoNewPrivileges=yes" in service
    # Users' homes and /tmp are as they are.
    assert not [line for line in service if line.startswith(("ProtectHome", "PrivateTmp", "ReadOnly", "User="))]
    assert "Requires=dask-gateway-launcherd.socket" in lines(units["dask-gateway.service"])


def test_helpers_that_are_setuid_keep_their_rights():
    by_daemon = an_installation(launcher_socket=SOCKET, setuid_helpers=True)
    service = lines(render_units(by_daemon)["dask-gateway-launcherd.service"])
    assert "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL CAP_NET_BIND_SERVICE" in service
    assert "NoNewPrivileges=yes" not in service
    assert "    no_new_privileges = no\n" in next_steps(by_daemon)
    with_sudo = render_units(an_installation(setuid_helpers=True))["dask-gateway.service"]
    assert " CAP_NET_BIND_SERVICE\n" in with_sudo
    assert "NET_BIND" not in render_units(an_installation())["dask-gateway.service"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"ReadWritePaths=/var/dask-gateway", "ProtectHome=yes"}),
        ({"writable": ("/data", "/data")}, {"ReadWritePaths=/var/dask-gateway -/data", "ProtectHome=yes"}),
        ({"writable": ("/var/dask-gateway", "/run/dask-gateway")}, {"ReadWritePaths=/var/dask-gateway"}),
        ({"writable": ("/home/dask/data",)}, {"ProtectHome=read-only"}),
        ({"files": ("", "/root/key.pem")}, {"ProtectHome=read-only"}),
        ({"folder": "/home/dask/venv/bin"}, {"ProtectHome=read-only"}),
    ],
)
def test_what_the_gateway_needs_is_not_closed(changes, expected):
    service = render_units(an_installation(launcher_socket=SOCKET, **changes))["dask-gateway.service"]
    assert expected <= set(lines(service))


@pytest.mark.parametrize(
    ("address", "stream"),
    [
        (":8000", "8000"),
        ("[::]:8000", "8000"),
        ("0.0.0.0:8000", "0.0.0.0:8000"),
        ("[fe80::1%eth0]:8000", "[fe80::1%eth0]:8000"),
        ("unix:/run/dask-gateway/public.sock", ""),
        ("edge.example.org:8000", ""),
        ("127.0.0.1:0", ""),
        ("fd://3", ""),
        ("systemd:public", ""),
    ],
)
def test_where_systemd_listens(address, stream):
    assert listen_stream(address) == stream


def test_addresses_at_which_systemd_cannot_listen_make_no_socket():
    units = render_units(an_installation(addresses=("edge.example.org:8000",)))
    assert list(units) == ["dask-gateway.service"]
    assert ".socket" not in units["dask-gateway.service"]


@pytest.mark.parametrize("changes", [{"config": "/etc/a b.py"}, {"user": "a%b"}, {"directory": "/x\nUser=root"}])
def test_what_cannot_stand_in_a_unit_is_refused(changes):
    with pytest.raises(ValueError, match="cannot stand in a unit"):
        an_installation(**changes)


def test_what_comes_next():
    assert next_steps(an_installation()) == ("Next: systemctl enable --now dask-gateway.socket dask-gateway.service")
    steps = next_steps(an_installation(launcher_socket=SOCKET)).splitlines()
    assert "    gateway = dask" in steps
    assert steps[-1].endswith("dask-gateway.socket dask-gateway.service dask-gateway-launcherd.socket")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
@pytest.mark.parametrize("launcher_socket", ["", SOCKET])
@pytest.mark.parametrize("setuid_helpers", [False, True])
def test_systemd_understands_every_line(tmp_path, launcher_socket, setuid_helpers):
    program = tmp_path / "bin"
    program.mkdir()
    for name in ("dask-gateway-server", "dask-gateway-launcherd"):
        (program / name).write_text("#!/bin/sh\n")
        (program / name).chmod(0o755)
    units = render_units(
        an_installation(
            folder=str(program), user="daemon", launcher_socket=launcher_socket, setuid_helpers=setuid_helpers
        )
    )
    files = write_units(units, tmp_path)
    done = subprocess.run(["systemd-analyze", "verify", *files], check=False, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "dask-gateway" in line]
    assert (done.returncode, said) == (0, [])


# --- on the disk ------------------------------------------------------------------------------------------------------


def test_units_are_written_and_written_anew(tmp_path):
    units = render_units(an_installation())
    assert sorted(path.name for path in write_units(units, tmp_path)) == sorted(units)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == units
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in tmp_path.iterdir())
    assert write_units(units, tmp_path) == []
    changed = render_units(an_installation(addresses=(":9000",)))
    assert [path.name for path in write_units(changed, tmp_path)] == ["dask-gateway.socket"]


def test_somebody_else_s_units_are_left_alone(tmp_path):
    (tmp_path / "dask-gateway.service").write_text("[Service]\n")
    units = render_units(an_installation())
    with pytest.raises(StartError, match=r"dask-gateway\.service is there, and was not written by this command"):
        write_units(units, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["dask-gateway.service"]
    assert len(write_units(units, tmp_path, force=True)) == 2


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    with pytest.raises(StartError, match=r"/absent/\.dask-gateway\.socket\.new cannot be written: No such file"):
        write_units(render_units(an_installation()), tmp_path / "absent")


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="makes files of root's")
def test_root_does_not_run_what_others_could_change(tmp_path):
    program = tmp_path / "dask-gateway-launcherd"
    installation = an_installation(folder=str(tmp_path), launcher_socket=SOCKET)
    with pytest.raises(StartError, match=r"would run as root, but .* No such file"):
        check_programs(installation)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    check_programs(installation)
    program.chmod(0o777)
    with pytest.raises(StartError, match=r"would run as root, but .* can be changed by others than root"):
        check_programs(installation)
    check_programs(an_installation(folder=str(tmp_path)))  # without the daemon, nothing of ours is run by root
