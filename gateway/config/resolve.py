"""Assignments to options, made into instances of config classes; every mistake on the way is collected.

A value set on a class holds for its subclasses; of two that hold, the one for
the more specific class wins, wherever it stands. Classes of a site's own join
in when a configuration file defines or imports them, or when an option whose
name ends in `_class` names them. A subclass that declares options or defaults of
its own, in whatever way, is made a config class (carry.py); what it overrides in
vain is a mistake (original_classes.py).
"""

import ast
import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import attrs

from gateway.config.carry import Problem, carry
from gateway.config.compat import GONE_SECTIONS, SECTION_ALIASES, find_class
from gateway.config.fields import (
    SettingError,
    SettingErrors,
    default_of,
    is_configurable,
    is_secret_name,
    nearest,
    setting_of,
    settings_of,
    structure_setting,
)
from gateway.config.file import Assignment, Mistake
from gateway.config.original_classes import replacements
from gateway.config.source_places import place_of, place_of_function
from gateway.config.structure import shown

T = TypeVar("T")
MASK = "********"


class Literal(str):
    """A value from the command line: a Python literal when the option's type takes that, or else text."""

    __slots__ = ()


class Resolution:
    """`build` instances from assignments; then `mistakes`, `warnings` and `origins` tell what was found.

    `files` are the configuration files, for finding the lines of classes in them.
    """

    def __init__(
        self, classes: Mapping[str, type], assignments: Sequence[Assignment], files: Sequence[str] = ()
    ) -> None:
        self._files = files
        self._carried: set[type] = set()
        self._broken: set[type] = set()
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
        self._adopt(cls)
        self._check_overrides(cls)
        if not self._broken.isdisjoint(cls.__mro__):
            return None
        holding = self._holding(cls)
        for option, given in holding.items():
            via = "" if given.section == cls.__name__ else f" ({given.text})"
            self.origins[f"{cls.__name__}.{option}"] = f"{given.origin}{via}"
        try:
            return cls(**{option: self._value_of(given) for option, given in holding.items() if self._is_known(given)})
        except SettingErrors as several:
            for single in several.errors:
                self._refused(cls, single, holding)
        except SettingError as error:
            self._refused(cls, error, holding)
        except Exception as error:  # noqa: BLE001 - a class of the site's own may raise anything
            self._mistake(f"{cls.__module__}.{cls.__qualname__}: {type(error).__name__}: {error}")
        return None

    def _is_known(self, given: Assignment) -> bool:
        return (given.section, given.option) in self._values

    def _value_of(self, given: Assignment) -> Any:
        return self._values[given.section, given.option]

    def _refused(self, cls: type, error: SettingError, holding: Mapping[str, Assignment]) -> None:
        """An instance cannot be made of these values; unless that follows from a mistake that is known already."""
        names = (error.option, *re.findall(r"\w+", error.reason))
        involved = [holding[name] for name in names if name in holding]
        if all(map(self._is_known, involved)):
            self._contradiction(cls, error, involved)

    def refuse(self, cls: type, option: str, reason: str) -> None:
        """Record that the value of a class's option cannot be used, for a reason found elsewhere.

        An empty option: the reason says all.
        """
        given = self._holding(cls).get(option)
        if given is not None:
            self._wrong(given, reason)
        else:
            self._mistake(f"{self._place(cls, option)}{cls.__name__}.{option} {reason}" if option else reason)

    def _holding(self, cls: type) -> dict[str, Assignment]:
        """The assignments that hold for a class, by option."""
        holding: dict[str, Assignment] = {}
        for base in reversed(cls.__mro__):
            holding |= {
                option: given
                for (section, option), given in self._given.items()
                if section == base.__name__ and option in settings_of(cls)
            }
        return holding

    def _adopt(self, cls: type) -> None:
        """Know a class and its parents by name; of two with one name, the subclass of the other wins."""
        for base in reversed(cls.__mro__):
            if not is_configurable(base):
                continue
            if base not in self._carried:
                self._carried.add(base)
                try:
                    for problem in carry(base):
                        self._broken.add(base)
                        self._problem(problem)
                except Exception as error:  # noqa: BLE001 - whatever a class of a site's own does not allow
                    self._mistake(f"{self._place(base)}class {base.__name__} ({base.__module__}): {error}")
            if issubclass(base, self._classes.get(base.__name__, base)):
                self._classes[base.__name__] = base

    def _adopt_named(self, value: object) -> None:
        try:
            found = find_class(value) if isinstance(value, str) else value
        except ValueError:
            return  # which _check reports
        if is_configurable(found):
            self._adopt(found)
            self._check_overrides(found)
            if "cluster_config_class" in settings_of(found):
                self._adopt_named(default_of(settings_of(found)["cluster_config_class"]))

    def _check_overrides(self, cls: type) -> None:
        for owner, name, instead in replacements(cls):
            what = "is never called here" if callable(getattr(owner, name, None)) else "has no effect here"
            self._problem(Problem(owner, name, f"{what}: {instead}"))

    def _problem(self, problem: Problem) -> None:
        owner, name = problem.owner, problem.name
        dotted = f"{owner.__name__}.{name}" if name else owner.__name__
        called = "()" if callable(vars(owner).get(name)) and not isinstance(vars(owner)[name], type) else ""
        self._mistake(f"{self._place(owner, name)}{dotted}{called} {problem.text}")

    def _place(self, cls: type, name: str = "") -> str:
        """Where something of a class stands, as messages begin: "file:line: "; empty when nobody knows."""
        owner = next((base for base in cls.__mro__ if name in vars(base)), cls)
        if owner.__module__.split(".")[0] == "gateway":  # what has been put there from outside
            place = place_of_function(vars(owner).get(name))
        else:
            place = place_of(owner, name, self._files)
        return f"{place}: " if place else ""

    def _check(self, given: Assignment) -> None:
        key = given.section, given.option
        cls = self._classes.get(given.section)
        if cls is None and given.section in GONE_SECTIONS:
            self._wrong(given, f"there is no class {given.section!r}: {GONE_SECTIONS[given.section]}")
        elif cls is None:
            hint = nearest(given.section, [*self._classes, *SECTION_ALIASES])
            self._wrong(given, f"there is no class {given.section!r}{hint}")
        elif given.option not in settings_of(cls):
            self._wrong(given, f"{cls.__name__} has no option {given.option!r}{self._hint(cls, given.option)}")
        elif why := setting_of(settings_of(cls)[given.option]).retired:
            self.warnings.append(f"{given.origin}: {given.text} has no effect: {why}")
        else:
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
            self._mistake(f"{self._place(cls, error.option)}{cls.__name__}: {error}")
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
        secrets = self.secret_options
        # The value of a misspelt secret is a secret too, and so is that of an option which only the site knows.
        close = difflib.get_close_matches(given.option, secrets) or is_secret_name(given.option)
        value = MASK if given.option in secrets or (not known and close) else shown(given.value)
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
