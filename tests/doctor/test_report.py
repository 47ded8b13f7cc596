"""Findings as they are printed, and the exit code."""

from gateway.doctor.finding import failed, ok, skipped, warning
from gateway.doctor.report import MOST_FAILURES, exit_code, lines, objects

FOUND = [
    ok("port :8000", "free"),
    warning("disk", "10 MiB\nfree", "make room"),
    failed("sudo", "no\x1b[31m rule", "add it"),
    skipped("unit", "there is none"),
]


def test_each_finding_is_one_line_and_columns_stand_below_each_other():
    assert lines(FOUND) == (
        "ok       port :8000  free\n"
        "warning  disk        10 MiB free  → make room\n"
        "failed   sudo        no rule  → add it\n"
        "skipped  unit        there is none\n"
        "1 ok, 1 warning, 1 failed, 1 skipped"
    )
    assert lines([]) == "0 ok, 0 warning, 0 failed, 0 skipped"


def test_programs_get_the_same():
    assert objects(FOUND[2:3]) == [
        {"check": "sudo", "status": "failed", "evidence": "no rule", "remedy": "add it"},
    ]


def test_the_exit_code_counts_failures_as_far_as_it_can():
    assert exit_code(FOUND) == 1
    assert exit_code([failed("a", "b", "c")] * 1000) == MOST_FAILURES
