"""The command `dask-gateway-server systemd-unit`: from a configuration to units, printed or installed."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import click

from gateway.process.unit_files import UNITS, check_programs, write_units
from gateway.process.units import Installation, next_steps, render_units


class Chosen(Protocol):
    """What the command line says of the configuration (server/cli.py)."""

    @property
    def path(self) -> Path | None: ...

    def and_then(self, file: Path | None, log_level: str | None) -> "Chosen": ...

    def load(self) -> Any: ...


@click.command()
@click.option("-f", "--config", "file", type=click.Path(path_type=Path), help="The gateway's configuration file.")
@click.option("--install", is_flag=True, help=f"Write them to {UNITS} instead of printing them.")
@click.option("--force", is_flag=True, help="Replace units that were not written by this command.")
@click.option(
    "--launcherd/--sudo",
    default=None,
    help="Which form: everything closed, beside the launcher daemon; or as far as sudo allows."
    " The configuration's own (impersonation), unless given.",
)
@click.option("--user", default="dask", show_default=True, help="The gateway's account.")
@click.option(
    "--directory", default="/var/dask-gateway", show_default=True, help="The gateway's own directory, for its database."
)
@click.pass_obj
def systemd_unit(
    chosen: Chosen,
    file: Path | None,
    *,
    install: bool,
    force: bool,
    launcherd: bool | None,
    user: str,
    directory: str,
) -> None:
    """Print or install the units with which systemd runs the gateway."""
    installation = _installation(chosen.and_then(file, None), launcherd, user, os.path.abspath(directory))
    units = render_units(installation)
    if not install:
        click.echo("\n".join(f"# --- {UNITS / name}\n{text}" for name, text in units.items()), nl=False)
        return
    check_programs(installation)
    for path in write_units(units, force=force):
        click.echo(f"Written: {path}")
    click.echo(next_steps(installation))


def _installation(chosen: Chosen, launcherd: bool | None, user: str, directory: str) -> Installation:
    """What the units are about. Raises ConfigError, or UsageError when the form is not the configuration's."""
    config, path = chosen.load(), chosen.path
    if path is None:
        raise click.UsageError("the units name the configuration file: say which, with -f")
    if not hasattr(config.backend, "impersonation"):
        name = type(config.backend).__name__
        raise click.UsageError(f"units are made for gateways that submit jobs to a batch system, and not for {name}")
    launcher_socket = str(config.backend.launcher_socket) if config.backend.impersonation == "socket" else ""
    if launcherd not in (None, bool(launcher_socket)):
        which = 'c.JobQueueBackend.impersonation = "socket"'
        raise click.UsageError(
            f"{which} is configured, so sudo is not used" if launcher_socket else f"set {which} first"
        )
    addresses = (config.proxy.address, config.proxy.tcp_address, config.gateway.address)
    try:
        return Installation(
            folder=os.path.dirname(os.path.abspath(sys.executable)),
            config=str(path.absolute()),
            user=user,
            directory=directory,
            addresses=tuple(address for address in addresses if address),
            writable=tuple(os.path.dirname(file) for file in _made_files(config) if os.path.isabs(file)),
            files=(config.proxy.tls_cert, config.proxy.tls_key),
            launcher_socket=launcher_socket,
            setuid_helpers=config.backend.setuid_helpers,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _made_files(config: Any) -> Iterator[str]:
    """Files that the gateway makes, as the configuration names them."""
    for address in (config.proxy.address, config.proxy.tcp_address, config.gateway.address):
        if address.startswith("unix:"):
            yield address.removeprefix("unix:")
    yield config.backend.database_file
    yield config.gateway.admin_socket or ""
