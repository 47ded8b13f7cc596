"""Signed JSON Web Tokens (RFC 7515, RFC 7519) as texts: what one says of itself before it is believed; pure.

Only what is needed of them, and strictly: the compact form with three parts,
algorithms with a public key, a key that is named. What a header says about
where to find a key (`jku`, `x5u`, `jwk`, `x5c`) is never looked at. The
signature is checked in signing_keys.py, the claims in token_claims.py.
"""

import base64
import binascii
from collections.abc import Collection, Mapping
from typing import Any

import orjson
from attrs import field, frozen

from gateway.user_text import one_line

#: Characters of a token; those of large sites, with hundreds of groups, have some ten thousand.
LONGEST = 16 * 1024

#: Algorithms with a public key (RFC 7518, RFC 8037, RFC 9864). Whoever knows a public key can sign with none of them.
ASYMMETRIC = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)


class BadToken(Exception):
    """Nobody is known by this token; the text is a sentence that says why, without the token."""


@frozen
class SignedToken:
    """The parts of a token whose signature is not checked yet."""

    algorithm: str
    key_id: str
    type: str
    payload: bytes = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def claims(self) -> Mapping[str, Any]:
        """What the token says, once its signature is good. Raises `BadToken`."""
        return _object(self.payload, "content")


def read_token(token: str, algorithms: Collection[str]) -> SignedToken:
    """The parts of a token that is signed by one of these algorithms. Raises `BadToken`."""
    if len(token) > LONGEST:
        raise BadToken(f"The token has more than {LONGEST} characters")
    parts = token.split(".")
    if len(parts) == 5:
        raise BadToken("The token is encrypted: the issuer has to give this gateway tokens that are only signed")
    if len(parts) != 3:
        raise BadToken("The token is no signed JSON Web Token")
    head, payload, signature = (_decoded(part) for part in parts)
    header = _object(head, "header")
    algorithm = _text(header, "alg")
    if algorithm.lower() == "none" or not signature:
        raise BadToken("The token is not signed")
    if algorithm not in ASYMMETRIC or algorithm not in algorithms:
        raise BadToken(f"The token is signed with {_shown(algorithm)}, which is not accepted here")
    if "crit" in header or "b64" in header:
        raise BadToken("The token uses an extension of its format that is not known here")
    key_id = _text(header, "kid")
    if not key_id:
        raise BadToken("The token does not name the key that it is signed with")
    signed = token.rpartition(".")[0].encode("ascii")
    return SignedToken(algorithm, key_id, _text(header, "typ"), payload, signed, signature)


def _decoded(part: str) -> bytes:
    """Base64 for URLs without padding, and nothing that only looks like it."""
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = None
    if data is None or base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode():
        raise BadToken("The token is no signed JSON Web Token")
    return data


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise BadToken(f"The token's {what} is no JSON object")
    return value


def _text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name, "")
    if not isinstance(value, str):
        raise BadToken(f"The token's header has a {name} that is no text")
    return value


def _shown(text: object) -> str:
    return one_line(str(text), 60) or "nothing"
