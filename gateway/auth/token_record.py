"""What is kept of a personal token, as what it may be made, and how it is told; pure.

Times are milliseconds since 1970, as everywhere on the wire and on record.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import field, fields, frozen

from gateway.config.structure import shown
from gateway.errors import InvalidRequest
from gateway.models import Document

#: The kind of the documents in the store.
KIND = "token"
#: All that one may do with clusters; only look; `/metrics` and nothing else.
CLUSTERS, READ, METRICS = "clusters", "read", "metrics"
#: Those that users give to tokens of their own, and that administrators give.
SCOPES, ALL_SCOPES = (CLUSTERS, READ), (CLUSTERS, READ, METRICS)
#: Characters of a label.
LONGEST_LABEL = 100
DAY = 24 * 3600
#: Seconds that a token lives when nobody says for how long.
USUAL_LIFE = 30 * DAY
#: Seconds that an administrator may give one.
LONGEST_LIFE = 3660 * DAY


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen(kw_only=True)
class Token:
    """A token without its secret.

    `method` is how its owner was authenticated, as sessions say it; empty when an administrator has (`made_by`).
    `groups` are those of its owner's that only that authenticator knows of.
    """

    id: str
    user: str
    groups: frozenset[str] = field(default=frozenset(), converter=_names)
    method: str = ""
    made_by: str = ""
    scopes: frozenset[str] = field(converter=_names)
    label: str = ""
    made: int
    expires: int
    digest: str = field(repr=False)

    @property
    def may_change(self) -> bool:
        """False when it may only read."""
        return CLUSTERS in self.scopes

    @property
    def may_look(self) -> bool:
        """False when it is for `/metrics` alone."""
        return self.may_change or READ in self.scopes

    def ends(self, longest: int) -> int:
        """When it ends, if users' tokens live for so many seconds at most, those included that are there already."""
        return self.expires if not self.method else min(self.expires, self.made + longest * 1000)


@frozen
class Wish:
    """What somebody wants of a new token; it lives for so many seconds."""

    label: str
    scopes: frozenset[str]
    seconds: int


def wish(label: object, scopes: object, expires_in: object, *, longest: int, allowed: Sequence[str] = SCOPES) -> Wish:
    """What was asked for; None stands for what is usual. Raises `InvalidRequest`.

    `longest` is how many seconds a token may live here, `allowed` the scopes that whoever asks may give it.
    """
    return Wish(_label(label), _scopes(scopes, allowed), _seconds(expires_in, longest))


def _label(label: object) -> str:
    if label is None:
        return ""
    if not isinstance(label, str) or not label.isprintable() or len(label.strip()) > LONGEST_LABEL:
        raise InvalidRequest(
            f"Field 'label' is {shown(label)}, expected one line of at most {LONGEST_LABEL} characters"
        )
    return label.strip()


def _scopes(scopes: object, allowed: Sequence[str]) -> frozenset[str]:
    if scopes is None:
        return frozenset((CLUSTERS,))
    if not isinstance(scopes, list) or not scopes or not all(scope in allowed for scope in scopes):
        raise InvalidRequest(f"Field 'scopes' is {shown(scopes)}, expected a list of some of {', '.join(allowed)}")
    return frozenset(scopes)


def _seconds(expires_in: object, longest: int) -> int:
    if longest <= 0:
        raise InvalidRequest("Personal tokens cannot be made here: c.DaskGateway.token_max_age is 0")
    if expires_in is None:
        return min(USUAL_LIFE, longest)
    if type(expires_in) is not int or not 0 < expires_in <= longest:
        raise InvalidRequest(
            f"Field 'expires_in' is {shown(expires_in)}, expected a number of seconds up to {longest}"
            f" ({longest / DAY:g} days, the longest life of a personal token here)"
        )
    return expires_in


def to_document(token: Token, used: int | None) -> Document:
    """How a token is stored, with when it was last used, if ever."""
    content = {
        "user": token.user,
        "groups": sorted(token.groups),
        "method": token.method,
        "made_by": token.made_by,
        "scopes": sorted(token.scopes),
        "label": token.label,
        "made": token.made,
        "expires": token.expires,
        "digest": token.digest,
        "used": used,
    }
    return Document(KIND, token.id, content)


def from_document(document: Document) -> tuple[Token, int | None]:
    """A stored token, and when it was last used."""
    known = {field.name: document.content[field.name] for field in fields(Token) if field.name in document.content}
    return Token(id=document.name, **known), document.content["used"]


def report(token: Token, *, ends: int, used: int | None, state: str) -> dict[str, Any]:
    """A token as lists show it."""
    return {
        "id": token.id,
        "user": token.user,
        "label": token.label,
        "scopes": sorted(token.scopes),
        "created": token.made,
        "created_by": token.made_by or None,
        "expires": ends,
        "last_used": used,
        "state": state,
    }
