"""The commands: from argv to a call, and from an error to a message and an exit code.

Exit codes: 0 a clean end, 2 wrong usage or configuration, 1 a failure at run
time. `--Class.option=value` may stand anywhere, so these are taken out of argv
before click looks at the rest.
"""

import faulthandler
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import structlog

from gateway import __version__, log
from gateway.config.chosen import DEFAULT_FILE, Chosen
from gateway.config.load import OVERRIDE
from gateway.config.render import effective, generated_file
from gateway.config.server import LOG_LEVELS
from gateway.doctor.command import doctor
from gateway.errors import ConfigError, GatewayError
from gateway.process.unit_command import systemd_unit
from gateway.store.admin.commands import db
from gateway.web.admin.cluster_commands import clusters, sessions, stop
from gateway.web.admin.commands import tokens
from gateway.web.admin.report_commands import events, limits, logs, users

F = TypeVar("F", bound=Callable[..., Any])
_log = structlog.get_logger()


def _log_level(default: str | None = None) -> Callable[[F], F]:
    levels = click.Choice([*LOG_LEVELS, "WARN"], case_sensitive=False)
    return click.option("--log-level", type=levels, default=default, help="Log at least this.")


def _common(command: F) -> F:
    """The options that stand before or after the name of a subcommand."""
    file = click.option(
        "-f", "--config", "file", type=click.Path(path_type=Path), help=f"Configuration file (default: {DEFAULT_FILE})."
    )
    return file(_log_level()(command))


@click.group(invoke_without_command=True, epilog="--Class.option=value overrides any option of the configuration.")
@click.version_option(__version__, message="%(prog)s %(version)s", prog_name="dask-gateway-server")
@_common
@click.pass_context
def cli(context: click.Context, file: Path | None, log_level: str | None) -> int | None:
    """Serve Dask clusters to the users of an HPC centre."""
    context.obj = chosen = context.obj.and_then(file, log_level)
    return None if context.invoked_subcommand else _serve(chosen)


def _serve(chosen: Chosen) -> int:
    config = chosen.load()
    from gateway.server.main import run  # here, as it brings the whole server

    log.set_up(str(config.gateway.log_level), form=config.gateway.log_style)
    if chosen.path is None:
        _log.info("no configuration file, defaults are used", looked_for=str(DEFAULT_FILE.absolute()))
    else:
        _log.info("configuration read", file=str(chosen.path.absolute()))
    return run(config)


@cli.command()
@click.option("--keep", is_flag=True, help="Keep the gateway running, and print what to paste into a notebook.")
@_log_level(default="WARNING")
@click.pass_obj
def demo(chosen: Chosen, keep: bool, log_level: str) -> int:
    """Start a gateway with local jobs, and compute something through it."""
    from gateway.server.demo.program import run

    if chosen != Chosen():
        raise click.UsageError("demo has a configuration of its own")
    if find_spec("dask_gateway") is None or find_spec("bokeh") is None:
        raise click.UsageError("the demo needs Dask and its client: pip install 'dask-gateway-trio[dask]'")
    log.set_up(log_level.upper())
    return run(keep)


@cli.command()
@_common
@click.pass_obj
def check_config(chosen: Chosen, file: Path | None, log_level: str | None) -> None:
    """List every mistake of a configuration file."""
    chosen = chosen.and_then(file, log_level)
    for warning in chosen.load().warnings:
        click.echo(f"Warning: {warning}")
    click.echo(f"{chosen.path or 'The defaults'}: no mistakes")


@cli.command()
@_common
@click.pass_obj
def show_config(chosen: Chosen, file: Path | None, log_level: str | None) -> None:
    """Print every option in force and where it was set; secrets are masked."""
    config = chosen.and_then(file, log_level).load()
    for warning in config.warnings:
        click.echo(f"Warning: {warning}", err=True)
    click.echo(effective(config), nl=False)


@cli.command()
@click.option(
    "--output", type=click.Path(path_type=Path), default=DEFAULT_FILE, show_default=True, help="The file; - prints."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def generate_config(output: Path, force: bool) -> None:
    """Write a configuration file with every option, commented out."""
    if str(output) == "-":
        click.echo(generated_file(), nl=False)
        return
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with open(os.open(output, flags, 0o600), "w", encoding="utf-8") as file:  # it may come to hold secrets
            file.write(generated_file())
    except FileExistsError:
        raise click.UsageError(f"{output} is there already; --force replaces it") from None
    except OSError as error:
        raise click.UsageError(f"cannot write {output}: {error.strerror}") from None
    click.echo(f"Written: {output}")


for command in (clusters, db, doctor, events, limits, logs, sessions, stop, systemd_unit, tokens, users):
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments (without the program's name) say; returns the exit code."""
    overrides = tuple(argument for argument in arguments if argument.startswith("--") and OVERRIDE.fullmatch(argument))
    rest = [argument for argument in arguments if argument not in overrides]
    try:
        code = cli.main(rest, "dask-gateway-server", standalone_mode=False, obj=Chosen(overrides=overrides))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 1
    except ConfigError as error:
        click.echo(error, err=True)
        return 2
    except GatewayError as error:
        click.echo(error, err=True)
        return 1
    return code or 0


def main() -> NoReturn:
    """The console script `dask-gateway-server`."""
    # systemd's watchdog ends it with SIGABRT: the journal then says where it stood. Of this thread alone: the others go
    # on while their stacks are read, which can crash, and they would come first.
    faulthandler.enable(all_threads=False)
    sys.exit(run(sys.argv[1:]))
