"""`dask-gateway-server tokens`: the personal tokens of users, for administrators on the gateway's host."""

import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import click

from gateway.web.admin.client import AdminClient
from gateway.web.admin.options import as_json, asks_gateway, wants_json
from gateway.web.admin.tables import moment, table

_DAY = 24 * 3600
Client = Callable[[], AdminClient]


@click.group()
@asks_gateway
def tokens() -> None:
    """List, make and revoke personal tokens of users, on the host of a running gateway."""


@tokens.command("list")
@click.option("--user", help="Those of this user alone.")
@as_json
@click.pass_obj
def list_tokens(client: Client, user: str | None, as_json: bool | None) -> None:
    """Print the tokens there are; their secrets nobody knows."""
    query = "" if user is None else f"?{urlencode({'user': user})}"
    found = client().ask("GET", f"/api/v1/admin/tokens{query}")["tokens"]
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
    type=click.Choice(["clusters", "read", "metrics"]),
    multiple=True,
    default=["clusters"],
    help="What it may: all with clusters (the default), only read, or read /metrics and nothing else.",
)
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True, help="How long it lives.")
@click.option("--json", "as_json", is_flag=True, help="Print all that is known of it as JSON.")
@click.pass_obj
def create_token(client: Client, user: str, label: str, scopes: Sequence[str], days: int, as_json: bool) -> None:
    """Make a token for a user, and print it: alone, and this once."""
    wish = {"user": user, "label": label, "scopes": list(scopes), "expires_in": days * _DAY}
    made = client().ask("POST", "/api/v1/admin/tokens", wish)
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
def revoke_tokens(client: Client, ids: Sequence[str], user: str | None) -> None:
    """End tokens, at once. An ID stands in the list; a whole token will do."""
    if bool(ids) == (user is not None):
        raise click.UsageError("name the tokens by their IDs, or their user with --user")
    gateway = client()
    if user is not None:
        revoked = gateway.ask("DELETE", f"/api/v1/admin/tokens?{urlencode({'user': user})}")["revoked"]
        click.echo("\n".join(f"Revoked: {id}" for id in revoked) or f"User {user} has no tokens")
    for id in map(_id, ids):
        gateway.ask("DELETE", f"/api/v1/admin/tokens/{quote(id, safe='')}")
        click.echo(f"Revoked: {id}")


def _id(text: str) -> str:
    """The id in `dgt_<id>_<secret>`, or the id itself."""
    return text.removeprefix("dgt_").partition("_")[0]
