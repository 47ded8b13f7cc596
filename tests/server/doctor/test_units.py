"""Directives that keep sudo, or setuid programs of a batch system, from working."""

import pytest

from gateway.config.finding import State
from gateway.process.units import Installation, render_units
from gateway.server.doctor.units import BREAK_SUDO, verdict

PLAIN = Installation(
    folder="/opt/dask-gateway/venv/bin",
    config="/etc/dask-gateway/dask_gateway_config.py",
    user="dask",
    directory="/var/dask-gateway",
    addresses=(":8000",),
)


def test_our_own_unit_is_fine() -> None:
    text = render_units(PLAIN)["dask-gateway.service"]
    assert verdict(text, sudo=True, helpers=True).state is State.OK


@pytest.mark.parametrize("name", BREAK_SUDO)
def test_each_that_breaks_sudo_is_named(name: str) -> None:
    text = render_units(PLAIN)["dask-gateway.service"] + f"\n# a drop-in\n[Service]\n {name} = yes\n"
    found = verdict(text, sudo=True, helpers=False)
    assert (found.state, found.evidence.partition(" ")[0]) == (State.FAILED, name)
    assert found.remedy == "systemctl edit dask-gateway: leave it out"
    assert verdict(text, sudo=False, helpers=False).state is State.OK  # beside the daemon
    assert verdict(text, sudo=False, helpers=True).state is State.FAILED
    assert verdict(f"{text}{name}=no\n", sudo=True, helpers=False).state is State.OK  # the last one counts


@pytest.mark.parametrize("how", ["yes", "read-only", "tmpfs"])
def test_homes_that_are_hidden(how: str) -> None:
    found = verdict(f"[Service]\nProtectHome={how}\n", sudo=True, helpers=False)
    assert (found.state, f"ProtectHome={how}" in found.evidence) == (State.FAILED, True)


def test_comments_are_no_directives() -> None:
    assert verdict("#NoNewPrivileges=yes\n; PrivateUsers=yes\n", sudo=True, helpers=False).state is State.OK
