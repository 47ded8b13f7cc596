"""What a command says: all of it is read, and no more is kept than is passed on."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.launcher.output import MAX_WORDS, Output, exchange
from tests.attacks.memory import peak_growth


def said(*pieces):
    output = Output()
    for piece in pieces:
        output.add(piece)
    return output.text()


@given(st.lists(st.integers(0, 3 * MAX_WORDS), max_size=4))
def test_both_ends_are_kept_however_it_is_cut(sizes):
    text = b"".join(b"%d\n" % number for number in range(sum(sizes) // 5))
    pieces, at = [], 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    pieces.append(text[at:])
    kept = said(*pieces)
    assert kept == said(text)
    assert len(kept) <= MAX_WORDS + 1
    if len(text) <= MAX_WORDS:
        assert kept == text.decode()
    else:
        assert text.decode().startswith(kept[: MAX_WORDS // 2 - 10])
        assert text.decode().endswith(kept[-MAX_WORDS // 2 + 10 :])


def run(program, stdin=b"", seconds=30):
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            return *exchange(process, stdin, seconds), process.returncode
        finally:
            process.kill()


def test_input_and_both_streams():
    program = "import sys; text = sys.stdin.read(); sys.stderr.write(text); sys.stdout.write(text); sys.exit(3)"
    text = "x" * MAX_WORDS
    assert run(program, text.encode()) == (text, text, 3)
    assert run(program) == ("", "", 3)


def test_input_that_nobody_reads():
    assert run("print('done')", b"x" * 2**20) == ("done\n", "", 0)


def test_output_without_end_takes_little_memory():
    with peak_growth() as growth, pytest.raises(TimeoutError):
        run("import os\nwhile True: os.write(1, b'x' * 65536)", seconds=1)
    assert growth() < 64 * MAX_WORDS


def test_what_has_no_end_but_no_output_either():
    program = "import os, time; os.close(0); os.close(1); os.close(2); time.sleep(600)"
    with pytest.raises(TimeoutError):
        run(program, seconds=0.5)
