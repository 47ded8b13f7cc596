"""The issuer of tokens: what it says of itself, its keys, and whether it has signed a token.

Both are asked for when they are first needed, and again now and then; an issuer
that is away at the start, or later, keeps nobody out whose token can be checked
with the keys that are known.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from gateway.auth.http_json import Answer, Away, JsonClient
from gateway.auth.oidc.discovery import Metadata, discovery_url, read_metadata
from gateway.auth.oidc.jwt import SignedToken
from gateway.auth.oidc.published import Ages, Published
from gateway.auth.oidc.signing_keys import SigningKeys, UnknownKey
from gateway.errors import BadGateway
from gateway.log import RateLimitedLog

T = TypeVar("T")

#: What users know it by, at the beginning of a sentence.
WHOM = "The site's login service"


class Issuer:
    """Asks one issuer, by `client`."""

    def __init__(self, url: str, client: JsonClient, ages: Ages | None = None) -> None:
        self.url = url
        self.client = client
        self._log = RateLimitedLog(seconds=10.0)
        self._metadata = Published(partial(self._noted, self._ask_metadata), ages)
        self._keys = Published(partial(self._noted, self._ask_keys), ages)

    async def metadata(self) -> Metadata:
        """Where it is asked for what. Raises `TryAgainLater` or `BadGateway`."""
        return await self._metadata.get()

    async def claims(self, token: SignedToken) -> Mapping[str, Any]:
        """What a token says that it has signed. Raises `BadToken`, and `TryAgainLater` or `BadGateway`."""
        keys = await self._keys.get()
        try:
            return keys.claims(token)
        except UnknownKey:  # it may have a new one
            newer = await self._keys.get_now()
        return newer.claims(token)

    async def _noted(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns. An issuer that is away is in the log already."""
        try:
            return await ask()
        except BadGateway as error:
            self._log.warning("the issuer of tokens cannot be used", issuer=self.url, reason=str(error))
            raise

    async def _ask_metadata(self) -> Metadata:
        answer = await self.client.get(discovery_url(self.url))
        return read_metadata(self.url, expected(answer, "what it is").json())

    async def _ask_keys(self) -> SigningKeys:
        metadata = await self._metadata.get()
        answer = await self.client.get(metadata.keys)
        keys = SigningKeys(expected(answer, "its keys").json())
        if not len(keys):
            raise BadGateway(f"{WHOM} publishes no key that can be used")
        return keys


def expected(answer: Answer, what: str) -> Answer:
    """The answer, when it is one. Raises `BadGateway`, and `Away` for an error that may pass."""
    if answer.status in (429, 502, 503, 504):
        raise Away(f"{WHOM} is overloaded or away (it answers with {answer.status}); please try again later")
    if answer.status != 200:
        raise BadGateway(f"{WHOM} does not say {what}: it answers with {answer.status}")
    return answer
