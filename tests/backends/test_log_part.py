"""Parts of logs: bytes from anywhere, and lines that are not cut in two."""

import io

from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.log_part import LogPart, read_part


def part(content, size, start=None, **how):
    return read_part(io.BytesIO(content), size, start, **how)


def test_the_end_or_from_somewhere_on():
    assert part(b"one\ntwo\n", 100) == LogPart(0, b"one\ntwo\n")
    assert part(b"one\ntwo\n", 3) == LogPart(5, b"wo\n")
    assert part(b"one\ntwo\n", 3, 2) == LogPart(2, b"e\nt")
    assert part(b"one\n", 3, 4) == LogPart(4, b"")


def test_a_file_that_has_become_shorter_is_another_one():
    assert part(b"new\n", 100, 50) == LogPart(0, b"new\n")


def test_whole_lines():
    assert part(b"one\ntwo\nthr", 100, 0, whole_lines=True) == LogPart(0, b"one\ntwo\n")
    assert part(b"one\ntwo\nthr", 100, 8, whole_lines=True) == LogPart(8, b"")
    assert part(b"one\ntwo\nthree\n", 9, whole_lines=True) == LogPart(8, b"three\n")
    assert part(b"one\ntwo\n", 5, 0, whole_lines=True) == LogPart(0, b"one\n")


def test_a_line_that_is_longer_than_a_part_comes_in_pieces():
    assert part(b"x" * 20, 8, 0, whole_lines=True) == LogPart(0, b"x" * 8)
    assert part(b"x" * 20, 8, whole_lines=True) == LogPart(12, b"x" * 8)
    assert part(b"x" * 7, 8, 0, whole_lines=True) == LogPart(0, b"")


@given(st.binary(max_size=200).map(lambda raw: raw.replace(b"\0", b"\n")), st.integers(1, 50))
def test_parts_follow_each_other_to_the_last_whole_line(content, size):
    read, start = b"", 0
    while (found := part(content, size, start, whole_lines=True)).content:
        assert found.start == start
        read, start = read + found.content, found.end
    rest = content[start:]
    assert read + rest == content
    assert b"\n" not in rest
    assert len(rest) < size
