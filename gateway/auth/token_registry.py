"""The personal tokens that there are: checked in memory, kept in the store.

A token counts once it is stored, and counts no more from the moment that it is
revoked; a database that cannot forget it at that moment is asked again and
again. When a token was used last is noted in memory, and stored every few
minutes: it is worth no write for each request, and no harm when a crash loses
it. Who has expired is told so for a while, and then forgotten.
"""

import hmac
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import structlog
import trio

from gateway.auth.secret_compare import same_secret
from gateway.auth.token_record import DAY, KIND, Token, Wish, from_document, to_document
from gateway.auth.token_text import ALPHABET, ID_LENGTH, SECRET_LENGTH, Presented, digest_of, id_of, written
from gateway.errors import InvalidRequest, TryAgainLater, Unauthorized
from gateway.models import Document
from gateway.store.errors import StoreError
from gateway.supervise import FOR_EVER, supervise
from gateway.user_text import one_line

_log = structlog.get_logger()

Save = Callable[..., Awaitable[None]]
Forget = Callable[..., Awaitable[None]]

#: Seconds that a user's token lives at most, and tokens of one user, unless the configuration says otherwise.
LONGEST, MOST_OF_USER = 90 * DAY, 20
#: Tokens of all users.
MOST = 100_000
#: Seconds between two looks at what has to be stored or forgotten.
PERIOD = 300.0
#: Seconds that the last look has, when the gateway stops.
LAST_LOOK = 2.0
#: Milliseconds between two uses of a token that are told apart.
_USES_APART = 60_000
#: Milliseconds for which an expired token is remembered, so that its owner learns why it is refused.
_REMEMBERED = 7 * DAY * 1000
#: Documents that are saved at once: one transaction each.
_SAVED_AT_ONCE = 500
_NO_DIGEST = "0" * 64


async def _nowhere(*_: object) -> None:
    await trio.lowlevel.checkpoint()


