"""Tokens whose signature is good, and all the ways in which one is not."""

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from gateway.auth.oidc.jwt import ASYMMETRIC, LONGEST, BadToken, read_token
from gateway.auth.oidc.signing_keys import MOST_KEYS, SigningKeys, UnknownKey
from tests.support.tokens import CLAIMS, EC, ED, KEY_SET, OTHER_RSA, RSA, encoded, published, signed

KEYS = SigningKeys(KEY_SET)


def claims_of(token: str, keys: SigningKeys = KEYS, algorithms: tuple[str, ...] = ASYMMETRIC) -> object:
    return keys.claims(read_token(token, algorithms))


def header(algorithm: str, key: str, **more: Any) -> dict[str, Any]:
    return {"alg": algorithm, "kid": key, "typ": "at+jwt", **more}


@pytest.mark.parametrize(
    ("algorithm", "key", "name"),
    [
        ("RS256", RSA, "rsa"),
        ("RS512", RSA, "rsa"),
        ("PS256", RSA, "rsa"),
        ("ES256", EC, "ec"),
        ("EdDSA", ED, "ed"),
        ("Ed25519", ED, "ed"),
    ],
)
def test_what_the_issuer_has_signed(algorithm: str, key: Any, name: str) -> None:
    token = signed(key=key, algorithm=algorithm, header=header(algorithm, name))
    assert claims_of(token) == CLAIMS
    read = read_token(token, ASYMMETRIC)
    assert (read.algorithm, read.key_id, read.type) == (algorithm, name, "at+jwt")
    with pytest.raises(BadToken, match="signature is wrong"):
        claims_of(token[:-6] + ("AAAAAA" if not token.endswith("AAAAAA") else "BBBBBB"))


def test_the_public_key_as_a_shared_secret() -> None:
    """Algorithm confusion: whoever takes HS256 would check it with the key that everybody has."""
    for secret in (RSA.as_pem(private=False), RSA.as_der(private=False), encoded(RSA.as_dict(private=False)).encode()):
        text = f"{encoded(header('HS256', 'rsa'))}.{encoded(CLAIMS)}"
        token = f"{text}.{encoded(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"
        with pytest.raises(BadToken, match="signed with HS256, which is not accepted here"):
            claims_of(token)
        with pytest.raises(BadToken, match="not accepted"):
            claims_of(token, algorithms=("HS256", "RS256"))


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE"])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_no_signature(algorithm: str, signature: str) -> None:
    with pytest.raises(BadToken, match="The token is not signed"):
        claims_of(f"{encoded(header(algorithm, 'rsa'))}.{encoded(CLAIMS)}.{signature}", algorithms=(algorithm,))


def test_an_empty_signature() -> None:
    with pytest.raises(BadToken, match="not signed"):
        claims_of(f"{encoded(header('RS256', 'rsa'))}.{encoded(CLAIMS)}.")


def test_another_key_of_the_same_name() -> None:
    with pytest.raises(BadToken, match="signature is wrong"):
        claims_of(signed(key=OTHER_RSA))


def test_keys_that_the_token_brings_along() -> None:
    own = {"jwk": OTHER_RSA.as_dict(private=False), "jku": "https://evil.example/keys", "x5u": "https://evil.example/c"}
    with pytest.raises(BadToken, match="signature is wrong"):
        claims_of(signed(key=OTHER_RSA, header=header("RS256", "rsa", **own)))
    assert claims_of(signed(header=header("RS256", "rsa", x5t="abc", odd=1, **own))) == CLAIMS


def test_a_key_with_an_algorithm_of_another_kind() -> None:
    for algorithm, name in (("ES256", "rsa"), ("RS256", "ec"), ("RS256", "ed"), ("ES384", "ec")):
        with pytest.raises(BadToken, match="for which its key is not meant"):
            claims_of(f"{encoded(header(algorithm, name))}.{encoded(CLAIMS)}.AAAA")
    keys = SigningKeys({"keys": [published(RSA, "rsa", alg="PS256")]})
    with pytest.raises(BadToken, match="not meant"):
        claims_of(signed(), keys)


def test_an_algorithm_that_is_not_in_the_list() -> None:
    with pytest.raises(BadToken, match="RS256, which is not accepted"):
        claims_of(signed(), algorithms=("ES256",))


def test_a_key_that_is_not_there() -> None:
    with pytest.raises(UnknownKey, match="does not publish"):
        claims_of(signed(header=header("RS256", "old")))
    with pytest.raises(BadToken, match="does not name the key"):
        claims_of(signed(header={"alg": "RS256"}))


