import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.log_tail import MAX_BYTES, MAX_LINES, explain_end, log_tail
from gateway.backends.tracebacks import STARTED

BODY = "MIIBgDCCASWgAwIBAgIUQ7yK3vJ1o0mP0XbQwY1n2mFzq5AwCgYIKoZIzj0EAwIw"


def test_the_last_lines_are_shown():
    data = "".join(f"line {number}\n" for number in range(100))
    assert log_tail(data).splitlines() == [f"line {number}" for number in range(80, 100)]


def test_nothing_is_shown_of_nothing():
    assert log_tail("") == log_tail("\n \n\n") == ""


def test_empty_lines_at_the_edges_go_and_within_stay():
    assert log_tail("\n\nfirst\n\nlast  \n\n") == "first\n\nlast"


def test_a_long_line_is_cut_from_the_left():
    assert log_tail("begin" + "x" * 9000 + "end").endswith("xend")
    assert len(log_tail("x" * 9000)) == MAX_BYTES


def test_a_character_is_not_cut_in_two():
    text = log_tail("é" * 5000 + ".")
    assert set(text) == {"é", "."}


def test_colours_and_other_controls_are_removed():
    assert log_tail("\x1b[1;31mred\x1b[0m\x07 \x1b]0;title\x07\tok\x00\r\n") == "red \tok"
    assert log_tail("see \x1b]8;;https://x.example\x1b\\the page\x1b]8;;\x1b\\ for more") == "see the page for more"
    assert (
        log_tail("\x1b(B\x1b[mplain\x1b7, \x1b=\x1bPq#0\x1b\\as `tput sgr0` has it") == "plain, as `tput sgr0` has it"
    )
    assert log_tail("\x1b]0;without an end\nnext") == "]0;without an end\nnext"
    assert log_tail("a\u202eb\x9bc") == "abc"


def test_a_progress_bar_leaves_its_last_state():
    assert log_tail("start\n10%\r50%\r100%\nend\r\n") == "start\n100%\nend"


def test_known_secrets_are_removed():
    assert log_tail("token is s3cret-token, yes", ["s3cret-token"]) == "token is [redacted], yes"


def test_redaction_comes_before_the_cut():
    lines = "\n".join(["-----BEGIN PRIVATE KEY-----", *[BODY[:40]] * 30, "-----END PRIVATE KEY-----", "after"])
    assert log_tail(lines) == "[redacted]\nafter"


@given(st.text(max_size=6000), st.text(max_size=200))
def test_any_log_keeps_the_limits_and_the_secret(before, after):
    text = log_tail(before + "s3cret-token" + after, ["s3cret-token"])
    assert "s3cret-token" not in text
    assert len(text.encode()) <= MAX_BYTES
    assert len(text.split("\n")) <= MAX_LINES
    assert not set(text) & {"\x1b", "\r", "\x00"}


# ---- the end of a job

FAILED = (
    'Traceback (most recent call last):\n  File "/a/b/c.py", line 3, in f\n    f()\n'
    "OSError: \x1b[1mno s3cret-token\x1b[0m\n\n"
    "The above exception was the direct cause of the following exception:\n\n"
    "Traceback (most recent call last):\n"
    + '  File "/a/b/c.py", line 3, in f\n    f()\n' * 30
    + "RuntimeError: Nanny failed to start.\n"
)
CAUSE = "OSError: no [redacted] (b/c.py, line 3), says its log."


def test_the_cause_comes_first_and_the_last_lines_last():
    lines = explain_end("Job 6: FAILED, exit code 1.", FAILED, ["s3cret-token"], name="w1-0").splitlines()
    assert lines[:3] == [CAUSE, "Job 6: FAILED, exit code 1.", "The last lines of its log (w1-0):"]
    assert lines[-1] == "RuntimeError: Nanny failed to start."
    assert len(lines) == 3 + MAX_LINES
    assert explain_end("", FAILED, ["s3cret-token"]).splitlines()[:2] == [CAUSE, "The last lines of its log:"]


@pytest.mark.parametrize(
    "end", ["Job 6: TIMEOUT (TimeLimit).", "killed by signal 9", "exit code 137 (killed by signal 9)"]
)
def test_who_was_killed_did_not_end_because_of_an_error(end):
    assert explain_end(end, FAILED, ["s3cret-token"]).splitlines()[:2] == [end, CAUSE]


def test_a_hint_is_given_when_the_log_tells_nothing():
    assert explain_end("exit code 0", "", hint="this?") == "exit code 0\nPerhaps this?"
    assert explain_end("exit code 0", "hello", hint="this?").endswith("this?\nThe last lines of its log:\nhello")
    assert "this?" not in explain_end("exit code 1", FAILED, hint="this?")
    assert explain_end("", "") == ""


def test_the_mark_of_the_script_is_not_shown():
    assert explain_end("", f"{STARTED}\nhello\n") == "The last lines of its log:\nhello"
    assert explain_end("", f"{STARTED}\n") == ""