class TokenRegistry:
    """All tokens. `save` and `forget` keep them beyond this process; `now` is the time in seconds since 1970.

    `longest` is how many seconds those live at most that users make; with 0 they make none.
    """

    def __init__(
        self,
        save: Save = _nowhere,
        forget: Forget = _nowhere,
        documents: Iterable[Document] = (),
        *,
        longest: int = LONGEST,
        most_of_user: int = MOST_OF_USER,
        most: int = MOST,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.longest = longest
        self._save, self._forget = save, forget
        self._most_of_user, self._most = most_of_user, most
        self._now = now
        self._tokens: dict[str, Token] = {}
        self._of_users: dict[str, dict[str, Token]] = {}
        self._used: dict[str, int] = {}
        self._used_since_saved: set[str] = set()
        self._ended: set[str] = set()  # they count no more, and the store has yet to forget them
        for document in documents:
            if document.kind == KIND:
                token, used = from_document(document)
                self._add(token)
                if used is not None:
                    self._used[token.id] = used

    def of(self, user: str) -> list[Token]:
        """A user's tokens, the newest first."""
        return _newest_first(self._of_users.get(user, {}).values())

    def all(self) -> list[Token]:
        """The tokens of all users, the newest first."""
        return _newest_first(self._tokens.values())

    def get(self, id: str) -> Token | None:
        """The token of this id."""
        return self._tokens.get(id)

    def used(self, token: Token) -> int | None:
        """When it was last used, in milliseconds since 1970."""
        return self._used.get(token.id)

    def has_ended(self, token: Token) -> str:
        """How a token has ended: "revoked", "expired", or empty while it counts."""
        if token.id in self._ended:
            return "revoked"
        return "expired" if token.ends(self.longest) <= self._milliseconds() else ""

    def check(self, presented: Presented) -> Token:
        """The token that this is. Raises `Unauthorized`; the text holds its id at most."""
        if presented.misplaced:
            raise Unauthorized("A personal token is sent as the password; the name beside it is that of its owner")
        id = id_of(presented.text)
        if id is None:
            raise Unauthorized("This personal token is not whole, or has a typo: copy it once more, all of it")
        token = self._tokens.get(id)
        is_it = hmac.compare_digest(digest_of(presented.text), _NO_DIGEST if token is None else token.digest)
        ended = "" if token is None else self.has_ended(token)
        if token is None or not is_it or ended == "revoked":
            raise Unauthorized(
                f"There is no personal token {id} here: it was revoked, has expired long ago, or is another gateway's"
            )
        if ended:
            day = datetime.fromtimestamp(token.ends(self.longest) / 1000, UTC)
            raise Unauthorized(f"The personal token {id} has expired on {day:%Y-%m-%d at %H:%M} UTC: make another one")
        if presented.claimed is not None and not same_secret(presented.claimed, token.user):
            raise Unauthorized(f"The personal token {id} is not one of user {one_line(presented.claimed)[:128]!r}")
        return token

    def note_use(self, token: Token) -> None:
        """Note that a request was made with this token."""
        now = self._milliseconds()
        if now - self._used.get(token.id, 0) >= _USES_APART:
            self._used[token.id] = now
            self._used_since_saved.add(token.id)

    async def make(
        self, user: str, wish: Wish, *, groups: Iterable[str] = (), method: str = "", made_by: str = ""
    ) -> tuple[Token, str]:
        """A new token of this user, and its text, which nobody can be told again.

        Raises `InvalidRequest` when the user has enough of them, `TryAgainLater` or `StoreError` when none can be kept.
        """
        await self._make_room(user)
        now = self._milliseconds()
        id, secret = _random(ID_LENGTH), _random(SECRET_LENGTH)
        while id in self._tokens:
            id = _random(ID_LENGTH)
        text = written(id, secret)
        token = Token(
            id=id,
            user=user,
            groups=groups,
            method=method,
            made_by=made_by,
            scopes=wish.scopes,
            label=wish.label,
            made=now,
            expires=now + wish.seconds * 1000,
            digest=digest_of(text),
        )
        # At once, so that it counts for the next one who looks for room. Nobody knows its secret yet.
        self._add(token)
        try:
            await self._save(to_document(token, None))
        except StoreError:
            self._remove(id)
            raise
        return token, text

    async def _make_room(self, user: str) -> None:
        """Raises `InvalidRequest`, `TryAgainLater` or `StoreError`."""
        if len(self.of(user)) >= self._most_of_user:
            self._ended |= {token.id for token in self.of(user) if self.has_ended(token)}
            await self._forget_ended()
        if len(self.of(user)) >= self._most_of_user:
            raise InvalidRequest(
                f"User {user} has {self._most_of_user} personal tokens, which is as many as one may have here"
                " (c.DaskGateway.tokens_per_user): revoke one that is not needed any more"
            )
        if len(self._tokens) >= self._most:
            raise TryAgainLater(f"There are {self._most} personal tokens here, and there is no room for another one")

    async def revoke(self, *tokens: Token) -> None:
        """End these tokens, now. Raises `StoreError`: then a restart would bring them back, unless it works later."""
        self._ended |= {token.id for token in tokens}
        await self._forget_ended()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """While entered, what has to be stored or forgotten is, every few minutes and at the end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(supervise, "the keeper of personal tokens", self._keep, **FOR_EVER))
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                with trio.move_on_after(LAST_LOOK, shield=True):
                    await self.tidy()

    async def _keep(self) -> None:
        while True:
            await trio.sleep(PERIOD)
            await self.tidy()

    async def tidy(self) -> None:
        """Forget who has expired long ago or was revoked; store who was used. What fails is tried the next time."""
        long_ago = self._milliseconds() - _REMEMBERED
        self._ended |= {token.id for token in self._tokens.values() if token.ends(self.longest) <= long_ago}
        used: list[str] = []
        try:
            await self._forget_ended()
            while used := [*self._used_since_saved - self._ended][:_SAVED_AT_ONCE]:
                self._used_since_saved.difference_update(used)
                # In the line of the store before anything else happens, so that none comes after its revocation.
                await self._save(*(to_document(self._tokens[id], self._used[id]) for id in used))
        except StoreError as error:
            _log.warning("personal tokens could not be stored or forgotten", error=str(error))
            self._used_since_saved |= self._tokens.keys() & used

    async def _forget_ended(self) -> None:
        ended = [*self._ended]
        if not ended:
            return
        await self._forget(KIND, *ended)
        for id in ended:
            self._remove(id)

    def _add(self, token: Token) -> None:
        self._tokens[token.id] = token
        self._of_users.setdefault(token.user, {})[token.id] = token

    def _remove(self, id: str) -> None:
        token = self._tokens.pop(id, None)
        if token is not None:
            del self._of_users[token.user][id]
            if not self._of_users[token.user]:
                del self._of_users[token.user]
        self._used.pop(id, None)
        self._used_since_saved.discard(id)
        self._ended.discard(id)

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _newest_first(tokens: Iterable[Token]) -> list[Token]:
    return sorted(tokens, key=lambda token: (token.made, token.id), reverse=True)
