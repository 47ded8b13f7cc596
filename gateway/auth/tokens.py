"""Whom a personal token lets in, and who may make one.

A token stands for the user who made it, as the rules of today have it: those
of the authenticator who knew them then. When that one is gone from the
configuration, or says that sessions have to end (its fingerprint), so has the
token. One that an administrator made for somebody counts as long as any
authenticator's rules let that user in. Groups are looked up anew; only those
that the authenticator alone knows of are as they were.

Whatever its owner is, whoever shows a token is no administrator.
"""

from collections.abc import Sequence
from typing import Any

import attrs
import structlog

from gateway.auth.access import admitted, names_groups
from gateway.auth.authenticator import Authenticator, method_of
from gateway.auth.token_record import Token, Wish, report
from gateway.auth.token_registry import TokenRegistry
from gateway.auth.token_text import Presented
from gateway.auth.unix_groups import UnixGroups
from gateway.errors import Forbidden, TryAgainLater, Unauthorized
from gateway.models import User

_log = structlog.get_logger()

#: Groups that are not known.
_UNKNOWN: frozenset[str] = frozenset()


class Tokens:
    """The tokens of `registry`, under the rules of these authenticators."""

    def __init__(self, registry: TokenRegistry, authenticators: Sequence[Authenticator], groups: UnixGroups) -> None:
        self.registry = registry
        self._authenticators = authenticators
        self._groups = groups

    async def admit(self, presented: Presented, *, any_scope: bool = False) -> tuple[User, Token]:
        """The token that this is, and its owner.

        Raises `Unauthorized`, `TryAgainLater`, and `Forbidden` when the owner may not use the gateway, or the token may
        not even look, unless what it is shown for is for `any_scope`.
        """
        token = self.registry.check(presented)
        judges = self._judges(token)
        groups = _UNKNOWN
        if not all(judge.brings_groups for judge in judges):
            try:
                groups = await self._groups.of(token.user)
            except TryAgainLater:
                needed = self._groups.needed
                if any((needed or names_groups(judge)) and not judge.brings_groups for judge in judges):
                    raise
        return self._admitted(token, judges, groups, any_scope)

    def admit_at_once(self, presented: Presented) -> tuple[User, Token] | None:
        """As `admit`, when nobody has to be asked; else None. Raises what `admit` raises."""
        token = self.registry.check(presented)
        judges = self._judges(token)
        groups = _UNKNOWN if all(judge.brings_groups for judge in judges) else self._groups.known(token.user)
        return None if groups is None else self._admitted(token, judges, groups, False)

    async def make(self, user: User, method: str, wish: Wish) -> tuple[Token, str]:
        """A new token of somebody who was authenticated by this method, and its text.

        Raises what `TokenRegistry.make` raises, `Forbidden` when the method is gone, `TryAgainLater`.
        """
        authenticator = next((one for one in self._authenticators if method_of(one) == method), None)
        if authenticator is None:
            raise Forbidden("Personal tokens are made by those who have logged in to this gateway")
        groups = user.groups
        if not authenticator.brings_groups:
            groups -= await self._groups.of(user.name)
        token, text = await self.registry.make(user.name, wish, groups=groups, method=method)
        _log.info("personal token made", user=user.name, token=token.id, scopes=" ".join(sorted(token.scopes)))
        return token, text

    async def make_for(self, name: str, wish: Wish, *, administrator: str) -> tuple[Token, str]:
        """A new token that an administrator makes for somebody, and its text.

        Raises what `TokenRegistry.make` raises, `Forbidden` when that user may not use the gateway, `TryAgainLater`.
        """
        groups = await self._groups.of(name)
        _owner(name, _UNKNOWN, self._authenticators, groups)
        token, text = await self.registry.make(name, wish, made_by=administrator)
        scopes = " ".join(sorted(token.scopes))
        _log.info("personal token made", user=name, token=token.id, scopes=scopes, administrator=administrator)
        return token, text

    async def revoke(self, tokens: Sequence[Token], *, by: str) -> None:
        """End these tokens. Raises `StoreError`, as `TokenRegistry.revoke`."""
        for token in tokens:
            _log.info("personal token revoked", user=token.user, token=token.id, by=by)
        await self.registry.revoke(*tokens)

    def state(self, token: Token) -> str:
        """Whether it counts: "active", "revoked", "expired", or "unusable" when its owner's login is gone."""
        ended = self.registry.has_ended(token)
        if ended:
            return ended
        return "active" if self._methods_judges(token) else "unusable"

    def report(self, token: Token) -> dict[str, Any]:
        """The token as lists show it."""
        used = self.registry.used(token)
        return report(token, ends=token.ends(self.registry.longest), used=used, state=self.state(token))

    def _judges(self, token: Token) -> Sequence[Authenticator]:
        judges = self._methods_judges(token)
        if not judges:
            raise Unauthorized(
                f"The personal token {token.id} was made after a login of a kind that does not count here any more:"
                " log in again, and make another one"
            )
        return judges

    def _methods_judges(self, token: Token) -> Sequence[Authenticator]:
        if not token.method:
            return self._authenticators
        return [one for one in self._authenticators if method_of(one) == token.method]

    def _admitted(
        self, token: Token, judges: Sequence[Authenticator], groups: frozenset[str], any_scope: bool
    ) -> tuple[User, Token]:
        if not (token.may_look or any_scope):
            raise Forbidden("This personal token is for /metrics alone (its scope is metrics)")
        user = _owner(token.user, token.groups, judges, groups)
        self.registry.note_use(token)
        return user, token


def _owner(name: str, own: frozenset[str], judges: Sequence[Authenticator], groups: frozenset[str]) -> User:
    """The user, as the first of the authenticators lets them in that does. Raises the first one's `Forbidden`.

    `own` are the groups that an authenticator alone knows of, `groups` those of the system.
    """
    refusals: list[Forbidden] = []
    for judge in judges:
        try:
            user = admitted(User(name, own if judge.brings_groups else own | groups), judge)
        except Forbidden as error:
            refusals.append(error)
        else:
            return attrs.evolve(user, admin=False)
    raise refusals[0]
