"""Authenticators: what says which user a request comes from.

An authenticator is a config class with behaviour. A site may have one of its
own: a subclass of `Authenticator` with an `async def authenticate(self, request)`
that returns a `User`, or a pair of a `User` and a context for `pre_response`, and
raises `Unauthorized` for everybody else (any exception that says that its status
is 401 will do). `request` is a Quart request. None of its methods has to be async.
One that says which `schemes` of the Authorization header it reads is asked for those
alone, and can stand beside others (chain.py); any other is asked for every request.

Whatever the authenticator, a user's name is what an account may be called: it
becomes a part of commands, paths and job names. A site whose users log in under
other names (`DOMAIN\\user`, `user+role`) maps them with `username_map`; what is
no name of an account after that is refused, with the reason.
"""

import enum
import inspect
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import field, frozen

from gateway.config.fields import configurable, setting
from gateway.config.structure import shown
from gateway.errors import NoAccount, Unauthorized
from gateway.log import RateLimitedLog, SiteLog
from gateway.models import USER_NAME, User

if TYPE_CHECKING:
    from quart import Quart, Request, Response

#: What RFC 6265 section 4.1.1 calls a token.
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")


def unauthorized(kind: str = "Basic") -> Unauthorized:
    """The error for `authenticate` to raise; `kind` is the challenge (`Basic`, `Negotiate`, ...)."""
    return Unauthorized(challenge=kind)


class Login(enum.Enum):
    """How people with a browser log in, on the page /login."""

    NONE = "none"
    #: With a name and a password in a form: `check_password`.
    FORM = "form"
    #: On the page of another server, which sends them back: `begin_login` and `finish_login`.
    REDIRECT = "redirect"
    #: By what their browser answers to a 401 with the challenge: `authenticate`.
    CHALLENGE = "challenge"


@frozen
class LoginStep:
    """Where a browser goes to log in, and what has to be known when it comes back (encrypted, for ten minutes)."""

    url: str
    remembered: Mapping[str, str] = field(factory=dict, repr=False)


def _check_cookie_name(name: str) -> None:
    if not _COOKIE_NAME.fullmatch(name):
        raise ValueError("must be a cookie's name: letters, digits and dashes")


@configurable
class Authenticator:
    """Says which user a request comes from. A subclass may keep state in attributes that are no options."""

    keeps_state: ClassVar[bool] = True

    #: The schemes of the Authorization header that it reads, in lower case. Empty: it is asked for every request.
    schemes: ClassVar[tuple[str, ...]] = ()
    #: How people with a browser log in.
    login: ClassVar[Login] = Login.NONE
    #: True when what users send to it are the passwords of their accounts.
    takes_account_passwords: ClassVar[bool] = False
    #: True when the users that it returns have the groups that count; else those of their accounts here do.
    brings_groups: ClassVar[bool] = False

    #: A logger of the standard library, for classes of a site's own.
    log: ClassVar[SiteLog] = SiteLog()

    cookie_name: str = setting(
        default="",
        help="""The name of the cookie that stands for an authenticated user. Empty: one that begins with
        "dask-gateway-", another one for each database, so that gateways on the same host do not share it.""",
        validator=_check_cookie_name,
    )
    cache_max_age: int = setting(
        default=300,
        minimum=0,
        unit="seconds",
        help="How long a user is known by the cookie before they have to authenticate again; 0: each time.",
    )
    login_max_age: int = setting(
        default=12 * 3600,
        minimum=0,
        unit="seconds",
        help="How long somebody is known who has logged in on the page /login with a browser; 0: nobody can.",
    )
    allowed_users: frozenset[str] = setting(
        default=frozenset(),
        help="""The users who may use the gateway, by the names of their accounts. Empty, like allowed_groups: whoever
        is authenticated may. Administrators always may.""",
    )
    allowed_groups: frozenset[str] = setting(
        default=frozenset(), help="Groups whose members may use the gateway as well."
    )
    admin_users: frozenset[str] = setting(
        default=frozenset(), help="Users who may see and stop the clusters of all, by the names of their accounts."
    )
    admin_groups: frozenset[str] = setting(default=frozenset(), help="Groups whose members may do so as well.")
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

    @property
    def name(self) -> str:
        """What it is called in paths and log lines: its class, in lower case and without "Authenticator"."""
        name = type(self).__name__
        return (name.removesuffix("Authenticator") or name).lower()

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says, so that a client authenticates with it; empty: nothing."""
        return "Basic"

    @property
    def fingerprint(self) -> str:
        """Something that changes when sessions have to end, such as with a new password for all; no secret."""
        return ""

    @property
    def login_label(self) -> str:
        """How one logs in, as the button on the page /login says it after "Log in"; may be empty."""
        return f"with {self.name}"

    @property
    def public_hints(self) -> Mapping[str, Any]:
        """What programs have to know to log in, as JSON; anybody is told."""
        return {}

    def find_mistakes(self) -> Iterable[tuple[str, str]]:
        """Pairs of an option (empty: the reason says all) and what is wrong with it on this machine."""
        return ()

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

    async def check_password(self, name: str, password: str) -> User:
        """The user with this name and password, of the form of /login. Raises `Unauthorized`."""
        raise NotImplementedError

    async def begin_login(self, callback: str) -> LoginStep:
        """Where the browser logs in that is to be back at this URL. Raises `TryAgainLater`."""
        raise NotImplementedError

    async def finish_login(self, callback: str, query: Mapping[str, str], remembered: Mapping[str, str]) -> User:
        """Who is back from there, with this query. Raises `Unauthorized`."""
        raise NotImplementedError

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Its `schemes`; none when a subclass says in a way of its own who asks, and not which schemes that reads."""
        return self.schemes if self._holds("schemes") else ()

    @cached_property
    def logs_in(self) -> Login:
        """Its `login`; NONE when a subclass has a way of its own to say who asks, for that is to be asked then."""
        return self.login if self._holds("login") else Login.NONE

    def _holds(self, name: str) -> bool:
        """Whether an attribute was given by the class that authenticates, or by one below it."""
        classes = type(self).__mro__
        return min(i for i, cls in enumerate(classes) if name in vars(cls)) <= min(
            i for i, cls in enumerate(classes) if "authenticate" in vars(cls)
        )

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
        if isinstance(account, str) and is_account_name(account):
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


def method_of(authenticator: Authenticator) -> str:
    """How sessions and tokens say by whom their user was authenticated."""
    return f"{authenticator.name} {authenticator.fingerprint}".strip()


def is_account_name(name: str) -> bool:
    """Whether an account may be called so."""
    return USER_NAME.fullmatch(name) is not None
