"""What others have said, as users read it: clean, short, and without secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.commands import Answer
from gateway.user_text import MAX_REASON, MAX_WORDS, bounded, one_line, readable, redact

BODY = "MIIBgDCCASWgAwIBAgIUQ7yK3vJ1o0mP0XbQwY1n2mFzq5AwCgYIKoZIzj0EAwIw"
PEM = f"-----BEGIN PRIVATE KEY-----\n{BODY}\n{BODY}\nAbCd==\n-----END PRIVATE KEY-----"


def test_a_secret_within_another_is_removed_with_it():
    assert redact("abcdef123456", ["abcdef", "abcdef123456"]) == "[redacted]"


def test_short_values_are_no_secrets():
    assert redact("a or b", ["a", "", "or"]) == "a or b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key: {PEM} end", "key: [redacted] end"),
        (f"key: {PEM!r} end", "key: '[redacted]' end"),
        (PEM[: len(PEM) // 2], "[redacted]"),
        (PEM[40:] + "\nafter", "[redacted]\nafter"),
        (repr(PEM)[40:], "[redacted]'"),
        (f"before\n{BODY}\n{BODY}\nafter", "before\n[redacted]\n[redacted]\nafter"),
        ("DASK_GATEWAY_API_TOKEN=0123abcd", "DASK_GATEWAY_API_TOKEN=[redacted]"),
        ("'DASK_GATEWAY_API_TOKEN': '0123abcd'", "'DASK_GATEWAY_API_TOKEN': [redacted]"),
        ("Authorization: token 0123abcd", "Authorization: [redacted]"),
        ("no authorization was given", "no authorization was given"),
        (f"curl -u ann:dgt_a1B2c3D4e5_{'x' * 49}@host", "curl -u ann:dgt_a1B2c3D4e5_[redacted]@host"),
        (f"dgt_a1B2c3D4e5_{'x' * 20}... was cut", "dgt_a1B2c3D4e5_[redacted]... was cut"),
        ("dgt_a1B2c3D4e5", "dgt_[redacted]"),
        ("dgt_x and dgt_", "dgt_x and dgt_"),
    ],
)
def test_what_looks_like_a_secret_is_removed(text, shown):
    assert redact(text) == shown


def test_a_reason_is_bounded_and_clean():
    assert bounded("a\x1b[2Jb\x00\nc") == "ab\nc"
    text = bounded("begin" + "x" * 10 * MAX_REASON + "end")
    assert text.startswith("beginx")
    assert text.endswith("xend")
    assert "\n[...]\n" in text
    assert len(text) < MAX_REASON + 10


def test_what_is_readable():
    said = f"10%\r50%\r\x1b[1mdone\x1b[0m  \nkey {PEM}\ntoken s3cret-token\n"
    assert readable(said, ["s3cret-token"]) == "done\nkey [redacted]\ntoken [redacted]\n"


@pytest.mark.parametrize(
    ("stderr", "stdout", "words"),
    [
        ("sbatch: error:\n  Invalid\taccount\x1b[0m\n", "", "sbatch: error: Invalid account"),
        (" \n", "on the other stream\n", "on the other stream"),
        ("\x1b[0m\x07", "", "exit code 3"),
        ("DASK_GATEWAY_API_TOKEN=0123abcd", "", "DASK_GATEWAY_API_TOKEN=[redacted]"),
        (f"key {PEM}", "", "key [redacted]"),
    ],
)
def test_what_a_command_said_is_one_clean_line(stderr, stdout, words):
    assert Answer(3, stdout, stderr).words == words


@given(st.text(), st.integers(0, 3 * MAX_WORDS))
def test_a_line_is_short_and_printable(text, count):
    line = one_line(text + "word " * count + text)
    assert len(line) <= MAX_WORDS + len(" [...] ")
    assert "\n" not in line
    assert "\x1b" not in line
