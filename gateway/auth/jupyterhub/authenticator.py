"""JupyterHub says who asks: by its tokens, which notebooks have, and by its own login, for browsers.

Programs send a token of the Hub's, notebooks the one that they were started with
(`Authorization: jupyterhub <token>`). The Hub is asked whose it is, and whether
it is for this service (hub.py).

Browsers are sent to the Hub's own login (OAuth: oauth.py) and come back with a code, which
buys a token; then the same question is asked. That token is not kept: a session of ours begins.

The gateway may be a service that the Hub starts and has behind its own proxy, or a server
elsewhere. What the Hub tells the services that it starts stands in their environment; options
that are not set are read from there.
"""

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import trio

from gateway.auth.authenticator import Authenticator, Login, LoginStep
from gateway.auth.http_json import JsonClient, client_context
from gateway.auth.jupyterhub.hub import Hub
from gateway.auth.oauth import authorization_url, new_secret, returned_code
from gateway.config.fields import configurable, setting
from gateway.errors import GatewayError, NotFound, Unauthorized
from gateway.models import User
from gateway.user_text import one_line

if TYPE_CHECKING:
    from quart import Quart, Request

#: Seconds that the first look at the Hub may take; the gateway starts without it.
_FIRST_LOOK = 5.0
#: What a token may be. Others would be no header, and what begins like this is somebody else's secret.
_TOKEN = re.compile(r"(?!dgt_|eyJ)[!-~]{1,1000}")
_URL = re.compile(r"https?://[!-~]+")
#: Option → the variable in which the Hub tells its services.
_VARIABLES = {
    "jupyterhub_api_token": "JUPYTERHUB_API_TOKEN",
    "jupyterhub_api_url": "JUPYTERHUB_API_URL",
    "jupyterhub_service_name": "JUPYTERHUB_SERVICE_NAME",
    "oauth_client_id": "JUPYTERHUB_CLIENT_ID",
    "hub_public_url": "JUPYTERHUB_PUBLIC_HUB_URL",
    # Of a Hub with certificates of its own making (internal_ssl).
    "tls_key": "JUPYTERHUB_SSL_KEYFILE",
    "tls_cert": "JUPYTERHUB_SSL_CERTFILE",
    "tls_ca": "JUPYTERHUB_SSL_CLIENT_CA",
}


