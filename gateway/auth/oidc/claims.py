"""What a token has to say to be believed, once its signature is good, and whom it then means; pure.

Two kinds are told apart. An access token (RFC 9068) is meant for this gateway and
is what programs send. An id token says to the gateway, as the client of a
login, who has logged in; it is for nobody else, and opens nothing when somebody
sends it. An issuer that calls access tokens plain "JWT" (many do) needs that
said in the configuration; its id tokens are then recognised by what only they have.

A user is one claim of one issuer. No accounts are linked by e-mail, which others
than the issuer could give and take.
"""

from collections.abc import Collection, Mapping
from typing import Any

from attrs import frozen

from gateway.auth.oidc.jwt import BadToken
from gateway.auth.secret_compare import same_secret
from gateway.user_text import one_line

#: What the header of an access token says that it is.
ACCESS_TOKEN = "at+jwt"  # noqa: S105 (a type of tokens)
#: Claims that id tokens have, and access tokens do not.
_ONLY_IN_ID_TOKENS = ("nonce", "at_hash", "c_hash")


@frozen
class Expected:
    """What this gateway takes: tokens of this issuer, for one of these audiences, by a clock that is off this much."""

    issuer: str
    audiences: frozenset[str]
    clock_skew: float = 60.0


def check_access_token(
    kind: str, claims: Mapping[str, Any], expected: Expected, now: float, kinds: Collection[str] = (ACCESS_TOKEN,)
) -> None:
    """Whether a token with these claims is an access token for us, now (seconds since 1970). Raises `BadToken`.

    `kind` is the type that its header says, `kinds` those that this issuer gives to access tokens.
    """
    name = kind.lower().removeprefix("application/")
    if name not in {one.lower() for one in kinds}:
        raise BadToken(
            f"The token is of the type {_shown(kind)!r} and not an access token ({' or '.join(kinds)}); an issuer that"
            " calls its access tokens otherwise needs c.OIDCAuthenticator.access_token_types"
        )
    if name != ACCESS_TOKEN and _is_id_token(claims):
        raise BadToken("The token is an id token, which says to a client who has logged in; send an access token")
    _check_common(claims, expected, now)


def check_id_token(claims: Mapping[str, Any], expected: Expected, now: float, *, nonce: str) -> None:
    """Whether an id token with these claims answers the login with this nonce. Raises `BadToken`.

    `expected` has one audience, the client.
    """
    _check_common(claims, expected, now)
    audiences = _audiences(claims)
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") not in expected.audiences:
        raise BadToken("The id token was given to another client")
    said = claims.get("nonce")
    if not isinstance(said, str) or not nonce or not same_secret(said, nonce):
        raise BadToken("The id token belongs to another login")


def _is_id_token(claims: Mapping[str, Any]) -> bool:
    return claims.get("typ") == "ID" or any(name in claims for name in _ONLY_IN_ID_TOKENS)


def _check_common(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    issuer = claims.get("iss")
    if issuer != expected.issuer:
        raise BadToken(f"The token was issued by {_shown(issuer)!r}, not by {expected.issuer!r}")
    audiences = _audiences(claims)
    if not audiences & expected.audiences:
        theirs = ", ".join(sorted(map(repr, map(_shown, audiences)))) or "nobody"
        raise BadToken(f"The token is for {theirs}, not for {' or '.join(map(repr, sorted(expected.audiences)))}")
    expires = _time(claims, "exp")
    if expires is None:
        raise BadToken("The token never expires, which is not accepted here")
    if now >= expires + expected.clock_skew:
        raise BadToken(f"The token has expired {_ago(now - expires)} ago")
    begins = _time(claims, "nbf")
    if begins is not None and now < begins - expected.clock_skew:
        raise BadToken("The token is not valid yet; the clocks of issuer and gateway may differ")
    issued = _time(claims, "iat")
    if issued is not None and now < issued - expected.clock_skew:
        raise BadToken("The token was issued in the future; the clocks of issuer and gateway may differ")


def _audiences(claims: Mapping[str, Any]) -> frozenset[str]:
    value = claims.get("aud")
    values = value if isinstance(value, list) else [value]
    return frozenset(one for one in values if isinstance(one, str))


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Seconds since 1970; None without the claim. Raises `BadToken`."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadToken(f"The token has a claim {name} that is no time")
    return float(value)


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, or by its path (`realm_access.roles`) when there is none of that name; None without it."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def user_name(claims: Mapping[str, Any], claim: str) -> str:
    """The user's name in these claims. Raises `BadToken` when they do not say it."""
    name = find_claim(claims, claim)
    if not isinstance(name, str) or not name:
        there = one_line(", ".join(sorted(claims)), 200)
        raise BadToken(
            f"The issuer does not say {claim!r}, by which users are known here (it says {there}); either it has to, or"
            " c.OIDCAuthenticator.username_claim has to be another claim"
        )
    if claim == "email" and claims.get("email_verified") is not True:
        raise BadToken("The issuer does not say that it has verified the user's e-mail address")
    return name


def group_names(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    """The user's groups; none when the claims do not say any, or not as a list of names."""
    groups = find_claim(claims, claim)
    return frozenset(group for group in groups if isinstance(group, str)) if isinstance(groups, list) else frozenset()


def _shown(value: object) -> str:
    return one_line(str(value), 100) if isinstance(value, str) else "nobody"