@pytest.mark.parametrize(
    "extension", [{"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"b64": False, "crit": ["b64"]}]
)
def test_extensions(extension: dict[str, Any]) -> None:
    with pytest.raises(BadToken, match="an extension"):
        claims_of(signed(header=header("RS256", "rsa", **extension)))


@pytest.mark.parametrize("field", ["alg", "kid", "typ"])
@pytest.mark.parametrize("value", [1, None, ["RS256"], {}])
def test_headers_that_are_no_text(field: str, value: object) -> None:
    with pytest.raises(BadToken, match=f"a {field} that is no text"):
        claims_of(signed(header={**header("RS256", "rsa"), field: value}))


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "no signed"),
        ("opaque-token", "no signed"),
        ("a.b", "no signed"),
        ("a.b.c.d", "no signed"),
        ("a.b.c.d.e", "encrypted"),
        ("e30", "no signed"),
        ("é.e30.AA", "no signed"),
        ("e30=.e30.AA", "no signed"),
        ("e3 0.e30.AA", "no signed"),
        ("e31.e30.AA", "no signed"),  # bits beyond the last byte
        ("e+0/.e30.AA", "no signed"),
        (f"{encoded('alg')}.e30.AA", "header is no JSON object"),
        (f"{encoded([])}.e30.AA", "header is no JSON object"),
        (f"{encoded(b'{')}.e30.AA", "header is no JSON object"),
        (f"{encoded(bytes([255]))}.e30.AA", "header is no JSON object"),
        ("e30.e30.AA", "signed with nothing"),
        ("x" * (LONGEST + 1), "more than"),
        (signed([1, 2]), "content is no JSON object"),
        (signed(b"not json"), "content is no JSON object"),
    ],
)
def test_what_is_no_token(token: str, reason: str) -> None:
    with pytest.raises(BadToken, match=reason):
        claims_of(token)


@given(st.text(alphabet="eyJ0.-_=A1 é\n", max_size=60))
def test_any_text(text: str) -> None:
    with pytest.raises(BadToken):
        claims_of(text)


SMALL = {"kty": "RSA", "e": "AQAB", "n": encoded(b"\xff" * 128), "kid": "small"}
HUGE = {"kty": "RSA", "e": "AQAB", "n": encoded(b"\xff" * 2048), "kid": "huge"}


@pytest.mark.parametrize(
    "key",
    [
        "text",
        published(RSA, "a", use="enc"),
        SMALL,
        HUGE,
        {**published(RSA, "a"), "kid": 5},
        {key: value for key, value in published(RSA, "a").items() if key != "kid"},
        {**published(RSA, "a"), "alg": "HS256"},
        {**published(RSA, "a"), "alg": 5},
        {**published(RSA, "a"), "kty": 5},
        {**published(EC, "a"), "crv": 5},
        {**published(EC, "a"), "crv": "P-192"},
        {**published(EC, "a"), "x": "AA"},
        {**published(RSA, "a"), "n": "!!"},
        {**published(RSA, "a"), "n": 7},
        {"kty": "oct", "kid": "a", "k": "AAAA"},
        {"kty": "AKP", "kid": "a", "alg": "ML-DSA-44"},
        {},
    ],
)
def test_keys_that_are_left_aside(key: Any) -> None:
    assert len(SigningKeys({"keys": [key, published(EC, "ec")]})) == 1


def test_what_else_a_key_says_does_not_matter() -> None:
    keys = SigningKeys(
        {"keys": [published(RSA, "rsa", key_ops=["odd"], x5c=7, crv=7) | {"crv": ""}, published(RSA, "b")]}
    )
    assert claims_of(signed(), keys) == CLAIMS


@pytest.mark.parametrize("key_set", [{}, {"keys": None}, {"keys": {}}, {"keys": "abc"}])
def test_sets_without_keys(key_set: dict[str, Any]) -> None:
    assert len(SigningKeys(key_set)) == 0


def test_sets_are_bounded_and_the_first_of_a_name_counts() -> None:
    assert len(SigningKeys({"keys": [published(EC, str(i)) for i in range(2 * MOST_KEYS)]})) == MOST_KEYS
    other = ECKey.generate_key("P-256")
    keys = SigningKeys({"keys": [published(EC, "ec"), published(other, "ec")]})
    assert claims_of(signed(key=EC, algorithm="ES256", header=header("ES256", "ec")), keys) == CLAIMS
