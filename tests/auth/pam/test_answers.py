"""PAM's numbers in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.pam import answers
from gateway.auth.pam.answers import WRONG, Answer, refusal
from gateway.errors import GatewayError, TryAgainLater, Unauthorized


def test_who_is_let_in() -> None:
    assert refusal(Answer(answers.SUCCESS, "alice"), "dask-gateway") is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (answers.AUTH_ERR, WRONG),
        (answers.USER_UNKNOWN, WRONG),
        (answers.PERM_DENIED, "rules of this machine"),
        (answers.MAXTRIES, "locked out"),
        (answers.NEW_AUTHTOK_REQD, "password has expired"),
        (answers.ACCT_EXPIRED, "account has expired"),
        (answers.CONV_ERR, "second factor"),
    ],
)
def test_who_is_not(code: int, reason: str) -> None:
    error = refusal(Answer(code), "dask-gateway")
    assert isinstance(error, Unauthorized)
    assert reason in str(error)


def test_what_modules_say_is_told() -> None:
    words = ("The account is locked due to 3 failed logins.", "(10 minutes left\x1b[2J to unlock)")
    said = str(refusal(Answer(answers.AUTH_ERR, words=words), "dask-gateway"))
    assert said == f"{WRONG} (the machine says: {words[0]} (10 minutes left to unlock))"


@pytest.mark.parametrize("code", [1, 2, 3, 4, answers.AUTHINFO_UNAVAIL, 28, 99])
def test_what_is_no_fault_of_the_user(code: int) -> None:
    error = refusal(Answer(code, text="Module is unknown"), "dask-gateway")
    assert isinstance(error, TryAgainLater)
    assert f"error {code} (Module is unknown) for the service 'dask-gateway'" in str(error)


@given(st.integers(0, 40), st.lists(st.text()))
def test_only_success_lets_in(code: int, words: list[str]) -> None:
    error = refusal(Answer(code, "alice", tuple(words)), "x")
    assert (error is None) == (code == 0)
    assert error is None or (isinstance(error, GatewayError) and not {"\n", "\x1b"} & set(str(error)))
