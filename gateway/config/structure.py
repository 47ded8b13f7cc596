"""Values from outside, structured strictly: what is not of the right type is refused, never converted.

`True` is no integer and 3 is no text, so that a mistake is found where it was
made. A refusal is a `InvalidValue`, whose text completes a sentence that begins with
the option's name ("must be an integer"); it leaves out the value, which may be
a secret.

Three types of our own are known by name only: `Memory`, a number of bytes that
people may write as "4 G", `Command`, an argv that people may write as one
shell line, and `ShareNames`, users and groups.
"""

import enum
import re
import shlex
import types
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NewType, Union, get_args, get_origin

from gateway.config.compat import find_class
from gateway.models import USER_NAME


class InvalidValue(ValueError):
    """A value is not what is wanted; the text says what it must be."""


class WrongType(InvalidValue, TypeError):
    """A value is of another type than is wanted. (Also a TypeError, which is what the original's fields raise.)"""


Memory = NewType("Memory", int)
"""Bytes. Structured from a number, or from text such as "4 G" or "512 MiB" (powers of 1024)."""

Command = NewType("Command", tuple[str, ...])
"""An argv. Structured from one string, split as a shell splits it, or from a list of strings."""

ShareNames = NewType("ShareNames", tuple[str, ...])
"""Users and "@groups", each once. Structured from a list, or from text in which commas stand between them."""

#: Names of one list; whoever wants more makes a group of them.
MOST_NAMES = 25


class ShellWord(str):
    """A word of a command with variables ($NAME, ${NAME}) in it, which the shell of a job's script expands.

    Where no shell reads the command it is a word like any other. The original joins the words of a command without
    quoting them; a word with blanks in it fell apart there, and stays as it is here.
    """

    __slots__ = ()
    VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{[A-Za-z_]\w*\})", re.ASCII)


_MEMORY = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*(?:([KMGT])(?:iB)?|B)?\s*", re.IGNORECASE)
_UNITS = {None: 0, "K": 1, "M": 2, "G": 3, "T": 4}


def shown(value: object) -> str:
    """The value as messages show it: what Python would print, of bounded length."""
    try:
        text = repr(value)
    except RecursionError:
        return "something nested too deeply to be shown"
    return text if len(text) <= 200 else f"{text[:200]}..."


def parse_memory(value: object) -> Memory:
    """A number of bytes (>= 0), from a number or from text with an optional unit; fractions are rounded down.

    The units are those of the original server (K, M, G, T) and KiB to TiB, all powers of 1024 and in any
    case. KB to TB are refused, as half of the world reads them as powers of 1000.
    Raises `InvalidValue` for what is no size.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return Memory(int(value))
    if isinstance(value, str) and (match := _MEMORY.fullmatch(value)):
        number, unit = match.groups()
        return Memory(int(Fraction(number) * 1024 ** _UNITS[unit and unit.upper()]))
    raise InvalidValue('must be a number of bytes or text such as "4 G" (units K, M, G, T)')


def parse_command(value: object) -> Command:
    """An argv of at least one word, from a list of strings or from one string as a shell would split it.

    Words with variables in them are `ShellWord`s.
    Raises `InvalidValue` for what is no command.
    """
    if isinstance(value, str):
        try:
            words = tuple(shlex.split(value))
        except ValueError as error:
            raise InvalidValue(f"cannot be split into words: {error}") from None
    else:
        words = _sequence(value, tuple[str, ...])
    if not words or not words[0]:
        raise InvalidValue("must name a program")
    if any("\0" in word for word in words):
        raise InvalidValue("must not contain NUL characters")
    return Command(tuple(_shell_word(word) for word in words))


def _shell_word(word: str) -> str:
    variables = ShellWord.VARIABLE.search(word) and not re.search(r"\s", word)
    return ShellWord(word) if variables else word


def parse_share_names(value: object) -> ShareNames:
    """Users by the names of their accounts, groups with an @ in front, each once. Raises `InvalidValue`."""
    if isinstance(value, str):
        value = [name for name in value.split(",") if name.strip()]
    names = tuple(dict.fromkeys(name.strip() for name in _sequence(value, tuple[str, ...])))
    for name in names:
        if not (_is_group(name[1:]) if name.startswith("@") else USER_NAME.fullmatch(name)):
            raise InvalidValue(f"must hold names of users, and of groups with an @ in front, not {name[:130]!r}")
    if len(names) > MOST_NAMES:
        raise InvalidValue(f"must hold at most {MOST_NAMES} names: make a group of them")
    return ShareNames(names)


def _is_group(name: str) -> bool:
    return 0 < len(name) <= 128 and name.isprintable() and not name.startswith((" ", "@")) and "," not in name


def parse_float(value: object) -> float:
    """A finite number; an integer is fine, a bool is none. Raises `WrongType` for what is no number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**1023:
        return float(value)
    raise WrongType("must be a number")


