"""Job ids of Slurm: of what sbatch prints, only a line that is nothing but an id is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.slurm.ids import SlurmId, array_of, ids_of, parse_id, parse_ranges, ranges, submitted_id


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("4711", SlurmId(4711)),
        ("4711_3", SlurmId(4711, 3)),
        ("4711;smp", SlurmId(4711, None, "smp")),
        ("4711_3;smp.example-2", SlurmId(4711, 3, "smp.example-2")),
    ],
)
def test_an_id_and_its_parts(text, parts):
    assert parse_id(text) == parts
    assert parts.text == text


@pytest.mark.parametrize("text", ["", "x", "12a", "1_", "_1", "1;", "1;a b", "1_[0-3]", "1.5", "-1", "1\n", "１"])
def test_what_is_no_id(text):
    with pytest.raises(ValueError, match="no job id"):
        parse_id(text)


@pytest.mark.parametrize(
    "stdout",
    [
        "77\n",
        "77",
        "  77  \r\n",
        "Core hours left on this allocation: 497218\n77\n",
        "77\nCore hours left on this allocation: 497218\n",
        "77\nYour oldest job is 12\n",
        "sbatch: queue 12 has 13 jobs\n77\n12 of 14 nodes are busy\n",
        "***\n77\n***\n",
        "77\n77\n",  # said twice, it is the same id all the same
        "77\n99.5\n",
        "77\n12:30\n",
        "77\n1,024\n",
        "77\n12_4\n",  # an array's element, which sbatch never prints
    ],
)
def test_the_one_line_that_is_an_id(stdout):
    assert submitted_id(stdout) == SlurmId(77)
    assert submitted_id(stdout.replace("77", "77;smp")) == SlurmId(77, None, "smp")


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "\n",
        "Submitted batch job 77\n",
        "job 77 submitted\n",
        "77 498217\n",
        "balance: 497218",
        "12a",
        "0x4d",
        "77.",
        "12_4\n",
        "12345678901",
    ],
)
def test_no_line_that_is_an_id(stdout):
    with pytest.raises(ValueError, match="no line that is a job id"):
        submitted_id(stdout)


@pytest.mark.parametrize("stdout", ["497218\n77\n", "77\n497218\n", "77;smp\n77\n"])
def test_of_two_ids_neither_is_believed(stdout):
    with pytest.raises(ValueError, match="more than one line"):
        submitted_id(stdout)


def test_the_ids_of_a_submission():
    assert ids_of(SlurmId(7), 1) == ("7",)
    assert ids_of(SlurmId(7, None, "smp"), 2) == ("7_0;smp", "7_1;smp")
    assert array_of("7_1;smp") == "7;smp"
    assert array_of("7") is None


@given(st.sets(st.integers(0, 60)))
def test_ranges_are_read_as_they_are_written(numbers):
    assert sorted(number for part in parse_ranges(ranges(numbers)) for number in part) == sorted(numbers)


def test_ranges_as_slurm_prints_them():
    assert list(parse_ranges("0-3,7,9-13:2%4")) == [range(4), range(7, 8), range(9, 14, 2)]
    assert list(parse_ranges("N/A")) == list(parse_ranges("")) == []
    assert list(parse_ranges("1-2:0")) == [range(1, 3)]
