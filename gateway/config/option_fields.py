"""The fields of options that users may set: six types that the published client knows.

A field checks what a user sent (`validate`), and turns it into what the site
means by it (`transform`). Arguments and method names are those of the original
server, as they stand in configuration files.
"""

import copy
from collections import abc
from typing import Any, ClassVar

from gateway.config.structure import InvalidValue, WrongType, shown, structure

#: What is nested deeper could be stored, but not told to anybody: what writes JSON has a limit of its own.
DEEPEST = 32


class Field:
    """One thing that users may set.

    `field` is its name for programs (an identifier), `label` its name for people, `target` the name under
    which handlers get it; both default to `field`. Raises InvalidValue for a default that is not valid.

    A field of a site's own overrides `check`, or `validate` and `json_type_spec`.
    """

    kind: ClassVar[str]
    type: ClassVar[Any]

    def __init__(self, field: str, default: Any = None, target: str | None = None, label: str | None = None) -> None:
        """Raises `InvalidValue` for a name that is none."""
        for name in (field, target or field):
            if not (isinstance(name, str) and name.isidentifier()):
                raise InvalidValue(f"the name of an option must be a Python identifier, got {name!r}")
        self.field = field
        self.label = label or field
        self.target = target or field
        self.validate(default)
        self.default = default  # as written; whoever uses it has it validated

    def validate(self, x: object) -> Any:
        """The JSON value to record for what a user sent.

        Raises InvalidValue (a ValueError) with the reason, WrongType (a TypeError as well) for another type.
        """
        try:
            return self.check(structure(x, self.type))
        except InvalidValue as error:
            error_class = WrongType if isinstance(error, TypeError) else InvalidValue
            raise error_class(f"{self.field} {error}, got {shown(x)}") from None

    def check(self, value: Any) -> Any:
        """Further rules for a value of the right type; raises InvalidValue."""
        return value

    def transform(self, x: Any) -> Any:
        """What a valid value means for the site; any object."""
        return x

    def get_default(self) -> Any:
        """The default, not shared with anybody."""
        return copy.deepcopy(self.default)

    def json_type_spec(self) -> dict[str, Any]:
        """The field's type as the client understands it."""
        return {"type": self.kind}

    def json_spec(self) -> dict[str, Any]:
        """The whole field as the client understands it."""
        return {"field": self.field, "label": self.label, "default": self.default, "spec": self.json_type_spec()}


class String(Field):
    """A text."""

    kind = "string"
    type = str

    def __init__(self, field: str, default: str = "", label: str | None = None, target: str | None = None) -> None:
        super().__init__(field, default, label=label, target=target)


class Bool(Field):
    """A yes or no."""

    kind = "bool"
    type = bool

    def __init__(self, field: str, default: bool = False, label: str | None = None, target: str | None = None) -> None:
        super().__init__(field, default, label=label, target=target)


class Number(Field):
    """A number between `min` and `max`, both included; None: no bound."""

    def __init__(
        self,
        field: str,
        default: float = 0,
        min: float | None = None,
        max: float | None = None,
        label: str | None = None,
        target: str | None = None,
    ) -> None:
        self.min: float | None = self._bound(field, min)
        self.max: float | None = self._bound(field, max)
        super().__init__(field, default, label=label, target=target)

    def _bound(self, field: str, bound: float | None) -> float | None:
        try:
            return None if bound is None else structure(bound, self.type)
        except InvalidValue as error:
            raise InvalidValue(f"a bound of {field} {error}, got {bound!r}") from None

    def check(self, value: Any) -> Any:
        """Refuse a number out of bounds. Raises `InvalidValue` outside its range."""
        if self.min is not None and value < self.min:
            raise InvalidValue(f"must be at least {self.min}")
        if self.max is not None and value > self.max:
            raise InvalidValue(f"must be at most {self.max}")
        return value

    def json_type_spec(self) -> dict[str, Any]:
        """The type with its bounds."""
        return {"type": self.kind, "min": self.min, "max": self.max}


class Integer(Number):
    """A whole number; a bool is none."""

    kind = "int"
    type = int


class Float(Number):
    """A number; whole ones are fine."""

    kind = "float"
    type = float


class Select(Field):
    """One of several choices: texts, or pairs of a text and the value (any object) that it stands for."""

    kind = "select"
    type = str

    def __init__(
        self,
        field: str,
        options: abc.Sequence[str | tuple[str, Any]],
        default: str | None = None,
        label: str | None = None,
        target: str | None = None,
    ) -> None:
        """Raises `InvalidValue` or `WrongType` for options that are none."""
        if not isinstance(options, abc.Sequence) or isinstance(options, str | bytes):
            raise WrongType(f"{field} needs a list of choices that is not empty, got {options!r}")
        if not options:
            raise InvalidValue(f"{field} needs a list of choices that is not empty, got {options!r}")
        self.options: dict[str, Any] = {}
        for choice in options:
            key, value = choice if isinstance(choice, list | tuple) and len(choice) == 2 else (choice, choice)
            if not isinstance(key, str):
                raise WrongType(f"the choices of {field} must be texts, or pairs of a text and a value, got {choice!r}")
            self.options[key] = value
        default = next(iter(self.options)) if default is None else default
        super().__init__(field, default, label=label, target=target)

    def check(self, value: str) -> str:
        """Refuse what is no choice. Raises `InvalidValue` for any other."""
        if value not in self.options:
            raise InvalidValue(f"must be one of {', '.join(map(repr, self.options))}")
        return value

    def transform(self, x: str) -> Any:
        """The value behind a choice."""
        return self.options[x]

    def json_type_spec(self) -> dict[str, Any]:
        """The type with its choices."""
        return {"type": self.kind, "options": list(self.options)}


class Mapping(Field):
    """Names with values, for example environment variables; what the values may be is the handler's business."""

    kind = "mapping"
    type = abc.Mapping[str, Any]

    def __init__(
        self,
        field: str,
        default: dict[str, Any] | None = None,
        label: str | None = None,
        target: str | None = None,
    ) -> None:
        super().__init__(field, {} if default is None else default, label=label, target=target)

    def check(self, value: Any) -> Any:
        """Refuse what is nested too deeply. Raises `InvalidValue` for keys that are no text."""
        level = [value]
        for _ in range(DEEPEST):
            level = [inner for outer in level for inner in _inside(outer)]
        if level:
            raise InvalidValue(f"must not be nested more than {DEEPEST} levels deep")
        return value


def _inside(value: object) -> abc.Iterable[Any]:
    """The lists and dictionaries directly in one of them."""
    items = value.values() if isinstance(value, abc.Mapping) else value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, abc.Mapping | list | tuple)]
