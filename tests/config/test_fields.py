"""Config classes: fields with help, instances that are always valid."""

import enum
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from gateway.config.fields import (
    Memory,
    Setting,
    SettingError,
    SettingErrors,
    configurable,
    default_of,
    dump,
    is_configurable,
    nearest,
    setting,
    setting_of,
    settings_of,
    with_overrides,
)


class Mode(enum.StrEnum):
    FAST = "fast"


def even(number: int) -> None:
    if number % 2:
        raise ValueError("must be even")


@configurable
class Parent:
    """A parent."""

    size: Memory = setting(default="1 K", help="A size.", unit="bytes", minimum=1)
    count: int = setting(default=2, help="A\n   count.", minimum=0, maximum=10, validator=even)
    colour: str = setting(default="red", help="A colour.", choices=("red", "green"), convert=str.lower)
    limit: float | None = setting(default=None, help="A limit.", minimum=1)
    words: tuple[str, ...] = setting(default=(), help="Words.")
    variables: Mapping[str, str] = setting(factory=dict, help="Variables.")
    mode: Mode = setting(default="fast", help="A mode.")
    kind: type = setting(default=Memory.__supertype__, help="A class.")
    password: str = setting(default="", help="A secret.", secret=True, validator=lambda text: text == "" or refuse())


def refuse() -> None:
    raise ValueError("is too weak")


@configurable
class Child(Parent):
    """A child."""

    count: int = setting(default=4)
    limit = 7
    extra: str = setting(default="x", help="More.")


def test_values_are_structured_however_an_instance_is_made() -> None:
    parent = Parent(size="2 K", words=["a"], limit=3)
    assert (parent.size, parent.words, parent.limit, parent.mode) == (2048, ("a",), 3.0, Mode.FAST)
    assert isinstance(parent.limit, float)


def test_instances_are_frozen_and_compare_by_value() -> None:
    assert Parent() == Parent()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Parent().count = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("size", 0, "size must be at least 1, got 0"),
        ("count", 12, "count must be at most 10, got 12"),
        ("count", 3, "count must be even, got 3"),
        ("count", True, "count must be an integer, got True"),
        ("colour", "blue", "colour must be one of 'red', 'green', got 'blue'"),
        ("limit", 0.5, "limit must be at least 1, got 0.5"),
        ("password", "hunter2", "password is too weak"),
        ("password", 3, "password must be text"),
    ],
)
def test_wrong_values_are_refused_and_secrets_not_repeated(option: str, value: object, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        Parent(**{option: value})
    assert str(caught.value) == message
    assert caught.value.option == option


def test_secrets_are_not_in_the_repr() -> None:
    assert "password" not in repr(Parent())


def test_a_subclass_has_other_defaults_and_keeps_help_and_limits() -> None:
    child = Child()
    assert (child.count, child.limit, child.extra) == (4, 7.0, "x")
    assert setting_of(settings_of(Child)["count"]).help == "A count."
    with pytest.raises(SettingError, match="must be even"):
        Child(count=5)


def test_options_without_help_type_or_setting_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Bare\.option needs help"):

        @configurable
        class Bare:
            option: int = setting(default=1)

    with pytest.raises(TypeError, match="must be made by setting"):

        @configurable
        class Plain:
            option: int = 1

    with pytest.raises(TypeError, match="annotation that is not a string"):

        @configurable
        class Text:
            option: "int" = setting(default=1, help="Help.")

    with pytest.raises(TypeError, match="a default or a factory"):
        setting(help="Help.")


def test_overrides_name_every_mistake() -> None:
    with pytest.raises(SettingErrors) as caught:
        with_overrides(Parent(), {"count": "x", "sizee": 1, "words": "abc", "limit": 2})
    assert [error.option for error in caught.value.errors] == ["count", "sizee", "words"]
    assert str(caught.value) == (
        "count must be an integer, got 'x'; sizee is no option of Parent (did you mean 'size'?); "
        "words must be a list, got 'abc'"
    )


def test_overrides_leave_the_rest() -> None:
    parent = Parent(limit=2)
    assert with_overrides(parent, {"size": "1 G"}) == Parent(limit=2, size=1 << 30)
    assert with_overrides(parent, {}) == parent


def test_rules_across_options_hold_for_overrides_too() -> None:
    @configurable
    class Range:
        low: int = setting(default=0, help="Low.")
        high: int = setting(default=9, help="High.")

        def __attrs_post_init__(self) -> None:
            if self.low > self.high:
                raise SettingError("low", "must not exceed high", value=self.low)

    with pytest.raises(SettingErrors, match="low must not exceed high, got 10") as caught:
        with_overrides(Range(), {"low": 10})
    assert len(caught.value.errors) == 1


def test_what_is_dumped_can_be_set_again() -> None:
    parent = Parent(words=("a",), variables={"a": "b"})
    data = dump(parent)
    assert data["words"] == ["a"]
    assert data["mode"] == "fast"
    assert data["kind"] == "builtins.int"
    assert with_overrides(Parent(), data) == parent


def test_defaults_as_they_are_written() -> None:
    fields = settings_of(Parent)
    assert default_of(fields["size"]) == "1 K"
    first: Any = default_of(fields["variables"])
    assert first == {}
    assert default_of(fields["variables"]) is not first


def test_what_is_a_config_class() -> None:
    class Plain(Child):
        """A plain subclass is one as well."""

    assert is_configurable(Parent)
    assert is_configurable(Plain)
    assert not is_configurable(Setting)
    assert not is_configurable(Parent())
    assert not is_configurable(int)


def test_hints() -> None:
    assert nearest("adress", ["port", "address"]) == " (did you mean 'address'?)"
    assert nearest("adress", []) == ""
