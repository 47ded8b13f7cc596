"""HTTP Basic credentials out of a header (RFC 7617, in UTF-8 or Latin-1); pure."""

import base64
import binascii

#: Characters of credentials that are looked at.
_LONGEST = 4000


def scheme_of(authorization: str) -> str:
    """The scheme of an Authorization header in lower case, empty when there is none."""
    return authorization.partition(" ")[0].lower()


def basic_credentials(authorization: str) -> tuple[str, str] | None:
    """User and password; None for a header that holds none."""
    kind, _, encoded = authorization.partition(" ")
    if kind.lower() != "basic" or len(encoded) > _LONGEST:
        return None
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):  # no base64, no ASCII
        return None
    try:
        text = credentials.decode()
    except UnicodeDecodeError:  # the published client sends Latin-1, of which every byte is a character
        text = credentials.decode("latin-1")
    name, colon, password = text.partition(":")
    return (name, password) if colon else None
