"""Who asks: authenticators, and the cookies that spare asking them every time.

An authenticator is a config class with behaviour. A site may have one of its
own: a subclass of `Authenticator` with an `async def authenticate(self, request)`
that returns a `User`, or a pair of a `User` and a context for `pre_response`, and
raises `Unauthorized` for everybody else (any exception that says that its status
is 401 will do). `request` is a Quart request. None of its methods has to be async.

A session is a cookie and nothing but: the user with the time of its making,
encrypted and signed (Fernet) with a key that lives as long as this process.
So nothing is kept here that requests could make grow without bound, a forged or outdated
cookie does not open, and after a restart every client simply authenticates
again. A cookie that does not open is as good as none: the request's own
credentials decide then.

Whatever the authenticator, a user's name is what an account may be called: it
becomes a part of commands, paths and job names. A site whose users log in under
other names (`DOMAIN\\user`, `user+role`) maps them with `username_map`; what is
no name of an account after that is refused, with the reason.
"""

import base64
import binascii
import inspect
import json
import re
import secrets
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import trio
from attrs import frozen
from cryptography.fernet import Fernet, InvalidToken

from gateway.auth.secret_compare import same_secret
from gateway.config.fields import configurable, setting
from gateway.config.site_errors import as_gateway_error
from gateway.config.structure import shown
from gateway.errors import NoAccount, Unauthorized
from gateway.log import RateLimitedLog, SiteLog
from gateway.models import User

if TYPE_CHECKING:
    from quart import Quart, Request, Response

#: As POSIX and LDAP accounts are called. No leading dash (an option), no leading dot (`..`).
_USER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,127}")
#: What RFC 6265 section 4.1.1 calls a token.
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
#: Characters of credentials or of a cookie that are looked at; clients drop cookies beyond 4096 bytes.
_LONGEST = 4000
#: Cookies that are remembered as opened; beyond that the oldest is opened again.
_MOST_OPENED = 1024


def unauthorized(kind: str = "Basic") -> Unauthorized:
    """The error for `authenticate` to raise; `kind` is the challenge (`Basic`, `Negotiate`, ...)."""
    return Unauthorized(challenge=kind)


def _check_cookie_name(name: str) -> None:
    if not _COOKIE_NAME.fullmatch(name):
        raise ValueError("must be a cookie's name: letters, digits and dashes")


@configurable
class Authenticator:
    """Says which user a request comes from. A subclass may keep state in attributes that are no options."""

    keeps_state: ClassVar[bool] = True

    #: A logger of the standard library, for classes of a site's own.
    log: ClassVar[SiteLog] = SiteLog()

    cookie_name: str = setting(
        default="",
        help="""The name of the cookie that stands for an authenticated user. Empty: one that begins with
        "dask-gateway-", another one at each start, so that gateways on the same host do not share it.""",
        validator=_check_cookie_name,
    )
    cache_max_age: int = setting(
        default=300,
        minimum=0,
        unit="seconds",
        help="How long a user is known by the cookie before they have to authenticate again; 0: each time.",
    )
    username_map: Callable[..., Any] | None = setting(
        default=None,
        help="""A function of the name under which a user was authenticated that returns the name of their account, or
        None for nobody: for names such as DOMAIN\\user, which no account can have here. It must not give one account
        to two people. None: names are used as they are.""",
    )

    @property
    def believes_anybody(self) -> bool:
        """True when users need nothing that a page in their browser does not have as well, such as a password."""
        return False

    async def setup(self, app: "Quart") -> None:
        """Called before the first request is served; `app` is the Quart application."""

    async def cleanup(self) -> None:
        """Called after the last request was served."""

    @abstractmethod
    async def authenticate(self, request: "Request") -> User | tuple[User, Any]:
        """The user from whom this request comes, maybe with a context for `pre_response`. Raises `Unauthorized`."""
        raise NotImplementedError

    async def pre_response(self, request: "Request", response: "Response", context: Any = None) -> None:
        """Called with the answer to a request that `authenticate` has seen; it may add headers."""

    @cached_property
    def _refusals(self) -> RateLimitedLog:
        """Lines that strangers may cause."""
        return RateLimitedLog()

    def account_name(self, name: object) -> str:
        """The name of the account of whoever was authenticated under this name. Raises `NoAccount`, and logs why."""
        account = name if self.username_map is None else self.username_map(name)
        if inspect.iscoroutine(account):
            account.close()
            raise TypeError("username_map must be a function that is not async")
        if isinstance(account, str) and _USER_NAME.fullmatch(account):
            return account
        if account is None and self.username_map is not None:
            self._refusals.warning(
                "username_map knows no account for a user", user=shown(name), authenticator=type(self).__name__
            )
            raise NoAccount(f"The user name {shown(name)} belongs to no account of this site.")
        mapped = "" if account is name else f" (after username_map: {shown(account)})"
        self._refusals.warning(
            "a user was refused whose name cannot be the name of an account; c.Authenticator.username_map maps names",
            user=f"{shown(name)}{mapped}",
            authenticator=type(self).__name__,
        )
        raise NoAccount(
            f"The user name {shown(name)}{mapped} cannot be the name of an account: these are letters, digits and"
            " . _ - @, at most 128 of them, and begin with a letter, a digit or _. A site can map other names to its"
            " accounts with c.Authenticator.username_map."
        )


@configurable
class SimpleAuthenticator(Authenticator):
    """HTTP Basic with one password for all, or none: for tests and trusted networks only."""

    password: str | None = setting(
        default=None,
        secret=True,
        help="The password of all users. Unset or empty: whoever names themselves is believed.",
    )

    @property
    def believes_anybody(self) -> bool:
        """True without a password; a subclass that asks in a way of its own is taken at its word."""
        return not self.password and type(self).authenticate is SimpleAuthenticator.authenticate

    async def authenticate(self, request: "Request") -> User:
        """The user named in the Authorization header, when the password is right."""
        name, password = _basic_credentials(request.headers.get("Authorization", ""))
        if self.password and not same_secret(password, self.password):
            raise Unauthorized
        self.account_name(name)  # or nobody
        return User(name)


def _basic_credentials(header: str) -> tuple[str, str]:
    """User and password out of an Authorization header (RFC 7617, UTF-8 or Latin-1). Raises `Unauthorized`."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic" or len(encoded) > _LONGEST:
        raise Unauthorized
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as error:  # no base64, no ASCII
        raise Unauthorized from error
    try:
        text = credentials.decode()
    except UnicodeDecodeError:  # the published client sends Latin-1, of which every byte is a character
        text = credentials.decode("latin-1")
    name, colon, password = text.partition(":")
    if not colon:
        raise Unauthorized
    return name, password


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
        if len(self._opened) >= _MOST_OPENED:
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


async def finished(value: Any) -> Any:
    """What a site's method returns, whether it is async or not."""
    return await value if inspect.isawaitable(value) else value
