"""Personal tokens as text, and where they stand in headers."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.token_text import ALPHABET, Presented, digest_of, id_of, presented, written

ID = "a1B2c3D4e5"
SECRET = "0123456789" * 4 + "xyz"
TOKEN = written(ID, SECRET)


def as_basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_how_it_is_written() -> None:
    assert TOKEN.startswith(f"dgt_{ID}_{SECRET}")
    assert len(TOKEN) == 64
    assert re.fullmatch(r"\w+", TOKEN, re.ASCII)  # one word for a double click
    assert id_of(TOKEN) == ID


@given(st.text(ALPHABET, min_size=10, max_size=10), st.text(ALPHABET, min_size=43, max_size=43))
def test_every_token_has_its_id(id: str, secret: str) -> None:
    assert id_of(written(id, secret)) == id


@given(st.data())
def test_a_typo_is_seen(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TOKEN) - 1))
    other = data.draw(st.sampled_from(ALPHABET + "_-")).replace(TOKEN[place], "!")
    assert id_of(TOKEN[:place] + other + TOKEN[place + 1 :]) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dgt_",
        TOKEN[:-1],
        TOKEN + "0",
        TOKEN + "\n",
        " " + TOKEN,
        TOKEN.upper(),
        f"dgt_{ID}_{SECRET}000000",
        "dgt_é",
    ],
)
def test_what_is_none(text: str) -> None:
    assert id_of(text) is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "jupyterhub", "JupyterHub"])
def test_as_a_bearer_of_tokens(scheme: str) -> None:
    assert presented(f"{scheme} {TOKEN}") == Presented(TOKEN)
    assert presented(f"{scheme}  {TOKEN} ") == Presented(TOKEN)
    assert presented(f"{scheme} dgt_half") == Presented("dgt_half")
    assert presented(f"{scheme} eyJhbGciOi") is None


def test_as_a_password() -> None:
    assert presented(as_basic("alice", TOKEN)) == Presented(TOKEN, "alice")
    assert presented(as_basic("alice", TOKEN + "\n")) == Presented(TOKEN, "alice")
    assert presented(as_basic("", TOKEN)) == Presented(TOKEN, "")
    assert presented(as_basic(TOKEN, "")) == Presented(TOKEN, misplaced=True)
    assert presented(as_basic("alice", "secret")) is None


@pytest.mark.parametrize("header", ["", "Bearer", "Basic !", f"token {TOKEN}", f"Negotiate {TOKEN}", TOKEN])
def test_other_credentials_are_for_others(header: str) -> None:
    assert presented(header) is None


def test_nothing_shows_it() -> None:
    assert TOKEN not in repr(Presented(TOKEN, "alice"))


def test_digests() -> None:
    assert digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of("\udcff") != digest_of("\udcfe")
