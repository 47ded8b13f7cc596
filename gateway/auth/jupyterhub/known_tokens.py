"""What was said of tokens, for as long as it counts; pure.

A token is known by its SHA-256, so that no token is kept. Those that belong to
somebody and those that do not are kept apart: strangers, who can make up as many as
they like, push out nobody who is known.

What was said of a token counts without asking again for some seconds: `fresh` when it belongs to
somebody, `refused` when it does not. Whom it belonged to is remembered for longer (`kept`), for the
times when nobody can be asked.
"""

import hashlib

from attrs import frozen

from gateway.models import User

#: Tokens of each kind that are remembered; beyond that the oldest is asked about again.
MOST_TOKENS = 4096


@frozen
class _Said:
    """`user`, or the reason why there is none, as it was said at a time."""

    when: float
    user: User | None = None
    reason: str = ""


class KnownTokens:
    """Remembers tokens. Times are seconds of any one clock that does not go back."""

    def __init__(self, *, fresh: float, kept: float, refused: float, most: int = MOST_TOKENS) -> None:
        self._fresh = fresh
        self._kept = kept
        self._refused = refused
        self._most = most
        self._users: dict[bytes, _Said] = {}
        self._nobody: dict[bytes, _Said] = {}

    def add(self, token: str, user: User, now: float) -> None:
        """It belongs to this user."""
        key = _key(token)
        self._nobody.pop(key, None)
        if self._kept > 0:
            self._put(self._users, key, _Said(now, user))

    def refuse(self, token: str, reason: str, now: float) -> None:
        """It belongs to nobody who may come in."""
        key = _key(token)
        self._users.pop(key, None)
        self._put(self._nobody, key, _Said(now, reason=reason))

    def user(self, token: str, now: float, *, fresh: bool = True) -> User | None:
        """Whom it belongs to; None when that is not known, or was said too long ago to be fresh, or to be kept."""
        said = self._users.get(_key(token))
        return None if said is None or now - said.when >= (self._fresh if fresh else self._kept) else said.user

    def refusal(self, token: str, now: float) -> str:
        """Why it has just been refused; empty when it was not."""
        said = self._nobody.get(_key(token))
        return "" if said is None or now - said.when >= self._refused else said.reason

    def _put(self, known: dict[bytes, _Said], key: bytes, said: _Said) -> None:
        known.pop(key, None)  # to the end of the line
        known[key] = said
        if len(known) > self._most:
            del known[next(iter(known))]


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
