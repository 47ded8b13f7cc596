"""`dask-gateway-server tokens`: the personal tokens of users, for administrators on the gateway's host.

What is printed is a table for people at a terminal, and JSON for programs.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import click

from gateway.web.admin.client import AdminClient
from gateway.web.admin.place import USUAL, socket_path
from gateway.web.admin.tables import moment, table

_DAY = 24 * 3600


class Chosen(Protocol):
    """What the command line says of the configuration (cli.py)."""

    def and_then(self, file: Path | None, log_level: str | None) -> "Chosen": ...

    def load(self) -> Any: ...


def admin_client(chosen: Chosen, file: Path | None, path: str | None) -> AdminClient:
    """The client of the socket at `path`, or where the configuration says. Raises click.UsageError for none."""
    if path:
        return AdminClient(path)
    configured = chosen.and_then(file, None).load().gateway.admin_socket
    if configured is None:
        raise click.UsageError("This gateway has no administrator's socket: c.DaskGateway.admin_socket is None")
    return AdminClient(socket_path(configured, os.environ.get("RUNTIME_DIRECTORY", "")) or USUAL)


#: For the commands that show something.
as_json = click.option("--json/--table", "as_json", default=None, help="JSON, or a table (the default at a terminal).")


def at_terminal() -> bool:
    """Whether people read what is printed."""
    return sys.stdout.isatty()


def wants_json(chosen: bool | None) -> bool:
    """Whether to print JSON: if asked for, or for programs."""
    return not at_terminal() if chosen is None else chosen


@click.group()
@click.option("-f", "--config", "file", type=click.Path(path_type=Path), help="The gateway's configuration file.")
@click.option("--socket", "path", help="The administrator's socket, in place of what the configuration says.")
@click.pass_context
def tokens(context: click.Context, file: Path | None, path: str | None) -> None:
    """List, make and revoke personal tokens of users, on the host of a running gateway."""
    context.obj = admin_client(context.obj, file, path)


@tokens.command("list")
@click.option("--user", help="Those of this user alone.")
@as_json
@click.pass_obj
def list_tokens(client: AdminClient, user: str | None, as_json: bool | None) -> None:
    """Print the tokens there are; their secrets nobody knows."""
    query = "" if user is None else f"?{urlencode({'user': user})}"
    found = client.ask("GET", f"/api/v1/admin/tokens{query}")["tokens"]
    if wants_json(as_json):
        click.echo(json.dumps(found, indent=2))
        return
    headings = ("ID", "USER", "SCOPES", "STATE", "CREATED (UTC)", "LAST USED", "EXPIRES", "LABEL")
    click.echo(table(headings, [_row(token) for token in found]))


def _row(token: dict[str, Any]) -> Sequence[str]:
    times = [moment(token[name]) for name in ("created", "last_used", "expires")]
    return (token["id"], token["user"], ",".join(token["scopes"]), token["state"], *times, token["label"])


@tokens.command("create")
@click.option("--user", required=True, help="Whose it is to be.")
@click.option("--label", default="", help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["clusters", "read"]),
    multiple=True,
    default=["clusters"],
    help="What it may: all with clusters (the default), or only read.",
)
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True, help="How long it lives.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of it as JSON.")
@click.pass_obj
def create_token(client: AdminClient, user: str, label: str, scopes: Sequence[str], days: int, as_json: bool) -> None:
    """Make a token for a user, and print it: alone, and this once."""
    wish = {"user": user, "label": label, "scopes": list(scopes), "expires_in": days * _DAY}
    made = client.ask("POST", "/api/v1/admin/tokens", wish)
    if as_json:
        click.echo(json.dumps(made, indent=2))
        return
    click.echo(made["token"])
    scope = " and ".join(made["scopes"])
    click.echo(f"Token {made['id']} of user {user}: {scope}, until {moment(made['expires'])} UTC", err=True)


@tokens.command("revoke")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--user", help="All tokens of this user.")
@click.pass_obj
def revoke_tokens(client: AdminClient, ids: Sequence[str], user: str | None) -> None:
    """End tokens, at once. An ID stands in the list; a whole token will do."""
    if bool(ids) == (user is not None):
        raise click.UsageError("name the tokens by their IDs, or their user with --user")
    if user is not None:
        ids = client.ask("DELETE", f"/api/v1/admin/tokens?{urlencode({'user': user})}")["revoked"]
        if not ids:
            click.echo(f"User {user} has no tokens", err=True)
    else:
        ids = [_id(text) for text in ids]
        for id in ids:
            client.ask("DELETE", f"/api/v1/admin/tokens/{quote(id, safe='')}")
    for id in ids:
        click.echo(f"Revoked: {id}")


def _id(text: str) -> str:
    """The id in `dgt_<id>_<secret>`, or the id itself."""
    return text.removeprefix("dgt_").partition("_")[0]
