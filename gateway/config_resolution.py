"""Assignments to options, made into instances of config classes; every mistake on the way is collected.

A value set on a class holds for its subclasses; of two that hold, the one for
the more specific class wins, wherever it stands. Classes of a site's own join
in when a configuration file defines or imports them, or when an option whose
name ends in `_class` names them. A plain subclass that has options of its own, or
attributes that bear the name of an option (its defaults), is made a config class.
"""

import ast
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import attrs

from gateway.compat import IDLE, RETIRED, SECTION_ALIASES, find_class
from gateway.config_file import Assignment, Mistake
from gateway.configurable import (
    SettingError,
    configurable,
    default_of,
    is_configurable,
    is_incomplete,
    nearest,
    setting_of,
    settings_of,
    structure_setting,
)
from gateway.strict import shown

T = TypeVar("T")
MASK = "********"


_SECRET = re.compile("token|secret|passw|key", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what bears this name is likely to be a secret."""
    return _SECRET.search(name) is not None


class Literal(str):
    """A value from the command line: a Python literal when the option's type takes that, or else text."""

    __slots__ = ()


class Resolution:
    """`build` instances from assignments; then `mistakes`, `warnings` and `origins` tell what was found."""

    def __init__(self, classes: Mapping[str, type], assignments: Sequence[Assignment]) -> None:
        self.mistakes: list[Mistake] = []
        self.warnings: list[str] = []
        self.origins: dict[str, str] = {}
        self._classes: dict[str, type] = {}
        self._given = {(given.section, given.option): given for given in assignments}  # of two, the later counts
        self._values: dict[tuple[str, str], Any] = {}
        for cls in classes.values():
            self._adopt(cls)
        for given in self._given.values():
            if given.option.endswith("_class"):
                self._adopt_named(given.value)
        for given in self._given.values():
            self._check(given)

    def build(self, cls: type[T]) -> T | None:
        """The instance that all assignments to a class and to its parents make; None after a mistake."""
        holding: dict[str, Assignment] = {}
        for base in reversed(cls.__mro__):
            holding |= {
                option: given
                for (section, option), given in self._given.items()
                if section == base.__name__ and option in settings_of(cls)
            }
        for option, given in holding.items():
            via = "" if given.section == cls.__name__ else f" ({given.text})"
            self.origins[f"{cls.__name__}.{option}"] = f"{given.origin}{via}"
        keys = {option: (given.section, given.option) for option, given in holding.items()}
        try:
            return cls(**{option: self._values[key] for option, key in keys.items() if key in self._values})
        except SettingError as error:
            involved = [holding[name] for name in (error.option, *re.findall(r"\w+", error.reason)) if name in holding]
            if all(keys[given.option] in self._values for given in involved):  # else it follows from a known mistake
                self._contradiction(cls, error, involved)
        except Exception as error:  # noqa: BLE001 - a class of the site's own may raise anything
            self._mistake(f"{cls.__module__}.{cls.__qualname__}: {type(error).__name__}: {error}")
        return None

    def refuse(self, section: str, option: str, reason: str) -> None:
        """Record that the value given to an option cannot be used, for a reason found elsewhere."""
        self._wrong(self._given[section, option], reason)

    def refuse_for(self, cls: type, option: str, reason: str) -> None:
        """Record the same of an option that an instance of `cls` has, wherever it was set; empty: of no single one."""
        for base in cls.__mro__:
            if given := self._given.get((base.__name__, option)):
                self._wrong(given, reason)
                return
        self._mistake(f"{cls.__name__}.{option} {reason}" if option else reason)

    def _adopt(self, cls: type) -> None:
        """Know a class and its parents by name; of two with one name, the subclass of the other wins."""
        for base in reversed(cls.__mro__):
            if not is_configurable(base):
                continue
            if is_incomplete(base):
                try:
                    configurable(base)
                except (TypeError, attrs.exceptions.UnannotatedAttributeError) as error:
                    self._mistake(f"class {base.__name__} ({base.__module__}): {error}")
            if issubclass(base, self._classes.get(base.__name__, base)):
                self._classes[base.__name__] = base

    def _adopt_named(self, value: object) -> None:
        try:
            found = find_class(value) if isinstance(value, str) else value
        except ValueError:
            return  # which _check reports
        if is_configurable(found):
            self._adopt(found)
            if "cluster_config_class" in settings_of(found):
                self._adopt_named(default_of(settings_of(found)["cluster_config_class"]))

    def _check(self, given: Assignment) -> None:
        key = given.section, given.option
        cls = self._classes.get(given.section)
        if key in RETIRED:
            self.warnings.append(f"{given.origin}: {given.text} has no effect: {RETIRED[key]}")
        elif cls is None:
            hint = nearest(given.section, [*self._classes, *SECTION_ALIASES])
            self._wrong(given, f"there is no class {given.section!r}{hint}")
        elif given.option not in settings_of(cls):
            self._wrong(given, f"{cls.__name__} has no option {given.option!r}{self._hint(cls, given.option)}")
        else:
            if given.option in IDLE:
                self.warnings.append(f"{given.origin}: {given.text} has no effect: {IDLE[given.option]}")
            try:
                self._values[key] = _structured(given.value, settings_of(cls)[given.option])
            except SettingError as error:
                self._wrong(given, error.reason)

    def _hint(self, cls: type, option: str) -> str:
        """Where an option that this class does not have is to be found."""
        for other in self._classes.values():
            if option in settings_of(other):
                return f" (it is an option of {other.__name__})"
        return nearest(option, settings_of(cls))

    def _contradiction(self, cls: type, error: SettingError, involved: Sequence[Assignment]) -> None:
        if not involved:
            self._mistake(f"{cls.__name__}: {error}")
        elif involved[0].option == error.option:
            self._wrong(involved[0], error.reason)
        else:
            self._wrong(involved[0], f"{error}")

    @property
    def secret_options(self) -> frozenset[str]:
        """The names of options whose values are secrets."""
        fields = [item for cls in self._classes.values() for item in settings_of(cls).items()]
        return frozenset(name for name, field in fields if setting_of(field).secret)

    def _wrong(self, given: Assignment, reason: str) -> None:
        known = any(given.option in settings_of(cls) for cls in self._classes.values())
        # The value of a misspelt secret is a secret too, and so is that of an option which only the site knows.
        close = difflib.get_close_matches(given.option, self.secret_options)
        value = MASK if close or (not known and is_secret_name(given.option)) else shown(given.value)
        self._mistake(f"{given.origin}: {given.text} = {value}: {reason}", given.order)

    def _mistake(self, text: str, order: int = 0) -> None:
        if all(mistake.text != text for mistake in self.mistakes):
            self.mistakes.append(Mistake(text, order))


def _structured(value: object, field: "attrs.Attribute[Any]") -> Any:
    """The value of an option. Raises SettingError."""
    if not isinstance(value, Literal):
        return structure_setting(value, field)
    text = str(value)
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return structure_setting(text, field)
    try:
        return structure_setting(literal, field)
    except SettingError:
        if not isinstance(literal, str | int | float | None):
            raise  # nobody writes a list or a dictionary who means text
        return structure_setting(text, field)
