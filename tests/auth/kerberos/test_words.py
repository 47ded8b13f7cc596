"""What Kerberos says in headers, and what is said of tickets that are refused."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.kerberos.header import challenge_with, token_of
from gateway.auth.kerberos.refusals import NO_TOKEN, has_no_number, refusal
from gateway.errors import Unauthorized


def krb_error(code: int) -> bytes:
    """As the library answers it, with a realm and a name after the code."""
    return bytes.fromhex("607a 06092a864886f712010202 0300 7e6b a5050203071b12") + b"\xa6\x03\x02\x01" + bytes([code])


def test_a_token_there_and_back() -> None:
    for scheme in ("Negotiate", "negotiate", "NEGOTIATE"):
        assert token_of(f"{scheme} YGgG") == b"\x60\x68\x06"
    assert challenge_with(b"\x60\x68\x06") == "Negotiate YGgG"
    assert challenge_with(b"") == "Negotiate"


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("", "required"),
        ("Basic YGgG", "required"),
        ("Negotiate", "holds no token"),
        ("Negotiate  ", "holds no token"),
        ("Negotiate YGg", "no base64"),
        ("Negotiate YG gG", "no base64"),
        ("Negotiate ä", "no base64"),
        ("Negotiate " + "A" * 65_540, "too long"),
    ],
)
def test_headers_without_a_token(header: str, told: str) -> None:
    with pytest.raises(Unauthorized, match=told) as caught:
        token_of(header)
    assert caught.value.challenge == "Negotiate"


@given(st.binary(min_size=1, max_size=2000))
def test_any_token_passes(token: bytes) -> None:
    assert token_of(f"Negotiate {base64.b64encode(token).decode()}") == token


@pytest.mark.parametrize(
    ("code", "advice"),
    [(34, "a token of its own"), (37, "clocks"), (35, "no key for that name"), (31, "kinit"), (44, "kinit")],
)
def test_the_number_in_the_librarys_answer_says_what_to_do(code: int, advice: str) -> None:
    told = refusal("It is no good", krb_error(code))
    assert told.startswith("Kerberos refuses the ticket: It is no good. ")
    assert advice in told


def test_numbers_without_advice() -> None:
    assert refusal("Odd\nthing", krb_error(11)) == "Kerberos refuses the ticket: Odd thing"


@pytest.mark.parametrize("token", [b"", bytes.fromhex("a1073005a0030a0102")])
def test_what_was_not_even_a_ticket(token: bytes) -> None:
    assert refusal("Success", token) == NO_TOKEN
    assert refusal("Token header is malformed", token) == f"{NO_TOKEN} (Token header is malformed)"


def test_what_is_no_error_of_kerberos() -> None:
    assert has_no_number(krb_error(60))
    assert not any(has_no_number(token) for token in (b"", krb_error(34), b"\xa6\x03\x02"))
