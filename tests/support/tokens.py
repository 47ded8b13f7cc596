"""Keys of an issuer, and tokens that it might have signed, or that somebody else has."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

ISSUER = "https://id.example"
NOW = 1_800_000_000

#: Some seconds of computing, once.
RSA, OTHER_RSA = RSAKey.generate_key(2048), RSAKey.generate_key(2048)
EC, ED = ECKey.generate_key("P-256"), OKPKey.generate_key("Ed25519")


def published(key: Key, name: str, **more: Any) -> dict[str, Any]:
    """A public key as an issuer publishes it."""
    return {**key.as_dict(private=False), "kid": name, "use": "sig", **more}


KEY_SET = {"keys": [published(RSA, "rsa"), published(EC, "ec", alg="ES256"), published(ED, "ed")]}

CLAIMS = {
    "iss": ISSUER,
    "aud": "dask-gateway",
    "sub": "4711",
    "preferred_username": "alice",
    "iat": NOW - 10,
    "exp": NOW + 300,
}


def encoded(value: object) -> str:
    """A part of a token: bytes as they are, anything else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(
    claims: object = CLAIMS,
    *,
    key: Any = RSA,
    algorithm: str = "RS256",
    header: Mapping[str, Any] | None = None,
) -> str:
    """A token with a good signature of `key`, whatever it says."""
    head = {"alg": algorithm, "kid": "rsa", "typ": "at+jwt"} if header is None else header
    text = f"{encoded(head)}.{encoded(claims)}"
    return f"{text}.{encoded(JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"
