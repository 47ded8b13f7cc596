"""Who asks: a personal token, else a session's cookie, else the authenticator whom the request's credentials are for.

Whoever shows a personal token (tokens.py) is nobody but its owner, whatever cookies come with it; no
authenticator is asked, and no session begins, so that a token that is revoked leaves nothing behind.

A gateway has one authenticator or several. Which of them is asked is said by
the scheme of `Authorization`; of two that read the same one, the first that
knows the user counts. Whoever brings no credentials gets a 401 with the challenge of each, in
the order of the configuration, as the published client looks at the first one only.

What holds for all of them is done here: names are mapped and checked, the
rules about access applied, groups looked up. Failures are counted, slowed
down and logged, once each: no authenticator has to.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from gateway import metrics
from gateway.auth.access import admitted, names_groups
from gateway.auth.attempts import Attempt, Attempts
from gateway.auth.authenticator import Authenticator, method_of
from gateway.auth.basic import scheme_of
from gateway.auth.failures import Failures
from gateway.auth.identity import ADMINISTRATOR, Identity
from gateway.auth.sessions import Session, Sessions
from gateway.auth.token_registry import TokenRegistry
from gateway.auth.token_text import Presented, id_of, presented
from gateway.auth.tokens import Tokens
from gateway.auth.unix_groups import UnixGroups
from gateway.config.site_errors import as_gateway_error
from gateway.errors import Forbidden, GatewayError, NoAccount, TooManyFailures, TryAgainLater, Unauthorized
from gateway.log import RateLimitedLog
from gateway.models import User
from gateway.user_text import one_line

if TYPE_CHECKING:
    from quart import Request

#: Methods that change nothing (RFC 9110, 9.2.1).
_READING = frozenset(("GET", "HEAD", "OPTIONS"))
#: Lines about failures in a second: enough for people and fail2ban, too few to fill a disk.
_LINES_PER_SECOND = 20.0


class Chain:
    """The authenticators of a gateway, in their order, with the sessions that they begin.

    `owner_of(address)` is who answers for what comes from an address (an IPv6 network has many).
    """

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        sessions: Sessions,
        *,
        failures: Failures | None = None,
        groups: UnixGroups | None = None,
        tokens: TokenRegistry | None = None,
        owner_of: Callable[[str], str] = str,
    ) -> None:
        self.authenticators = tuple(authenticators)
        self.sessions = sessions
        self._groups = groups or UnixGroups()
        self.tokens = Tokens(tokens or TokenRegistry(), self.authenticators, self._groups)
        self._owner_of = owner_of
        self._log = RateLimitedLog(1 / _LINES_PER_SECOND)
        self._attempts = Attempts(failures or Failures(), self._log)

    @property
    def believes_anybody(self) -> bool:
        """True when users need nothing that a page in their browser does not have as well, such as a password."""
        return any(authenticator.believes_anybody for authenticator in self.authenticators)

    def named(self, name: str) -> Authenticator | None:
        """The authenticator of this name."""
        return next((one for one in self.authenticators if one.name == name), None)

    # ---- a request

    async def identify(self, request: "Request", *, any_scope: bool = False) -> Identity:
        """The user from whom a request comes. Raises `Unauthorized` with all challenges, and what those asked raise.

        What a site's own authenticator raises and means an answer there (config/site_errors.py) is one here. Raises
        `Forbidden` for what a personal token is not made for (its scopes), unless it is for `any_scope`.
        """
        administrator = cast("dict[str, Any]", request.scope).get(ADMINISTRATOR)
        if administrator is not None:
            return Identity(User(administrator, admin=True), local=True)
        authorization = request.headers.get("Authorization", "")
        shown = presented(authorization)
        if shown is not None:
            identity = await self._by_token(shown, self._owner_of(request.remote_addr or ""), any_scope)
            if not (identity.may_change or any_scope or request.method in _READING):
                raise Forbidden("This personal token may only read (its scope is read): a change needs another one")
            return identity
        known = self._by_cookie("; ".join(request.headers.getlist("Cookie")))  # HTTP/2 may split it
        if known is not None:
            return known
        attempt = Attempt.by_header(authorization, self._owner_of(request.remote_addr or ""))
        asked = self._for_scheme(attempt.method)
        if not asked:
            raise self._challenged(_refusal_of_scheme(attempt.method))
        if not attempt.method:  # no credentials, which are no failure
            return await self._ask(asked, request, attempt)
        async with self._attempts.turn(attempt):
            return await self._ask(asked, request, attempt)

    async def _ask(self, asked: Sequence[Authenticator], request: "Request", attempt: Attempt) -> Identity:
        refusal: Unauthorized | None = None
        refused_by: Authenticator | None = None
        for authenticator in asked:
            try:
                user, context = await self._answer(authenticator, partial(authenticator.authenticate, request))
            except NoAccount:
                raise
            except Unauthorized as error:
                if refusal is None:
                    refusal, refused_by = error, authenticator
                continue
            method = method_of(authenticator)
            cookie = self.sessions.cookie(user, secure=request.scheme == "https", method=method)
            metrics.count_login(attempt.method, "accepted")
            return Identity(admitted(user, authenticator), authenticator, context, cookie, method)
        assert refusal is not None
        if attempt.method:
            self._attempts.has_failed(attempt, refusal)
        raise self._challenged(refusal, refused_by) from refusal

    async def _by_token(self, shown: Presented, address: str, any_scope: bool) -> Identity:
        """Whom a personal token stands for. Only a wrong one is held to the rate of failures: none can be guessed."""
        try:
            user, token = await self.tokens.admit(shown, any_scope=any_scope)
        except Unauthorized as error:
            # Counted apart from its owner, who may log in from the same address meanwhile.
            counted_as = f"token {id_of(shown.text) or ''}"
            attempt = Attempt("token", (shown.claimed or "")[:200], address, counted_as)
            self._attempts.check_rate(attempt)
            self._attempts.has_failed(attempt, error)
            raise self._challenged(error) from error
        except Forbidden as error:
            self._log.warning("a user is not allowed to use the gateway", method="token", reason=str(error))
            raise
        return Identity(user, token=token)

    def identify_by_headers(self, cookies: str, authorization: str, address: str, *, secure: bool) -> Identity | None:
        """As `identify`, of a request with these headers, if that takes no more than a look at them; else None.

        Never raises: who is nobody is told so by `identify`, and a site's own code is run there. `secure` says that the
        request came by HTTPS.
        """
        shown = presented(authorization)
        if shown is not None:
            return self._by_token_at_once(shown)
        known = self._by_cookie(cookies)
        if known is not None:
            return known
        asked = self._for_scheme(scheme_of(authorization))
        if len(asked) != 1 or asked[0].username_map is not None:
            return None
        (authenticator,) = asked
        attempt = Attempt.by_header(authorization, self._owner_of(address))
        if self._attempts.seconds_to_wait(attempt):
            return None
        try:
            user = authenticator.user_of(authorization)
            if user is None:
                return None
            name = authenticator.account_name(user.name)
            groups = user.groups if authenticator.brings_groups else self._groups.known(name)
            if groups is None:
                return None
            user = User(name, groups | user.groups, user.admin)
            identified = admitted(user, authenticator)
        except (Unauthorized, Forbidden):
            return None
        method = method_of(authenticator)
        metrics.count_login(attempt.method, "accepted")
        return Identity(identified, None, None, self.sessions.cookie(user, secure=secure, method=method), method)

    def refusal_by_headers(self, cookies: str, authorization: str, address: str) -> TooManyFailures | None:
        """What `identify` would raise since logins like this have failed too often; None when it would not.

        Whoever guesses passwords costs no more than this look. Jobs' own tokens are no logins.
        """
        scheme = scheme_of(authorization)
        if scheme in ("", "token") or presented(authorization) is not None or self._by_cookie(cookies) is not None:
            return None
        try:
            self._attempts.check_rate(Attempt.by_header(authorization, self._owner_of(address)))
        except TooManyFailures as error:
            return error
        return None

    def _by_token_at_once(self, shown: Presented) -> Identity | None:
        try:
            found = self.tokens.admit_at_once(shown)
        except (Unauthorized, Forbidden):
            return None
        return None if found is None else Identity(found[0], token=found[1])

    def _by_cookie(self, cookies: str) -> Identity | None:
        session = self.sessions.find(cookies)
        user = None if session is None else self.user_of_session(session)
        return None if session is None or user is None else Identity(user, method=session.method)

    def user_by_cookie(self, cookies: str) -> User | None:
        """The user of the session in a Cookie header, if its authenticator still lets them in."""
        known = self._by_cookie(cookies)
        return None if known is None else known.user

    def user_of_session(self, session: Session) -> User | None:
        """The user of a session, as the rules of today have it; None when they let nobody in, or its method is gone."""
        for authenticator in self.authenticators:
            if method_of(authenticator) == session.method:
                try:
                    return admitted(session.user, authenticator)
                except Forbidden:
                    return None
        return None

    # ---- the page /login

    async def log_in(
        self, authenticator: Authenticator, address: str, claimed: str, how: Callable[[], Any], *, secure: bool
    ) -> Identity:
        """Whoever `how` returns, with the cookie of their new session. Raises what `identify` raises.

        `claimed` is the name that was typed in, empty when there is none.
        """
        attempt = Attempt(authenticator.name, claimed[:200], self._owner_of(address))
        async with self._attempts.turn(attempt):
            try:
                user, context = await self._answer(authenticator, how)
            except NoAccount:
                raise
            except Unauthorized as error:
                self._attempts.has_failed(attempt, error)
                raise
        max_age = authenticator.login_max_age
        method = method_of(authenticator)
        cookie = self.sessions.cookie(user, secure=secure, method=method, max_age=max_age)
        metrics.count_login(attempt.method, "accepted")
        return Identity(admitted(user, authenticator), authenticator, context, cookie, method)

    async def end_session(self, cookies: str) -> None:
        """End the session in a Cookie header, if there is one. Raises `StoreError`."""
        session = self.sessions.find(cookies)
        if session is not None and self.sessions.ended is not None:
            await self.sessions.ended.end(session.user.name, session.id, self.sessions.now())

    # ---- what holds for all

    async def _answer(self, authenticator: Authenticator, how: Callable[[], Any]) -> tuple[User, Any]:
        """Whom an authenticator returns, and the context of its own."""
        answer = await _translated(how)
        user, context = answer if isinstance(answer, tuple) and len(answer) == 2 else (answer, None)
        try:
            return await self._admitted(authenticator, user), context
        except GatewayError as error:
            error.answer_through = partial(authenticator.pre_response, context=context)
            raise

    async def _admitted(self, authenticator: Authenticator, user: object) -> User:
        """A user under the name of their account, with their groups. Raises `NoAccount`, `Forbidden`, TypeError.

        Of the rules' administrators it is not one yet: sessions keep what the authenticator has said, and the rules of
        the day apply to it (`user_of_session`).
        """
        if not isinstance(user, User):
            kind = type(user).__name__
            raise TypeError(f"{type(authenticator).__name__}.authenticate() returned a {kind}, not a User")
        name = authenticator.account_name(user.name)
        groups = user.groups
        if not authenticator.brings_groups:
            try:
                groups |= await self._groups.of(name)
            except TryAgainLater:
                if self._groups.needed or names_groups(authenticator):
                    raise
        known = User(name, groups, user.admin)
        try:
            admitted(known, authenticator)
        except Forbidden:
            self._log.warning("a user is not allowed to use the gateway", user=name, method=authenticator.name)
            metrics.count_login(authenticator.name, "forbidden")
            raise
        return known

    def _for_scheme(self, scheme: str) -> list[Authenticator]:
        return [one for one in self.authenticators if not one.reads or scheme in one.reads]

    def _challenged(self, refusal: Unauthorized, by: Authenticator | None = None) -> Unauthorized:
        """The refusal, with what else the client may answer."""
        challenges = [(refusal.challenge if one is by else one.challenge) for one in self.authenticators]
        if by is not None and refusal.challenge != by.challenge:  # it has more to say to the client than the others
            challenges.insert(0, challenges.pop(self.authenticators.index(by)))
        first, *others = dict.fromkeys(challenge for challenge in challenges if challenge) or ("",)
        return Unauthorized(str(refusal), challenge=first, others=others)


def _refusal_of_scheme(scheme: str) -> Unauthorized:
    if not scheme:
        return Unauthorized()
    return Unauthorized(f"Nobody is authenticated here by {one_line(scheme)[:40]!r}")


async def _translated(how: Callable[[], Any]) -> Any:
    """What a site's method returns, whether it is async or not. What it raises that means an answer is one of ours."""
    try:
        return await finished(how())
    except GatewayError:
        raise
    except Exception as error:
        answer = as_gateway_error(error)
        if answer is None:
            raise
        raise answer from error


async def finished(value: Any) -> Any:
    """What a site's method returns, whether it is async or not."""
    return await value if inspect.isawaitable(value) else value
