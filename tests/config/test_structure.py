"""What may stand for a value of each type, and what must not."""

import contextlib
import enum
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.structure import Command, InvalidValue, Memory, parse_command, parse_memory, shown, structure


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("a", str, "a"),
        (3, int, 3),
        (3, float, 3.0),
        (True, bool, True),
        (None, int | None, None),
        (3, int | None, 3),
        ("a", int | str, "a"),
        ([1, 2], tuple[int, ...], (1, 2)),
        (("a",), tuple[str, ...], ("a",)),
        ({"a": "b"}, Mapping[str, str], {"a": "b"}),
        ("red", Colour, Colour.RED),
        (Colour.RED, Colour, Colour.RED),
        (int, type, int),
        ("enum.Enum", type[enum.Enum], enum.Enum),
        (len, Callable[..., Any], len),
        (b"x", bytes, b"x"),
        (b"x", Any, b"x"),
        ("4 G", Memory | None, 4 << 30),
        ("a b", Command, ("a", "b")),
    ],
)
def test_what_fits(value: object, kind: Any, expected: object) -> None:
    result = structure(value, kind)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (3, str, "must be text"),
        (True, int, "must be an integer"),
        ("3", int, "must be an integer"),
        (3.0, int, "must be an integer"),
        (1, bool, "must be True or False"),
        (True, float, "must be a number"),
        (float("nan"), float, "must be a number"),
        (10**400, float, "must be a number"),
        ("x", int | None, "must be an integer"),
        (2.5, int | str, "fits no type allowed here: must be an integer; must be text"),
        ("abc", tuple[str, ...], "must be a list"),
        ("abc", frozenset[str], "must be a list or a set"),
        ({3}, frozenset[str], "every item must be text"),
        ({"a": "b"}, frozenset[str], "must be a list or a set"),
        (["a", 1], tuple[str, ...], "every item must be text"),
        (["a"], Mapping[str, str], "must be a dictionary"),
        ({"a": 1}, Mapping[str, str], "'a': must be text"),
        ("blue", Colour, "must be one of 'red'"),
        (3, type, "must be a class or the dotted name of one"),
        (
            "enum.auto_",
            type,
            "cannot be imported: AttributeError: module 'enum' has no attribute 'auto_' (did you mean 'auto'?)",
        ),
        ("Enum", type, 'must be a dotted name such as "package.module.Class"'),
        (int, type[str], "must be a subclass of str"),
        (3, Callable[..., Any], "must be callable"),
        (3, bytes, "must be an instance of bytes"),
    ],
)
def test_what_does_not_fit(value: object, kind: Any, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        structure(value, kind)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("100 B", 100),
        ("2 G", 2 << 30),
        ("2G", 2 << 30),
        (" 2 gib ", 2 << 30),
        ("1.5 K", 1536),
        ("0.0001 K", 0),
        ("3 T", 3 << 40),
        ("512 MiB", 512 << 20),
        (1.9, 1),
        (7, 7),
    ],
)
def test_memory(text: object, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "value", ["", "G", "4 GB", "4 X", "-1", "1e3", "٣ G", "1 G\0", -1, True, None, float("inf"), "9" * 30]
)
def test_not_memory(value: object) -> None:
    with pytest.raises(InvalidValue, match="must be a number of bytes"):
        parse_memory(value)


@given(st.integers(0, 10**15), st.sampled_from("KMGT"), st.sampled_from(["", "iB"]), st.sampled_from(["", " "]))
def test_memory_units_are_powers_of_1024(number: int, unit: str, suffix: str, space: str) -> None:
    assert parse_memory(f"{number}{space}{unit}{suffix}") == number * 1024 ** ("KMGT".index(unit) + 1)


@given(st.text() | st.integers() | st.floats() | st.none() | st.binary())
def test_memory_is_a_size_or_a_refusal(value: object) -> None:
    with contextlib.suppress(InvalidValue):
        assert parse_memory(value) >= 0


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1).filter(lambda words: words[0] != ""))
def test_commands_survive_quoting(words: list[str]) -> None:
    assert parse_command(shlex.join(words)) == parse_command(words) == tuple(words)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "must name a program"),
        ([], "must name a program"),
        ("'' a", "must name a program"),
        ("a 'b", "cannot be split into words: No closing quotation"),
        (["a", "b\0"], "must not contain NUL characters"),
        ([1], "every item must be text"),
        (3, "must be a list"),
    ],
)
def test_not_commands(value: object, reason: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_command(value)
    assert str(caught.value) == reason


def test_long_values_are_cut_in_messages() -> None:
    assert shown("a") == "'a'"
    assert len(shown("a" * 10**6)) == 203
