"""Cookies that spare asking the authenticator for every request.

A session is a cookie and nothing but: the user, how they were authenticated,
and when it begins and ends, encrypted and signed (Fernet). Its key is derived
from the key of the store, so a restart ends no session; whoever has not that
key can make none. Nothing is kept of a session that requests could make grow without
bound; only those that were ended before their time are remembered
(ended_sessions.py). A cookie that does not open is as good as none: the
request's own credentials decide then.
"""

import base64
import json
import secrets
import time
from collections.abc import Sequence
from hashlib import sha256
from typing import ClassVar

import trio
from attrs import frozen
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gateway.auth.ended_sessions import EndedSessions
from gateway.models import User

#: Characters of a cookie that are looked at; clients drop cookies beyond 4096 bytes.
_LONGEST = 4000
#: Cookies that are remembered as opened; beyond that the oldest is opened again.
MOST_OPENED = 1024

#: Seconds by which the clock may have been put back at a restart without ending all sessions.
_LENIENCE = 3600.0


@frozen
class Session:
    """What a cookie says. Times are seconds since 1970; `method` is the authenticator's name and fingerprint."""

    user: User
    method: str
    id: str
    begun: float
    ends: float


class Sessions:
    """Makes and opens the cookies of authenticated users; all that is needed to open one is in it."""

    #: What the keys are derived for.
    PURPOSE: ClassVar[bytes] = b"cookies of sessions"

    def __init__(
        self,
        cookie_name: str,
        max_age: float,
        prefix: str = "",
        *,
        keys: Sequence[bytes] = (),
        ended: EndedSessions | None = None,
    ) -> None:
        """`cookie_name` may be empty, for one that goes by the key; `max_age` is in seconds, 0 for no cookies.

        Cookies are for what is below `prefix`, and dashboards do not get them (proxy/dashboard/headers.py). `keys` are
        32 bytes each: the first one makes cookies, all of them open them. Without them there is one for this process.
        """
        keys = keys or (secrets.token_bytes(32),)
        self.cookie_name = cookie_name or f"dask-gateway-{sha256(b'name of cookies' + keys[0]).hexdigest()[:32]}"
        self.path = f"{prefix}/"
        self.ended = ended
        self._max_age = max_age
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
        self._offset: float | None = None
        # Opening a cookie costs as much as the rest of answering a list. Only genuine ones come in here.
        self._opened: dict[str, Session] = {}

    def cookie(self, user: User, *, secure: bool, method: str = "", max_age: float | None = None) -> str | None:
        """A Set-Cookie header's value for this user; None when it would be too long, or cookies are off."""
        max_age = self._max_age if max_age is None else max_age
        now = self.now()
        session = [user.name, sorted(user.groups), user.admin, method, secrets.token_urlsafe(9), now, now + max_age]
        value = self._fernet.encrypt(json.dumps(session).encode()).decode()
        if max_age <= 0 or len(value) > _LONGEST:
            return None
        return self._set_cookie(value, f"Max-Age={max_age:.0f}", secure=secure)

    def removal(self, *, secure: bool) -> str:
        """A Set-Cookie header's value that makes a browser forget its session."""
        return self._set_cookie("", "Max-Age=0", secure=secure)

    def _set_cookie(self, value: str, age: str, *, secure: bool) -> str:
        attributes = f"{self.cookie_name}={value}; {age}; Path={self.path}; HttpOnly; SameSite=Lax"
        return f"{attributes}; Secure" if secure else attributes

    def find(self, cookies: str) -> Session | None:
        """The first session that opens among those of a Cookie header."""
        begin = f"{self.cookie_name}="
        for cookie in cookies.split(";"):
            name_and_value = cookie.strip()
            if name_and_value.startswith(begin) and (session := self.open(name_and_value[len(begin) :])):
                return session
        return None

    def open(self, value: str) -> Session | None:
        """The session of this cookie; None when it is forged, outdated, ended, or made with another key."""
        session = self._opened.get(value) or self._decrypted(value)
        now = self.now()
        if session is None or session.begun > now + _LENIENCE or session.ends < now:
            return None
        if self.ended is not None and self.ended.has_ended(session.user.name, session.id, session.begun):
            return None
        if value not in self._opened:
            if len(self._opened) >= MOST_OPENED:
                del self._opened[next(iter(self._opened))]
            self._opened[value] = session
        return session

    async def end_all(self, user: str) -> None:
        """End all sessions of a user that have begun. Raises `StoreError`: then a restart brings them back."""
        if self.ended is not None:
            await self.ended.end_all(user, self.now())

    def _decrypted(self, value: str) -> Session | None:
        if len(value) > _LONGEST:
            return None
        try:
            content = self._fernet.decrypt(value.encode("utf-8", "replace"))
        except InvalidToken:
            return None
        name, groups, admin, method, session, begun, ends = json.loads(content)
        return Session(User(name, groups, admin), method, session, begun, ends)

    def now(self) -> float:
        """Seconds since 1970, by a clock that does not jump while this process runs."""
        if self._offset is None:
            self._offset = time.time() - trio.current_time()
        return trio.current_time() + self._offset
