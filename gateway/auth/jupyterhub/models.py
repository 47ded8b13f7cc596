"""What JupyterHub says of whom a token belongs to (`GET /hub/api/user`), read and judged; pure.

A token has scopes, and a role of the Hub's decides who has the one that is
for this service. Services have tokens as well: they are called "service:NAME",
which is no name of an account, so that none is a user's by chance. A site that wants
one to have clusters maps that name with `username_map`.
"""

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadGateway, Unauthorized
from gateway.models import User


def access_scope(service: str) -> str:
    """The scope that lets a token use this service; "access:services" lets it use all."""
    return f"access:services!service={service}"


def user_of_model(model: Mapping[str, Any], *, service: str, admins: bool) -> User:
    """The user whom the Hub has described.

    With a `service`, the token must be for it. With `admins`, administrators of the Hub are administrators here.
    Raises `Unauthorized` when it is for other things, or `BadGateway` when this is no description.
    """
    kind, name = model.get("kind"), model.get("name")
    groups, scopes = (_texts(model.get(field, [])) for field in ("groups", "scopes"))
    if not isinstance(kind, str) or not isinstance(name, str) or groups is None or scopes is None:
        raise BadGateway("JupyterHub has answered with something else than a user (is jupyterhub_api_url right?)")
    if kind != "user" or ":" in name:
        name = f"{kind}:{name}"
    if service and scopes.isdisjoint(("access:services", access_scope(service))):
        raise Unauthorized(
            f"This token of {name!r} is not for this service: it has not the scope {access_scope(service)}, which the"
            " Hub's administrators grant with a role"
        )
    return User(name, groups, admins and kind == "user" and model.get("admin") is True)


def _texts(value: object) -> frozenset[str] | None:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return frozenset(value)
    return None
