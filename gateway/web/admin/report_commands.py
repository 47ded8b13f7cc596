"""What administrators look at: `dask-gateway-server events`, `logs`, `users`, `limits`."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import click

from gateway.config.limits import KINDS, shown_amount
from gateway.models import Role
from gateway.web.admin.client import AdminClient
from gateway.web.admin.options import as_json, asks_gateway, wants_json
from gateway.web.admin.tables import moment, table

Client = Callable[[], AdminClient]
_ADMIN = "/api/v1/admin"

_follow = click.option("--follow", is_flag=True, help="Go on, and print what comes, until there is no more.")


@click.command()
@click.argument("name")
@_follow
@as_json
@asks_gateway
@click.pass_obj
def events(client: Client, name: str, follow: bool, as_json: bool | None) -> None:
    """Print what has happened to a cluster, whoever owns it; JSON has one event a line."""
    path = f"{_ADMIN}/clusters/{quote(name, safe='')}/events"
    if follow:
        for _, event in client().follow(f"{path}?follow"):
            _show_event(event, wants_json(as_json))
        return
    for event in client().ask("GET", path)["events"]:
        _show_event(event, wants_json(as_json))


def _show_event(event: Mapping[str, Any], as_json: bool) -> None:
    click.echo(json.dumps(event) if as_json else f"{moment(event['time'])}  {event['message']}")


@click.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), help="Whose log: the scheduler's is the default."
)
@click.option("--job", help="The worker, as in --job w1-0.")
@_follow
@asks_gateway
@click.pass_obj
def logs(client: Client, name: str, role: str | None, job: str | None, follow: bool) -> None:
    """Print the end of the log of a cluster's job, read as its owner; secrets are masked."""
    query = {key: value for key, value in (("role", role), ("name", job)) if value is not None}
    path = f"{_ADMIN}/clusters/{quote(name, safe='')}/logs?{urlencode(query)}"
    if not follow:
        click.echo(client().ask("GET", path)["text"], nl=False)
        return
    for _, part in client().follow(f"{path}&follow"):
        click.echo(part["text"], nl=False)


@click.command()
@as_json
@asks_gateway
@click.pass_obj
def users(client: Client, as_json: bool | None) -> None:
    """Print who has clusters now, and what these hold."""
    found = client().ask("GET", f"{_ADMIN}/users")["users"]
    if wants_json(as_json):
        click.echo(json.dumps(found, indent=2))
        return
    rows = [(user["user"], *(shown_amount(kind, user[kind]) for kind in KINDS)) for user in found]
    click.echo(table(("USER", *map(str.upper, KINDS)), rows))


@click.command()
@as_json
@asks_gateway
@click.pass_obj
def limits(client: Client, as_json: bool | None) -> None:
    """Print the limits, and what of them is in use now, first those of all together."""
    found = client().ask("GET", f"{_ADMIN}/limits")["limits"]
    if wants_json(as_json):
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("No limits are set: c.UserLimits, MemberLimits, GroupLimits and TotalLimits would")
        return
    rows = [
        (
            one["holder"],
            one["kind"],
            shown_amount(one["kind"], one["held"]),
            shown_amount(one["kind"], one["most"]),
            one["option"],
        )
        for one in found
    ]
    click.echo(table(("WHOSE", "WHAT", "IN USE", "AT MOST", "OPTION"), rows))
