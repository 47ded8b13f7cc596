"""Who may use the gateway, and who administers it: the rules of the configuration, applied to a user; pure.

Without rules everybody whom the authenticator knows may. With `allowed_users`
or `allowed_groups` only those do, and administrators.
"""

from typing import Protocol

import attrs

from gateway.errors import Forbidden
from gateway.models import User


class Rules(Protocol):
    """The options of an authenticator that concern access."""

    @property
    def allowed_users(self) -> frozenset[str]: ...

    @property
    def allowed_groups(self) -> frozenset[str]: ...

    @property
    def admin_users(self) -> frozenset[str]: ...

    @property
    def admin_groups(self) -> frozenset[str]: ...


def names_groups(rules: Rules) -> bool:
    """Whether a user's groups decide anything."""
    return bool(rules.allowed_groups or rules.admin_groups)


def admitted(user: User, rules: Rules) -> User:
    """The user, an administrator if the rules say so. Raises `Forbidden` when they do not let them in."""
    admin = user.admin or user.name in rules.admin_users or not user.groups.isdisjoint(rules.admin_groups)
    unrestricted = not rules.allowed_users and not rules.allowed_groups
    listed = user.name in rules.allowed_users or not user.groups.isdisjoint(rules.allowed_groups)
    if not (admin or unrestricted or listed):
        raise Forbidden(
            f"User {user.name} is not among those who may use this gateway: its administrators can list the user or"
            " one of their groups"
        )
    return user if user.admin == admin else attrs.evolve(user, admin=admin)
