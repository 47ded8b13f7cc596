"""Authenticators: what says which user a request comes from.

An authenticator is a config class with behaviour. A site may have one of its
own: a subclass of `Authenticator` with an `async def authenticate(self, request)`
that returns a `User`, or a pair of a `User` and a context for `pre_response`, and
raises `Unauthorized` for everybody else (any exception that says that its status
is 401 will do). `request` is a Quart request. None of its methods has to be async.

Whatever the authenticator, a user's name is what an account may be called: it
becomes a part of commands, paths and job names. A site whose users log in under
other names (`DOMAIN\\user`, `user+role`) maps them with `username_map`; what is
no name of an account after that is refused, with the reason.
"""

import inspect
import re
from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.config.fields import configurable, setting
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

    def user_of(self, authorization: str) -> User | None:
        """The user of an Authorization header, if it says that without anybody being asked; else None.

        None leaves it to `authenticate`. Raises `Unauthorized` when it is certain that nobody is meant.
        """
        return None

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
