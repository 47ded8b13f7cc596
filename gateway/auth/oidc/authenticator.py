"""OpenID Connect: people log in at the site's own service, programs send the tokens that it issues.

Programs send an access token (RFC 9068), as `Bearer` or, since that is what the
published client can send, as `jupyterhub`. It is checked here, with the issuer's
public keys: the issuer is asked for keys now and then, and never about a token.
Browsers take the code flow (login.py).
"""

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import structlog
import trio

from gateway.auth.authenticator import Authenticator, Login, LoginStep
from gateway.auth.http_json import JsonClient, client_context
from gateway.auth.oidc.claims import ACCESS_TOKEN, Expected, check_access_token, group_names, user_name
from gateway.auth.oidc.discovery import is_private
from gateway.auth.oidc.issuer import WHOM, Issuer
from gateway.auth.oidc.jwt import ASYMMETRIC, BadToken, read_token
from gateway.auth.oidc.login import Client, begin, finish
from gateway.config.fields import SettingError, configurable, setting
from gateway.errors import BadGateway, TryAgainLater, Unauthorized
from gateway.models import User

if TYPE_CHECKING:
    from quart import Quart, Request

_log = structlog.get_logger()

#: Seconds that a start waits for the issuer, which may be away.
_PATIENCE_AT_START = 5.0


def _check_url(url: str) -> None:
    if url and not is_private(url):
        raise ValueError("must be a URL that begins with https:// (http:// on this machine alone)")


def _check_proxy(url: str) -> None:
    if url and not re.fullmatch(r"http://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?", url):
        raise ValueError("must be http://HOST:PORT")


def _check_algorithms(names: tuple[str, ...]) -> None:
    if not names or set(names) - set(ASYMMETRIC):
        raise ValueError(f"must be some of {', '.join(ASYMMETRIC)}")


def _check_scopes(names: tuple[str, ...]) -> None:
    if "openid" not in names or any(not name or set(name) & set(' "\\') for name in names):
        raise ValueError("must be a list of scopes, 'openid' among them")


def _check_parameters(parameters: Mapping[str, str]) -> None:
    own = {"response_type", "client_id", "redirect_uri", "scope", "state", "nonce"}
    own |= {"code_challenge", "code_challenge_method"}
    if taken := sorted(own & parameters.keys()):
        raise ValueError(f"must leave {', '.join(taken)} to the gateway")


