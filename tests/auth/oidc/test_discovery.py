"""What an issuer says of itself."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.oidc.discovery import Metadata, discovery_url, is_private, read_metadata
from gateway.errors import BadGateway
from tests.support.tokens import ISSUER

DOCUMENT = {
    "issuer": ISSUER,
    "jwks_uri": f"{ISSUER}/keys",
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/me",
    "authorization_response_iss_parameter_supported": True,
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    "more": {},
}


@pytest.mark.parametrize("issuer", ["https://id.example/realms/a", "https://id.example/realms/a/"])
def test_where_it_is(issuer: str) -> None:
    assert discovery_url(issuer) == "https://id.example/realms/a/.well-known/openid-configuration"


def test_what_it_says() -> None:
    assert read_metadata(ISSUER, DOCUMENT) == Metadata(
        ISSUER, f"{ISSUER}/keys", f"{ISSUER}/authorize", f"{ISSUER}/token", f"{ISSUER}/me", True, True
    )
    assert read_metadata(ISSUER, {"issuer": ISSUER, "jwks_uri": "https://other.example/keys"}) == Metadata(
        ISSUER, "https://other.example/keys"
    )


@pytest.mark.parametrize("named", [f"{ISSUER}/", "https://evil.example", None, 5, [ISSUER]])
def test_another_issuer(named: object) -> None:
    with pytest.raises(BadGateway, match="spelled exactly"):
        read_metadata(ISSUER, {**DOCUMENT, "issuer": named})


@pytest.mark.parametrize("name", ["jwks_uri", "authorization_endpoint", "token_endpoint", "userinfo_endpoint"])
@pytest.mark.parametrize(
    "url", ["http://id.example/x", "ftp://id.example", "javascript:alert(1)", "x", 5, ["https://a"]]
)
def test_secrets_go_nowhere_else(name: str, url: object) -> None:
    with pytest.raises(BadGateway, match=f"as its {name}, which is no URL that begins with https://"):
        read_metadata(ISSUER, {**DOCUMENT, name: url})


def test_an_issuer_without_keys() -> None:
    with pytest.raises(BadGateway, match="where its keys are"):
        read_metadata(ISSUER, {"issuer": ISSUER})
    with pytest.raises(BadGateway, match="where its keys are"):
        read_metadata(ISSUER, {"issuer": ISSUER, "jwks_uri": None})


@pytest.mark.parametrize(
    ("methods", "takes_basic"),
    [
        (None, True),
        (["client_secret_post"], False),
        (["client_secret_post", "client_secret_basic"], True),
        (["private_key_jwt"], True),
        ("client_secret_post", True),
    ],
)
def test_how_a_client_says_who_it_is(methods: Any, takes_basic: bool) -> None:
    document = {**DOCUMENT, "token_endpoint_auth_methods_supported": methods}
    assert read_metadata(ISSUER, document).takes_basic is takes_basic


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://id.example", True),
        ("https://id.example:8443/realms/a?x=1", True),
        ("http://localhost:3000", True),
        ("http://127.0.0.1:3000/a", True),
        ("http://[::1]:3000", True),
        ("http://id.example", False),
        ("http://localhost.id.example", False),
        ("http://127.0.0.1.example", False),
        ("https://user:secret@id.example", False),
        ("https://", False),
        ("https://id.example:0", False),
        ("https://id.example:99999", False),
        ("https://[::1", False),
        ("https://id.example/a b", False),
        ("https://id.example/\n", False),
        ("https://idé.example", False),
        ("ws://localhost", False),
        ("", False),
    ],
)
def test_where_nobody_listens(url: str, private: bool) -> None:
    assert is_private(url) is private


@given(st.dictionaries(st.sampled_from(list(DOCUMENT)), st.none() | st.booleans() | st.text() | st.lists(st.text())))
def test_any_document(changed: dict[str, Any]) -> None:
    try:
        metadata = read_metadata(ISSUER, {**DOCUMENT, **changed})
    except BadGateway:
        return
    assert metadata.issuer == ISSUER
    assert all(not url or is_private(url) for url in (metadata.keys, metadata.token, metadata.user_info))
