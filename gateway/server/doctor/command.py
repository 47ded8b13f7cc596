"""`dask-gateway-server doctor`."""

import json
import sys
from pathlib import Path

import click
import trio
from attrs import asdict

from gateway import log
from gateway.config.chosen import Chosen
from gateway.config.finding import Finding, State
from gateway.server.doctor.examination import examine
from gateway.server.doctor.patient import Sample

#: Exit codes from 126 on are the shell's.
_HIGHEST_CODE = 100
_COLOURS = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red", State.SKIPPED: "bright_black"}


@click.command()
@click.option("-f", "--config", "file", type=click.Path(path_type=Path), help="The gateway's configuration file.")
@click.option("--user", default="", help="See whether the gateway may act as this user.")
@click.option("--submit-as", default="", metavar="USER", help="Submit a job as this user as well, and see it end.")
@click.option("--patience", type=click.FloatRange(1), default=180, show_default=True, help="Seconds that job may take.")
@click.option("--json/--lines", "as_json", default=None, help="JSON, or lines (the default at a terminal).")
@click.pass_obj
def doctor(chosen: Chosen, file: Path | None, user: str, submit_as: str, patience: float, as_json: bool | None) -> int:
    """Look at a set-up, and say what is wrong with it. The exit code is the number of failures.

    Run it as the account that the gateway runs as.
    """
    log.set_up("CRITICAL")
    shown_as_json = not sys.stdout.isatty() if as_json is None else as_json
    findings: list[Finding] = []
    who = Sample(submit_as or user, submits=bool(submit_as), patience=patience)

    async def look() -> None:
        async for finding in examine(chosen.and_then(file, None), who):
            findings.append(finding)
            if not shown_as_json:
                click.echo(line(finding))

    trio.run(look)
    if shown_as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    failures = sum(finding.state is State.FAILED for finding in findings)
    if not shown_as_json:
        warnings = sum(finding.state is State.WARNING for finding in findings)
        click.echo(f"{failures} failed, {warnings} to look at, of {len(findings)}")
    return min(failures, _HIGHEST_CODE)


def line(finding: Finding) -> str:
    """A finding for people: its state, what it is about, what was seen; and below it what mends it."""
    state = click.style(f"{finding.state.value:<8}", fg=_COLOURS[finding.state])
    text = f"{state} {finding.subject}: {finding.evidence}"
    wants_mending = finding.remedy and finding.state in (State.WARNING, State.FAILED)
    return f"{text}\n{'':<8} → {finding.remedy}" if wants_mending else text
