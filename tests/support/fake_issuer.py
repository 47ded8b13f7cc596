"""An issuer in memory: its documents, its keys, and what it answers when a code is redeemed."""

from typing import Any

from gateway.auth.http_json import JsonClient
from gateway.auth.oidc.issuer import WHOM, Issuer
from gateway.auth.oidc.published import Ages
from tests.support.fake_http import Asked, FakeServer
from tests.support.tokens import ISSUER, KEY_SET


class FakeIssuer(FakeServer):
    """Answers as its attributes say; `answers` has answers by path that take their place."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.document: dict[str, Any] = {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}/keys",
            "authorization_endpoint": f"{ISSUER}/authorize",
            "token_endpoint": f"{ISSUER}/token",
            "userinfo_endpoint": f"{ISSUER}/me",
        }
        self.keys: dict[str, Any] = KEY_SET
        self.tokens: dict[str, Any] = {}
        self.user_info: dict[str, Any] = {}
        self.answers: dict[str, Any] = {}

    def _answer(self, asked: Asked) -> Any:
        documents = {
            "/.well-known/openid-configuration": self.document,
            "/keys": self.keys,
            "/token": self.tokens,
            "/me": self.user_info,
        }
        return self.answers.get(asked.target, (200, documents.get(asked.target)))

    def of(self, path: str) -> list[Asked]:
        """What was asked at this path."""
        return [asked for asked in self.asked if asked.target == path]

    def issuer(self, ages: Ages | None = None) -> Issuer:
        """The gateway's side of it."""
        return Issuer(ISSUER, JsonClient(WHOM, network=self), ages)
