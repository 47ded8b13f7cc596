"""Tokens of Kerberos in the headers of HTTP (RFC 4559); pure."""

import base64
import binascii

from gateway.errors import Unauthorized

CHALLENGE = "Negotiate"
#: Characters. Tickets of Windows with all that they may carry have 64,000 (MaxTokenSize).
_LONGEST = 65_536


def challenge_with(token: bytes) -> str:
    """The value of WWW-Authenticate that takes a token to the client's library; there may be none."""
    return f"{CHALLENGE} {base64.b64encode(token).decode()}" if token else CHALLENGE


def token_of(authorization: str) -> bytes:
    """The token in the value of Authorization. Raises `Unauthorized`."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != CHALLENGE.lower():
        raise Unauthorized(challenge=CHALLENGE)
    if len(encoded) > _LONGEST:
        raise Unauthorized("The token in the header Authorization: Negotiate is too long", challenge=CHALLENGE)
    try:
        token = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):  # no base64, no ASCII
        raise Unauthorized("The header Authorization: Negotiate holds no base64", challenge=CHALLENGE) from None
    if not token:
        raise Unauthorized("The header Authorization: Negotiate holds no token", challenge=CHALLENGE)
    return token
