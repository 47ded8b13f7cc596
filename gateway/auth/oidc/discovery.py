"""What an issuer says of itself (OpenID Connect Discovery, RFC 8414), once it is checked; pure.

A document counts only for the issuer that it names: else one issuer could speak
for another (RFC 8414, 3.3). Where secrets go is reached by https, or on this machine.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from gateway.addresses import is_loopback
from gateway.errors import BadGateway
from gateway.user_text import one_line

_BASIC, _POST = "client_secret_basic", "client_secret_post"


@frozen
class Metadata:
    """Where an issuer is asked for what; an empty endpoint is one that it does not have."""

    issuer: str
    keys: str
    authorization: str = ""
    token: str = ""
    user_info: str = ""
    #: Whether it says who it is when it sends a browser back (RFC 9207).
    names_itself: bool = False
    #: Whether it takes a client's secret in an Authorization header, rather than in the form.
    takes_basic: bool = True


def discovery_url(issuer: str) -> str:
    """Where an issuer describes itself."""
    return f"{issuer.removesuffix('/')}/.well-known/openid-configuration"


def is_private(url: str) -> bool:
    """Whether nobody can listen to what is said to this URL: https, or an address of this machine."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if not host or port == 0 or "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url:
        return False
    return parts.scheme == "https" or (
        parts.scheme == "http" and is_loopback(f"[{host}]:0" if ":" in host else f"{host}:0")
    )


def read_metadata(issuer: str, document: Mapping[str, Any]) -> Metadata:
    """What the document of this issuer says. Raises `BadGateway` when it is another's, or cannot be trusted."""
    named = document.get("issuer")
    if named != issuer:
        raise BadGateway(
            f"What answers for the issuer {issuer!r} says that it is {_shown(named)!r}; c.OIDCAuthenticator.issuer has"
            " to be spelled exactly as the issuer spells it"
        )
    keys = _endpoint(document, "jwks_uri")
    if not keys:
        raise BadGateway(f"The issuer {issuer!r} does not say where its keys are (jwks_uri)")
    methods = document.get("token_endpoint_auth_methods_supported")
    return Metadata(
        issuer,
        keys,
        _endpoint(document, "authorization_endpoint"),
        _endpoint(document, "token_endpoint"),
        _endpoint(document, "userinfo_endpoint"),
        document.get("authorization_response_iss_parameter_supported") is True,
        not (isinstance(methods, list) and _POST in methods and _BASIC not in methods),
    )


def _endpoint(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name, "")
    if value and not (isinstance(value, str) and is_private(value)):
        raise BadGateway(
            f"The issuer {document['issuer']!r} names {_shown(value)!r} as its {name}, which is no URL that begins with"
            " https://"
        )
    return value if isinstance(value, str) else ""


def _shown(value: object) -> str:
    return one_line(value, 200) if isinstance(value, str) else "nobody"
