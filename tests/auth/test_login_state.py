"""What a browser brings back from the page where it has logged in."""

import json

import pytest
from cryptography.fernet import Fernet

from gateway.auth import login_state
from gateway.auth.login_state import LoginState, LoginStates

STATE = LoginState("oidc", "/tokens", {"state": "s", "verifier": "v"})
KEY, OLD = bytes(32), bytes([1] * 32)


def test_there_and_back() -> None:
    value = LoginStates([KEY]).write(STATE)
    assert LoginStates([KEY]).read(value) == STATE
    assert "verifier" not in value
    assert "verifier" not in repr(STATE)
    assert LoginStates([OLD, KEY]).read(value) == STATE


@pytest.mark.parametrize("value", ["", "x", "ä", "\x00", "A" * 100_000])
def test_what_is_not_from_here(value: str) -> None:
    assert LoginStates([KEY]).read(value) is None


def test_of_another_key_or_too_old() -> None:
    assert LoginStates([OLD]).read(LoginStates([KEY]).write(STATE)) is None
    content = json.dumps(["oidc", "/", {}]).encode()
    fernet = Fernet(b"A" * 43 + b"=")
    value = fernet.encrypt_at_time(content, 1_000_000).decode()
    assert LoginStates([KEY]).read(value) is None
    assert LoginStates([KEY]).read(fernet.encrypt(content).decode()) == LoginState("oidc", "/", {})
    assert login_state.MAX_AGE <= 900