@configurable
class JupyterHubAuthenticator(Authenticator):
    """Tokens and logins of JupyterHub. In a service that the Hub starts, its environment has what is not set here."""

    schemes: ClassVar[tuple[str, ...]] = ("jupyterhub", "bearer")
    login: ClassVar[Login] = Login.REDIRECT
    brings_groups: ClassVar[bool] = True

    jupyterhub_api_token: str = setting(
        default="",
        secret=True,
        help="""The token of this service, as the Hub's configuration has it (api_token). For logins with a browser
        only: users bring their own. Empty: the environment variable JUPYTERHUB_API_TOKEN.""",
    )
    jupyterhub_api_url: str = setting(
        default="",
        help="""Where the Hub's API is, for example "http://hub.example:8081/hub/api". Empty: the environment variable
        JUPYTERHUB_API_URL.""",
    )
    jupyterhub_service_name: str = setting(
        default="",
        help="""What the gateway is called as a service of the Hub. Empty: the environment variable
        JUPYTERHUB_SERVICE_NAME.""",
    )
    use_service_access_scopes: bool | None = setting(
        default=None,
        help="""True: a token needs the scope "access:services!service=NAME", so that roles of the Hub decide who may
        use the gateway. False: any token of the Hub will do. None: True when the service's name is known.""",
    )
    admins_of_hub: bool = setting(
        default=False,
        help="""Whether administrators of the Hub are administrators of the gateway, who may see and stop the clusters
        of all.""",
    )
    tls_key: str = setting(default="", help="The private key (a PEM file) for asking the Hub, with tls_cert.")
    tls_cert: str = setting(
        default="", help="The certificate (a PEM file) with which the gateway asks a Hub that wants to see one."
    )
    tls_ca: str = setting(
        default="",
        help="""The certificate authorities (a PEM file) of which the Hub's certificate may be. Empty: those that this
        machine trusts.""",
    )
    hub_public_url: str = setting(
        default="",
        help="""Where browsers find the Hub, for example "https://hub.example/hub". Empty: what the Hub tells a service
        that it starts; elsewhere browsers cannot log in.""",
    )
    oauth_client_id: str = setting(
        default="",
        help="""What the gateway is called as an OAuth client of the Hub. Empty: the environment variable
        JUPYTERHUB_CLIENT_ID, or "service-" with the service's name.""",
    )
    oauth_redirect_uri: str = setting(
        default="",
        help="""Where browsers come back to, in the very words of the service's oauth_redirect_uri in the Hub's
        configuration. Empty: the gateway's own /login/jupyterhub/callback, below JUPYTERHUB_SERVICE_PREFIX if the Hub
        has started it, else with the scheme and host of the browser's request.""",
    )

    def __attrs_post_init__(self) -> None:
        """Take what is not set from the environment."""
        for option, variable in _VARIABLES.items():
            if not getattr(self, option):
                object.__setattr__(self, option, os.environ.get(variable, ""))

    @property
    def challenge(self) -> str:
        """As the original's. The published client asks for no more than that there is one, and browsers know it not."""
        return "jupyterhub"

    @property
    def login_label(self) -> str:
        """As the Hub calls itself."""
        return "with JupyterHub"

    @cached_property
    def logs_in(self) -> Login:
        """Where browsers log in; nowhere when it is not known where the Hub is for them, or what we are there."""
        known = self._hub_url and self._client_id and self.jupyterhub_api_token
        return super().logs_in if known else Login.NONE

    # ---- options

    @property
    def _client_id(self) -> str:
        name = self.jupyterhub_service_name
        return self.oauth_client_id or (f"service-{name}" if name else "")

    @property
    def _hub_url(self) -> str:
        """Where browsers find the Hub: a URL, or a path on the same host; empty when that is not known."""
        told = os.environ.get("JUPYTERHUB_BASE_URL", "")
        base = f"{os.environ.get('JUPYTERHUB_HOST', '')}{told.rstrip('/')}/hub" if told else ""
        return (self.hub_public_url or base).rstrip("/")

    def _redirect_uri(self, callback: str) -> str:
        prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "")
        own = f"{prefix.rstrip('/')}/login/{self.name}/callback" if prefix else callback
        return self.oauth_redirect_uri or own

    def find_mistakes(self) -> Iterable[tuple[str, str]]:
        """What is missing, and files that are not what they should be."""
        url = self.jupyterhub_api_url
        if not _URL.fullmatch(url):
            got = f" (it is {one_line(url, 200)!r})" if url else ""
            yield (
                "jupyterhub_api_url",
                'must be the URL of the Hub\'s API, for example "http://hub.example:8081/hub/api"; without it, the'
                f" environment variable JUPYTERHUB_API_URL{got}",
            )
        public = self.hub_public_url
        if public and not _URL.fullmatch(public):
            yield "hub_public_url", f'must be a URL, for example "https://hub.example/hub" (it is {public!r})'
        if self.use_service_access_scopes and not self.jupyterhub_service_name:
            yield "use_service_access_scopes", "needs jupyterhub_service_name: scopes are for a service by its name"
        if self.tls_key and not self.tls_cert:
            yield "tls_key", "needs tls_cert"
        files = {"tls_ca": {"ca": self.tls_ca}, "tls_cert": {"cert": self.tls_cert, "key": self.tls_key}}
        for option, given in files.items():
            try:
                client_context(**given)
            except OSError as error:
                names = " with ".join(filter(None, given.values()))
                yield option, f"cannot be used: {names}: {error.strerror or error}"

    # ---- the beginning and the end

    async def setup(self, app: "Quart") -> None:
        """Get ready to ask the Hub, and have a first look at it."""
        self.use(JsonClient("JupyterHub", client_context(self.tls_ca, self.tls_cert, self.tls_key)))
        await self.look()

    def use(self, client: JsonClient) -> None:
        """Ask the Hub by this client."""
        wanted = self.use_service_access_scopes is not False
        self._hub = Hub(
            client,
            self.jupyterhub_api_url,
            service=self.jupyterhub_service_name if wanted else "",
            admins=self.admins_of_hub,
            max_age=self.cache_max_age,
        )

    async def look(self) -> None:
        """Tell the log what is wrong with the Hub."""
        with trio.move_on_after(_FIRST_LOOK), suppress(GatewayError):  # which the log has
            await self._hub.look(self.jupyterhub_api_token, self.jupyterhub_service_name)

    async def cleanup(self) -> None:
        """Close what is open."""
        await self._hub.close()

    # ---- tokens

    async def authenticate(self, request: "Request") -> User:
        """The user whose token was sent. Raises `Unauthorized`, `TryAgainLater` or `BadGateway`."""
        token = self.get_token(request)
        if not token:
            raise Unauthorized("A token of JupyterHub is needed, as: Authorization: jupyterhub <token>")
        return await self._hub.user_of(token)

    def get_token(self, request: "Request") -> str | None:
        """The token that was sent; for subclasses to read it elsewhere."""
        return _token(request.headers.get("Authorization", ""))

    def user_of(self, authorization: str) -> User | None:
        """The same, if the Hub has just said so, and unless a subclass has a say in it."""
        ours, cls = JupyterHubAuthenticator, type(self)
        if (cls.authenticate, cls.get_token, cls.pre_response) != (
            ours.authenticate,
            ours.get_token,
            ours.pre_response,
        ):
            return None
        token = _token(authorization)
        return self._hub.known_user(token) if token else None

    # ---- browsers

    async def begin_login(self, callback: str) -> LoginStep:
        """To the Hub, whose pages log the user in and send the browser back. Raises `NotFound`."""
        if self.logs_in is Login.NONE:
            raise NotFound("This gateway does not know where JupyterHub's pages are")
        remembered = {"state": new_secret(), "code_verifier": new_secret()}
        url = authorization_url(
            f"{self._hub_url}/api/oauth2/authorize",
            client_id=self._client_id,
            redirect_uri=self._redirect_uri(callback),
            remembered=remembered,
        )
        return LoginStep(url, remembered)

    async def finish_login(self, callback: str, query: Mapping[str, str], remembered: Mapping[str, str]) -> User:
        """Whoever is back with a code. Raises `Unauthorized`, `TryAgainLater` or `BadGateway`."""
        form = {
            "grant_type": "authorization_code",
            "code": returned_code(query, remembered, "JupyterHub"),
            "redirect_uri": self._redirect_uri(callback),
            "client_id": self._client_id,
            "client_secret": self.jupyterhub_api_token,
            "code_verifier": remembered["code_verifier"],
        }
        return await self._hub.user_by_code(form)


def _token(authorization: str) -> str:
    """The token in an Authorization header; empty when there is none that could be the Hub's."""
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    is_token = scheme.lower() in JupyterHubAuthenticator.schemes and _TOKEN.fullmatch(token)
    return token if is_token else ""
