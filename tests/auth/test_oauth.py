"""The way to whoever knows the user, and back."""

from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.auth.oauth import authorization_url, code_challenge, new_secret, returned_code
from gateway.errors import Unauthorized

REMEMBERED = {"state": "s" * 43, "code_verifier": "v" * 43}


def test_the_challenge_of_the_standard() -> None:
    # RFC 7636, appendix B
    assert (
        code_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


def test_secrets_are_as_the_standard_wants_them() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(secret) for secret in secrets} == {43}


@pytest.mark.parametrize("endpoint", ["https://hub/authorize", "https://hub/authorize?tenant=a"])
def test_the_way_there(endpoint: str) -> None:
    url = authorization_url(
        endpoint, client_id="service-x", redirect_uri="https://g/cb?a=b", remembered=REMEMBERED, scope="openid a"
    )
    assert url.startswith(endpoint)
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query, strict_parsing=True).items()}
    query.pop("tenant", None)
    assert query == {
        "response_type": "code",
        "client_id": "service-x",
        "redirect_uri": "https://g/cb?a=b",
        "state": REMEMBERED["state"],
        "code_challenge": code_challenge(REMEMBERED["code_verifier"]),
        "code_challenge_method": "S256",
        "scope": "openid a",
    }


def test_the_way_back() -> None:
    assert returned_code({"code": "c", "state": REMEMBERED["state"]}, REMEMBERED, "The Hub") == "c"


@pytest.mark.parametrize(
    ("query", "remembered", "reason"),
    [
        ({"code": "c"}, REMEMBERED, "begun in another browser"),
        ({"code": "c", "state": "other"}, REMEMBERED, "begun in another browser"),
        ({"code": "c", "state": ""}, {"state": ""}, "begun in another browser"),
        ({"code": "c", "state": ""}, {}, "begun in another browser"),
        # What a stranger's link says is not shown to anybody.
        ({"error": "x", "error_description": "call 555"}, REMEMBERED, "begun in another browser"),
        ({"state": REMEMBERED["state"]}, REMEMBERED, "without a code"),
        ({"error": "access_denied", "state": REMEMBERED["state"]}, REMEMBERED, "The Hub.*: the login was declined"),
        ({"error": "odd\x1b[2J", "state": REMEMBERED["state"]}, REMEMBERED, "The Hub has not logged you in: odd$"),
        (
            {"error": "odd", "error_description": "be\nbetter", "state": REMEMBERED["state"]},
            REMEMBERED,
            "be better",
        ),
    ],
)
def test_what_is_no_way_back(query: dict[str, str], remembered: dict[str, str], reason: str) -> None:
    with pytest.raises(Unauthorized, match=reason):
        returned_code(query, remembered, "The Hub")
