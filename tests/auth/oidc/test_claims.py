"""What tokens say, and whether it is enough."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.oidc.claims import (
    Expected,
    check_access_token,
    check_id_token,
    find_claim,
    group_names,
    user_name,
)
from gateway.auth.oidc.jwt import BadToken
from tests.support.tokens import CLAIMS, ISSUER, NOW

EXPECTED = Expected(ISSUER, frozenset({"dask-gateway"}))
CLIENT = Expected(ISSUER, frozenset({"the-client"}))
ID_CLAIMS = {**CLAIMS, "aud": "the-client", "nonce": "n1"}


@pytest.mark.parametrize("kind", ["at+jwt", "application/at+jwt", "AT+JWT"])
@pytest.mark.parametrize("audience", ["dask-gateway", ["other", "dask-gateway"]])
def test_an_access_token(kind: str, audience: object) -> None:
    check_access_token(kind, {**CLAIMS, "aud": audience}, EXPECTED, NOW)


@pytest.mark.parametrize("kind", ["", "JWT", "at", "id+jwt", "logout+jwt", "application/application/at+jwt"])
def test_other_types(kind: str) -> None:
    with pytest.raises(BadToken, match="not an access token"):
        check_access_token(kind, CLAIMS, EXPECTED, NOW)


def test_an_issuer_that_calls_them_otherwise() -> None:
    check_access_token("JWT", CLAIMS, EXPECTED, NOW, ("at+jwt", "jwt"))
    for claims in ({"nonce": "n"}, {"at_hash": "h"}, {"c_hash": "h"}, {"typ": "ID"}):
        with pytest.raises(BadToken, match="is an id token"):
            check_access_token("JWT", {**CLAIMS, **claims}, EXPECTED, NOW, ("at+jwt", "JWT"))
    check_access_token("JWT", {**CLAIMS, "typ": "Bearer"}, EXPECTED, NOW, ("JWT",))
    check_access_token("at+jwt", {**CLAIMS, "nonce": "n"}, EXPECTED, NOW, ("JWT", "at+jwt"))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://id.example/"}, "issued by 'https://id.example/', not by 'https://id.example'"),
        ({"iss": None}, "issued by 'nobody'"),
        ({"iss": [ISSUER]}, "issued by 'nobody'"),
        ({"aud": "other"}, "is for 'other', not for 'dask-gateway'"),
        ({"aud": ["b", "a", 5]}, "is for 'a', 'b', not for"),
        ({"aud": "dask-gateway-2"}, "not for 'dask-gateway'"),
        ({"aud": []}, "is for nobody"),
        ({"aud": None}, "is for nobody"),
        ({"aud": {"dask-gateway": 1}}, "is for nobody"),
        ({"exp": NOW - 60}, "has expired 60 seconds ago"),
        ({"exp": NOW - 7200}, "has expired 120 minutes ago"),
        ({"exp": True}, "exp that is no time"),
        ({"exp": str(NOW + 300)}, "exp that is no time"),
        ({"exp": None}, "exp that is no time"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"nbf": "soon"}, "nbf that is no time"),
        ({"iat": NOW + 61}, "issued in the future"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadToken, match=reason):
        check_access_token("at+jwt", {**CLAIMS, **changed}, EXPECTED, NOW)


def test_a_token_without_an_end() -> None:
    with pytest.raises(BadToken, match="never expires"):
        check_access_token("at+jwt", {"iss": ISSUER, "aud": "dask-gateway"}, EXPECTED, NOW)


def test_clocks_may_differ() -> None:
    check_access_token("at+jwt", {**CLAIMS, "exp": NOW - 59, "nbf": NOW + 60, "iat": NOW + 60}, EXPECTED, NOW)
    with pytest.raises(BadToken, match="expired 59 seconds"):
        check_access_token("at+jwt", {**CLAIMS, "exp": NOW - 59}, Expected(ISSUER, EXPECTED.audiences, 5), NOW)
    check_access_token("at+jwt", {"iss": ISSUER, "aud": "dask-gateway", "exp": NOW + 0.5}, EXPECTED, NOW)


def test_an_id_token() -> None:
    check_id_token(ID_CLAIMS, CLIENT, NOW, nonce="n1")
    check_id_token({**ID_CLAIMS, "aud": ["the-client", "b"], "azp": "the-client"}, CLIENT, NOW, nonce="n1")


@pytest.mark.parametrize(
    ("changed", "nonce", "reason"),
    [
        ({"aud": "dask-gateway"}, "n1", "not for 'the-client'"),
        ({"aud": ["the-client", "b"]}, "n1", "another client"),
        ({"azp": "b"}, "n1", "another client"),
        ({"azp": None}, "n1", "another client"),
        ({}, "n2", "another login"),
        ({}, "", "another login"),
        ({"nonce": ""}, "", "another login"),
        ({"nonce": None}, "n1", "another login"),
        ({"nonce": 1}, "n1", "another login"),
        ({"exp": NOW - 100}, "n1", "expired"),
    ],
)
def test_id_tokens_that_are_refused(changed: dict[str, Any], nonce: str, reason: str) -> None:
    with pytest.raises(BadToken, match=reason):
        check_id_token({**ID_CLAIMS, **changed}, CLIENT, NOW, nonce=nonce)


def test_whom_it_means() -> None:
    assert user_name(CLAIMS, "preferred_username") == "alice"
    assert user_name({"ext": {"posix": {"uid": "bob"}}}, "ext.posix.uid") == "bob"
    assert user_name({"https://site/uid": "carol"}, "https://site/uid") == "carol"
    assert user_name({"a.b": "dora", "a": {"b": "eve"}}, "a.b") == "dora"


@pytest.mark.parametrize("claims", [{}, {"name": ""}, {"name": 7}, {"name": ["a"]}, {"name": {"x": "a"}}])
def test_nobody(claims: dict[str, Any]) -> None:
    with pytest.raises(BadToken, match="does not say 'name'"):
        user_name(claims, "name")
    assert find_claim(claims, "name.y.z") is None


@pytest.mark.parametrize("verified", [{}, {"email_verified": False}, {"email_verified": "true"}, {"email_verified": 1}])
def test_an_address_that_nobody_has_verified(verified: dict[str, Any]) -> None:
    with pytest.raises(BadToken, match="verified the user's e-mail"):
        user_name({"email": "alice@site.example", **verified}, "email")


def test_an_address_that_was_verified() -> None:
    assert user_name({"email": "alice@site.example", "email_verified": True}, "email") == "alice@site.example"


def test_groups() -> None:
    assert group_names({"groups": ["a", "b", 5, None]}, "groups") == {"a", "b"}
    assert group_names({"realm_access": {"roles": ["r"]}}, "realm_access.roles") == {"r"}
    for claims in ({}, {"groups": "a b"}, {"groups": None}, {"groups": {"a": 1}}):
        assert group_names(claims, "groups") == frozenset()


@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "typ", "azp"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        ),
    )
)
def test_no_claims_make_it_stumble(claims: dict[str, Any]) -> None:
    with pytest.raises(BadToken):
        check_access_token(
            "at+jwt", {**CLAIMS, "aud": "other", **claims}, Expected("https://x", frozenset({"x y"})), NOW
        )