@configurable
class OIDCAuthenticator(Authenticator):
    """The site's login service, by OpenID Connect: a login for browsers, access tokens for programs."""

    schemes: ClassVar[tuple[str, ...]] = ("bearer", "jupyterhub")
    login: ClassVar[Login] = Login.REDIRECT

    issuer: str = setting(
        default="", help="The URL of the issuer of tokens, exactly as it spells it itself.", validator=_check_url
    )
    client_id: str = setting(
        default="",
        help="""The name under which the issuer knows this gateway as a client, for logins with a browser. Empty: there
        are none, only access tokens.""",
    )
    client_secret: str = setting(
        default="", secret=True, help="The secret of that client; empty for a public one (PKCE is used either way)."
    )
    audience: str = setting(
        default="", help="For whom access tokens have to be issued (their claim aud); empty: as client_id."
    )
    scopes: tuple[str, ...] = setting(
        default=("openid", "profile"), help="What is asked for in a login with a browser.", validator=_check_scopes
    )
    username_claim: str = setting(
        default="preferred_username",
        help="""The claim that is the name of the user's account (or what username_map makes one of): its name, or its
        path such as "posix.uid". It must be one that users cannot set themselves.""",
    )
    groups_claim: str = setting(
        default="",
        help="""The claim that lists the user's groups, by its name or path ("realm_access.roles"). Empty: the groups of
        their account on this machine count.""",
    )
    access_token_types: tuple[str, ...] = setting(
        default=(ACCESS_TOKEN,),
        help="""What the header of access tokens says that they are (typ). Many issuers say "JWT"; then audience must be
        set, and be another one than client_id.""",
    )
    algorithms: tuple[str, ...] = setting(
        default=ASYMMETRIC, help="The algorithms by which tokens may be signed.", validator=_check_algorithms
    )
    clock_skew: float = setting(
        default=60.0, minimum=0.0, maximum=600.0, unit="seconds", help="How far the issuer's clock may be off."
    )
    redirect_uri: str = setting(
        default="",
        help="""Where the issuer sends browsers back to, as it is registered there. Empty: PREFIX/login/oidc/callback
        at the address that the browser has used.""",
        validator=_check_url,
    )
    authorization_parameters: Mapping[str, str] = setting(
        factory=dict,
        help='More parameters of a login with a browser, such as {"prompt": "select_account"}.',
        validator=_check_parameters,
    )
    tls_ca: str = setting(
        default="", help="The authorities for the issuer's certificate (a PEM file). Empty: those of this machine."
    )
    http_proxy: str = setting(
        default="",
        help="""The proxy by which this machine reaches the issuer, such as "http://proxy.example:3128". Empty: it is
        reached without one, whatever the environment says.""",
        validator=_check_proxy,
    )
    device_client_id: str = setting(
        default="",
        help="""The public client as which users' programs may log in by the device flow (docs/authentication.md).
        Empty: client_id, if that has no secret.""",
    )
    device_parameters: Mapping[str, str] = setting(
        factory=dict,
        help="""Parameters of the device flow, such as {"scope": "openid profile offline_access", "resource":
        "https://gateway.example"}; which ones make the issuer issue tokens for audience, its manual says.""",
    )

    def __attrs_post_init__(self) -> None:
        """Refuse settings by which an id token could pass for an access token."""
        plain = [name for name in self.access_token_types if name.lower() != ACCESS_TOKEN]
        if plain and self.audience in ("", self.client_id):
            raise SettingError(
                "access_token_types",
                f"has {plain[0]!r}, which id tokens are called as well: audience must be set, and not be the client_id",
            )

    @property
    def challenge(self) -> str:
        """What WWW-Authenticate says."""
        return "Bearer"

    @property
    def brings_groups(self) -> bool:  # type: ignore[override]
        """True when the issuer says which groups count."""
        return bool(self.groups_claim)

    @property
    def fingerprint(self) -> str:
        """Another one for each issuer, and for each claim by which users are known: both say who is who."""
        return hashlib.sha256(f"{self.issuer} {self.username_claim}".encode()).hexdigest()[:16]

    @property
    def login_label(self) -> str:
        """Where one logs in."""
        return "with your site's login service"

    @cached_property
    def logs_in(self) -> Login:
        """By a redirect, if the issuer knows this gateway as a client."""
        return super().logs_in if self.client_id else Login.NONE

    @property
    def public_hints(self) -> Mapping[str, Any]:
        """How programs log in by the device flow; nothing when they cannot."""
        client = self.device_client_id or ("" if self.client_secret else self.client_id)
        if not client:
            return {}
        parameters = {"scope": " ".join(self.scopes), **self.device_parameters}
        return {"device_flow": {"issuer": self.issuer, "client_id": client, "parameters": parameters}}

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """What is not set, a missing package, authorities that cannot be read."""
        if not self.issuer:
            yield "issuer", "must be set, to the URL of the issuer of tokens"
        if not self.audience and not self.client_id:
            yield "audience", "must be set, or client_id: tokens that are for anybody are not for this gateway"
        if self.audience == "account":
            yield (
                "audience",
                "must be an audience of this gateway's own: 'account' is in all access tokens of a Keycloak realm, so"
                " that whatever service gets one could use it here",
            )
        try:
            import joserfc  # noqa: F401
        except ImportError:
            yield "", "OIDCAuthenticator needs the package joserfc: pip install 'dask-gateway-trio[oidc]'"
        try:
            client_context(self.tls_ca)
        except OSError as error:
            yield "tls_ca", f"cannot be used: {error}"

    async def setup(self, app: "Quart") -> None:
        """Get to know the issuer, if it is there."""
        client = JsonClient(WHOM, client_context(self.tls_ca), proxy=self.http_proxy)
        self.use(Issuer(self.issuer, client))
        with trio.move_on_after(_PATIENCE_AT_START):
            try:
                await self._issuer.metadata()
            except (TryAgainLater, BadGateway) as error:
                _log.warning("nobody can log in by OpenID Connect for now", issuer=self.issuer, reason=str(error))

    def use(self, issuer: Issuer) -> None:
        """Believe this issuer from now on."""
        self._issuer = issuer
        self._client = Client(self.client_id, self.client_secret, self.algorithms, self.clock_skew)
        self._expected = Expected(self.issuer, frozenset((self.audience or self.client_id,)), self.clock_skew)

    async def cleanup(self) -> None:
        """Close the connections to the issuer."""
        await self._issuer.client.close()

    async def authenticate(self, request: "Request") -> User:
        """The user of an access token. Raises `Unauthorized`, and `TryAgainLater` without the issuer's keys."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in self.schemes:
            raise Unauthorized(challenge=self.challenge)
        try:
            read = read_token(token.strip(), self.algorithms)
            claims = await self._issuer.claims(read)
            check_access_token(read.type, claims, self._expected, time.time(), self.access_token_types)
            return self._user(claims)
        except BadToken as error:
            raise Unauthorized(str(error), challenge='Bearer error="invalid_token"') from None

    async def begin_login(self, callback: str) -> LoginStep:
        """Where the browser logs in. Raises `TryAgainLater` or `BadGateway`."""
        callback = self.redirect_uri or callback
        return await begin(self._issuer, self._client, callback, self.scopes, self.authorization_parameters)

    async def finish_login(self, callback: str, query: Mapping[str, str], remembered: Mapping[str, str]) -> User:
        """Who is back from there. Raises `Unauthorized`, and `TryAgainLater` or `BadGateway`."""
        callback = self.redirect_uri or callback
        verified = "email_verified" if self.username_claim == "email" else ""
        wanted = [claim for claim in (self.username_claim, self.groups_claim, verified) if claim]
        try:
            claims = await finish(self._issuer, self._client, callback, query, remembered, wanted)
            return self._user(claims)
        except BadToken as error:
            raise Unauthorized(str(error), challenge=self.challenge) from None

    def _user(self, claims: Mapping[str, Any]) -> User:
        groups = group_names(claims, self.groups_claim) if self.groups_claim else frozenset()
        return User(user_name(claims, self.username_claim), groups)
