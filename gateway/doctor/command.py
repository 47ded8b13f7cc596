"""`dask-gateway-server doctor`: what stands in a gateway's way, and the command that mends it."""

import json
from pathlib import Path
from typing import Any, Protocol

import click
import trio

from gateway import log
from gateway.errors import ConfigError
from gateway.web.admin.options import as_json, wants_json


class Chosen(Protocol):
    """What the command line says of the configuration (server/cli.py)."""

    @property
    def path(self) -> Path | None: ...

    def and_then(self, file: Path | None, log_level: str | None) -> "Chosen": ...

    def load(self) -> Any: ...


@click.command()
@click.option("-f", "--config", "file", type=click.Path(path_type=Path), help="The gateway's configuration file.")
@click.option(
    "--submit-as", default="", metavar="USER", help="Submit a small job as this user, and look what becomes of it."
)
@as_json
@click.pass_obj
def doctor(chosen: Chosen, file: Path | None, submit_as: str, as_json: bool | None) -> int:
    """Look for what stands in the way of a gateway with this configuration.

    Run it as the gateway's account, in its working directory. The exit code is the number of failures (100 at most).
    """
    from gateway.doctor import configuration, report  # here, as it brings what the server has
    from gateway.doctor.examination import examine
    from gateway.doctor.site import Site

    chosen = chosen.and_then(file, None)
    log.set_up("CRITICAL")  # what the parts would log is said by findings
    path = chosen.path.absolute() if chosen.path else None
    try:
        config = chosen.load()
    except ConfigError as error:
        findings = list(configuration.mistakes(str(error), path))
    else:
        findings = list(configuration.verdicts(config, path))
        findings += trio.run(examine, Site(config=config, file=path, submit_as=submit_as))
    if wants_json(as_json):
        click.echo(json.dumps(report.objects(findings), indent=2))
    else:
        click.echo(report.lines(findings))
    return report.exit_code(findings)
