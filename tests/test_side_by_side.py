"""No part of `side_by_side.sh` leaves a test out."""

import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_what_a_host_has_once_is_looked_for_where_such_tests_are():
    script = (TESTS / "side_by_side.sh").read_text()
    searched = re.search(r"^once=\((.*)\)$", script, re.MULTILINE)[1].split()
    marked = [
        path.relative_to(TESTS.parent)
        for path in TESTS.rglob("*.py")
        if path.name != "test_side_by_side.py" and re.search(r"mark\.host\b|\bneeds_slurm\b", path.read_text())
    ]
    assert len(marked) > 5
    assert [path for path in marked if not any(path.is_relative_to(folder) for folder in searched)] == []
