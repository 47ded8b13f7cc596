"""Personal tokens as text, `dgt_<id>_<secret><checksum>`, and where they stand in a header; pure.

By its prefix a token that has leaked is found by whoever scans code and logs.
The checksum tells it from what only looks like one, and a typo from a token
that was revoked, without asking anybody. The id is no secret: lists and log
lines name the token by it. Letters, digits and underscores are one word for a
double click.
"""

import hashlib
import re
import string
import zlib

from attrs import field, frozen

from gateway.auth.basic import basic_credentials, scheme_of

PREFIX = "dgt_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_LENGTH = 10
#: Characters of the secret: as many as hold 32 random bytes.
SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
_TOKEN = re.compile(f"({PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH}}})[0-9A-Za-z]{{6}}")
#: Schemes whose credentials may be a token; the published client sends any token as the second.
_BEARERS = frozenset(("bearer", "jupyterhub"))


@frozen
class Presented:
    """A token that came with a request, and the user's name beside it, None when there is no place for one.

    `misplaced`: it stands where the user's name should.
    """

    text: str = field(repr=False)
    claimed: str | None = None
    misplaced: bool = False


def presented(authorization: str) -> Presented | None:
    """The token in an Authorization header, well-formed or not; None when these credentials are none."""
    scheme = scheme_of(authorization)
    if scheme in _BEARERS:
        text = authorization[len(scheme) :].strip()
        return Presented(text) if text.startswith(PREFIX) else None
    credentials = basic_credentials(authorization)
    if credentials is None:
        return None
    name, password = credentials
    if name.startswith(PREFIX):  # and not into a log as the name of somebody
        return Presented(name, misplaced=True)
    return Presented(password.strip(), name) if password.startswith(PREFIX) else None


def written(id: str, secret: str) -> str:
    """The whole token."""
    return _with_checksum(f"{PREFIX}{id}_{secret}")


def id_of(text: str) -> str | None:
    """The id of a token; None when the text is none, or one with a typo."""
    match = _TOKEN.fullmatch(text)
    return match[2] if match is not None and _with_checksum(match[1]) == text else None


def digest_of(text: str) -> str:
    """What is kept of a token: 256 random bits need no salt, and no slow hash."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _with_checksum(text: str) -> str:
    number = zlib.crc32(text.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return text + digits