def _exact(kind: type, noun: str) -> Callable[[object, Any], Any]:
    def structure(value: object, _: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise WrongType(f"must be {noun}")
        return value

    return structure


def _sequence(value: object, kind: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise WrongType("must be a list")
    try:
        return tuple(structure(element, get_args(kind)[0]) for element in value)
    except ValueError as error:
        raise InvalidValue(f"every item {error}") from None


def _set(value: object, kind: Any) -> frozenset[Any]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise WrongType("must be a list or a set")
    return frozenset(_sequence(tuple(value), kind))


def _mapping(value: object, kind: Any) -> dict[Any, Any]:
    if not isinstance(value, Mapping):
        raise WrongType("must be a dictionary")
    key_kind, value_kind = get_args(kind)
    result = {}
    for key, element in value.items():
        try:
            result[structure(key, key_kind)] = structure(element, value_kind)
        except ValueError as error:
            raise InvalidValue(f"{key!r}: {error}") from None
    return result


def _enum(value: object, kind: type[enum.Enum]) -> enum.Enum:
    for member in kind:
        if value is member or value == member.value:
            return member
    raise InvalidValue(f"must be one of {', '.join(repr(member.value) for member in kind)}")


def _union(value: object, kind: Any) -> Any:
    if value is None and type(None) in get_args(kind):
        return None
    errors = []
    for member in get_args(kind):
        if member is not type(None):
            try:
                return structure(value, member)
            except ValueError as error:
                errors.append(error)
    # What is of the right type for one of them is meant as such.
    meant = [error for error in errors if not isinstance(error, WrongType)] or errors
    reasons = [str(error) for error in meant]
    raise InvalidValue(reasons[0] if len(reasons) == 1 else f"fits no type allowed here: {'; '.join(reasons)}")


def _class(value: object, kind: Any) -> type:
    found = find_class(value) if isinstance(value, str) else value
    (base,) = get_args(kind) or (object,)
    if not isinstance(found, type):
        raise WrongType("must be a class or the dotted name of one")
    if not issubclass(found, base):
        raise InvalidValue(f"must be a subclass of {base.__name__}")
    return found


def _callable(value: object, _: Any) -> Any:
    if not callable(value):
        raise WrongType("must be callable")
    return value


def _instance(value: object, kind: type) -> Any:
    if not isinstance(value, kind):
        raise WrongType(f"must be an instance of {kind.__name__}")
    return value


_HOOKS: dict[Any, Callable[[object, Any], Any]] = {
    str: _exact(str, "text"),
    bool: _exact(bool, "True or False"),
    int: _exact(int, "an integer"),
    float: lambda value, _: parse_float(value),
    Memory: lambda value, _: parse_memory(value),
    Command: lambda value, _: parse_command(value),
    ShareNames: lambda value, _: parse_share_names(value),
    Any: lambda value, _: value,
    type: _class,
    Callable: _callable,
    tuple: _sequence,
    frozenset: _set,
    Mapping: _mapping,
    Union: _union,
    types.UnionType: _union,
}


def structure(value: object, kind: Any) -> Any:
    """The value as that type. Raises InvalidValue with a text that says what it must be.

    `kind` is str, bool, int, float, Memory, Command, ShareNames, Any, an enum, a class (of which the value must be an
    instance), `X | None` and other unions, `tuple[X, ...]`, `frozenset[X]`, `Mapping[X, Y]`, `type[X]` (also given by
    its dotted name) or `Callable`.
    """
    hook = _HOOKS.get(kind) or _HOOKS.get(get_origin(kind))
    if hook is None:
        hook = _enum if isinstance(kind, type) and issubclass(kind, enum.Enum) else _instance
    return hook(value, kind)
