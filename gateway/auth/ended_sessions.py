"""Sessions that were ended before their time, remembered until they would have ended by themselves.

A session is a cookie that says all there is to know of it (sessions.py), so
ending one means to remember that it was ended: itself by its id, or all
of a user's that are older than a moment. Both are stored before they count as
done, so that a restart brings no session back.
"""

from collections.abc import Awaitable, Callable, Iterable

import trio

from gateway.models import Document

#: The kind of the documents in the store.
KIND = "ended-session"
#: Sessions of one user that are remembered one by one; beyond it all older ones of that user end.
MOST_OF_USER = 50

Save = Callable[[Document], Awaitable[None]]
Forget = Callable[[str, str], Awaitable[None]]


class EndedSessions:
    """What has ended. `save` and `forget` keep it beyond this process; `longest` is a session's life in seconds.

    Times are seconds since 1970.
    """

    def __init__(self, longest: float, save: Save, forget: Forget, documents: Iterable[Document] = ()) -> None:
        self._longest = longest
        self._save = save
        self._forget = forget
        self._of_users: dict[str, dict[str, float]] = {}  # id (empty: all older ones) → when it was ended
        for document in documents:
            if document.kind == KIND:
                user, session = document.content["user"], document.content["session"]
                self._of_users.setdefault(user, {})[session] = document.content["ended"]

    def has_ended(self, user: str, session: str, begun: float) -> bool:
        """Whether this session was ended."""
        ended = self._of_users.get(user)
        return ended is not None and (session in ended or begun <= ended.get("", -1.0))

    async def end(self, user: str, session: str, now: float) -> None:
        """End one session. Raises `StoreError`: then it has ended, but a restart brings it back."""
        if len(self._of_users.get(user, ())) >= MOST_OF_USER:
            await self._tidy(user, now)
        if len(self._of_users.get(user, ())) >= MOST_OF_USER:
            await self.end_all(user, now)
        else:
            await self._note(user, session, now)

    async def end_all(self, user: str, now: float) -> None:
        """End all sessions of a user that have begun. Raises `StoreError`, as `end`."""
        await self._note(user, "", now)
        for session in [session for session in self._of_users[user] if session]:
            await self._drop(user, session)

    async def _note(self, user: str, session: str, now: float) -> None:
        self._of_users.setdefault(user, {})[session] = now
        await self._save(Document(KIND, _name(user, session), {"user": user, "session": session, "ended": now}))

    async def _tidy(self, user: str, now: float) -> None:
        """Forget what has ended by itself by now."""
        for session, ended in list(self._of_users[user].items()):
            if ended + self._longest < now:
                await self._drop(user, session)

    async def tidy(self, now: float) -> None:
        """Forget what has ended by itself by now, of all users."""
        for user in list(self._of_users):
            await self._tidy(user, now)
            await trio.lowlevel.checkpoint()

    async def _drop(self, user: str, session: str) -> None:
        self._of_users[user].pop(session, None)
        if not self._of_users[user]:
            del self._of_users[user]
        await self._forget(KIND, _name(user, session))


def _name(user: str, session: str) -> str:
    return f"{user}/{session}"
