"""`dask-gateway-server clusters`, `stop` and `sessions`: what administrators do with what is not theirs."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import click

from gateway.web.admin.client import AdminClient
from gateway.web.admin.options import as_json, asks_gateway, wants_json
from gateway.web.admin.tables import moment, table

Client = Callable[[], AdminClient]
_CLUSTERS = "/api/v1/admin/clusters"

_reason = click.option("--reason", required=True, help="Why; whoever is concerned reads it, and it is logged.")


@click.group(invoke_without_command=True)
@asks_gateway
@click.pass_context
def clusters(context: click.Context) -> None:
    """List the clusters of all users, on the host of a running gateway."""
    if context.invoked_subcommand is None:
        context.invoke(list_clusters)


@clusters.command("list")
@click.option("--user", help="Those of this user alone.")
@click.option("--status", help="Those of these statuses, with commas between them (the default: PENDING,RUNNING).")
@as_json
@click.pass_obj
def list_clusters(client: Client, user: str | None, status: str | None, as_json: bool | None) -> None:
    """Print the clusters there are, the newest first."""
    query = {name: value for name, value in (("user", user), ("status", status)) if value is not None}
    found = [cluster for page in _pages(client(), query) for cluster in page]
    if wants_json(as_json):
        click.echo(json.dumps(found, indent=2))
        return
    headings = ("NAME", "USER", "STATUS", "STARTED (UTC)", "ENDED", "WORKERS", "SHARED WITH", "WHY")
    click.echo(table(headings, [_row(cluster) for cluster in found]))


def _pages(gateway: AdminClient, query: Mapping[str, str]) -> Iterator[Sequence[dict[str, Any]]]:
    after: dict[str, str] = {}
    while True:
        page = gateway.ask("GET", f"{_CLUSTERS}?{urlencode({'limit': 1000, **query, **after})}")
        yield page["clusters"]
        if page["after"] is None:
            return
        after = {"after": page["after"]}


def _row(cluster: dict[str, Any]) -> Sequence[str]:
    shared = ",".join(name for names in cluster["shared"].values() for name in names)
    why = cluster["reason"].partition("\n")[0]
    times = (moment(cluster["start_time"]), moment(cluster["stop_time"], "-"))
    return (cluster["name"], cluster["user"], cluster["status"], *times, str(cluster["workers"]), shared, why)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_reason
@asks_gateway
@click.pass_obj
def stop(client: Client, names: Sequence[str], reason: str) -> None:
    """Stop clusters, whoever owns them, on the host of a running gateway."""
    gateway = client()
    for name in names:
        gateway.ask("DELETE", f"{_CLUSTERS}/{quote(name, safe='')}?{urlencode({'reason': reason})}")
        click.echo(f"Stopped: {name}")


@clusters.command("unshare")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_reason
@click.pass_obj
def unshare_clusters(client: Client, names: Sequence[str], reason: str) -> None:
    """Share clusters with nobody any more; the connections of those who came end."""
    gateway = client()
    for name in names:
        gateway.ask("DELETE", f"{_CLUSTERS}/{quote(name, safe='')}/shares?{urlencode({'reason': reason})}")
        click.echo(f"Shared with nobody: {name}")


@click.group()
@asks_gateway
def sessions() -> None:
    """End the sessions of users, on the host of a running gateway."""


@sessions.command("end")
@click.argument("user")
@_reason
@click.pass_obj
def end_sessions(client: Client, user: str, reason: str) -> None:
    """Have a user authenticate again, wherever they are logged in."""
    client().ask("DELETE", f"/api/v1/admin/sessions/{quote(user, safe='')}?{urlencode({'reason': reason})}")
    click.echo(f"Ended: all sessions of {user}")
