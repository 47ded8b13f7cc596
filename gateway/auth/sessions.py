"""Cookies that spare asking the authenticator for every request.

A session is a cookie and nothing but: the user with the time of its making,
encrypted and signed (Fernet) with a key that lives as long as this process.
So nothing is kept here that requests could make grow without bound, a forged or outdated
cookie does not open, and after a restart every client simply authenticates
again. A cookie that does not open is as good as none: the request's own
credentials decide then.
"""

import inspect
import json
import secrets
from typing import TYPE_CHECKING, Any

import attrs
import trio
from attrs import frozen
from cryptography.fernet import Fernet, InvalidToken

from gateway.auth.authenticator import Authenticator
from gateway.config.site_errors import as_gateway_error
from gateway.errors import Unauthorized
from gateway.models import User

if TYPE_CHECKING:
    from quart import Request

#: Characters of a cookie that are looked at; clients drop cookies beyond 4096 bytes.
_LONGEST = 4000
#: Cookies that are remembered as opened; beyond that the oldest is opened again.
MOST_OPENED = 1024


@frozen
class Identity:
    """Who asks. `new_cookie` is the value of a Set-Cookie header, or None.

    `fresh` says that the authenticator has just been asked: the answer is
    then to pass through its `pre_response`, with `context`.
    """

    user: User
    context: Any = None
    new_cookie: str | None = None
    fresh: bool = True


class Sessions:
    """Makes and opens the cookies of authenticated users; all that is needed to open one is in it."""

    def __init__(self, cookie_name: str, max_age: int, prefix: str = "") -> None:
        """`cookie_name` may be empty, for a random one; `max_age` is in seconds, 0 for no cookies.

        Cookies are for the API below `prefix` alone: dashboards are programs of others.
        """
        self.cookie_name = cookie_name or f"dask-gateway-{secrets.token_hex(16)}"
        self._path = f"{prefix}/api"
        self._max_age = max_age
        self._fernet = Fernet(Fernet.generate_key())
        # Opening a cookie costs as much as the rest of answering a list. Only genuine ones come in here.
        self._opened: dict[str, tuple[User, int]] = {}

    def cookie(self, user: User, *, secure: bool) -> str | None:
        """A Set-Cookie header's value for this user; None when it would be too long, or cookies are off."""
        content = json.dumps([user.name, sorted(user.groups), user.admin])
        value = self._fernet.encrypt_at_time(content.encode(), self._now()).decode()
        if not self._max_age or len(value) > _LONGEST:
            return None
        attributes = f"{self.cookie_name}={value}; Max-Age={self._max_age}; Path={self._path}; HttpOnly; SameSite=Lax"
        return f"{attributes}; Secure" if secure else attributes

    def user(self, value: str) -> User | None:
        """The user for whom this cookie was made, None when it is forged, outdated, or another process's."""
        known = self._opened.get(value)
        if known is not None and known[1] >= self._now():
            return known[0]
        if not self._max_age or len(value) > _LONGEST:
            return None
        token = value.encode("utf-8", "replace")
        try:
            content = self._fernet.decrypt_at_time(token, self._max_age, self._now())
        except InvalidToken:
            return None
        name, groups, admin = json.loads(content)
        user = User(name, groups, admin)
        if len(self._opened) >= MOST_OPENED:
            del self._opened[next(iter(self._opened))]
        self._opened[value] = user, self._fernet.extract_timestamp(token) + self._max_age
        return user

    @staticmethod
    def _now() -> int:
        return int(trio.current_time())  # no step of the wall clock makes a session shorter or longer


async def identify(authenticator: Authenticator, sessions: Sessions, request: "Request") -> Identity:
    """The user from whom a request comes: by its cookie, else by asking the authenticator.

    Raises `Unauthorized`, and whatever a site's own authenticator raises; what means an answer there
    (config/site_errors.py) is one here.
    """
    user = sessions.user(request.cookies.get(sessions.cookie_name, ""))
    if user is not None:
        return Identity(user, fresh=False)
    try:
        answer = await finished(authenticator.authenticate(request))
        user, context = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        if not isinstance(user, User):
            kind = type(user).__name__
            raise TypeError(f"{type(authenticator).__name__}.authenticate() returned a {kind}, not a User")
        user = attrs.evolve(user, name=authenticator.account_name(user.name))
    except Exception as error:
        answer = as_gateway_error(error)
        if answer is None:
            raise
        raise answer from error
    return Identity(user, context, sessions.cookie(user, secure=request.scheme == "https"))


def identify_by_headers(
    authenticator: Authenticator, sessions: Sessions, cookies: str, authorization: str, *, secure: bool
) -> Identity | None:
    """As `identify`, of a request with these headers, if that takes no more than a look at them; else None.

    Never raises: who is nobody is told so by `identify`, and a site's own code is run there. `secure` says that the
    request came by HTTPS.
    """
    begin = f"{sessions.cookie_name}="
    for cookie in cookies.split(";"):
        name_and_value = cookie.strip()
        if name_and_value.startswith(begin) and (user := sessions.user(name_and_value[len(begin) :])):
            return Identity(user, fresh=False)
    if authenticator.username_map is not None:
        return None
    try:
        user = authenticator.user_of(authorization)
        if user is None:
            return None
        user = attrs.evolve(user, name=authenticator.account_name(user.name))
    except Unauthorized:
        return None
    return Identity(user, None, sessions.cookie(user, secure=secure))


async def finished(value: Any) -> Any:
    """What a site's method returns, whether it is async or not."""
    return await value if inspect.isawaitable(value) else value
