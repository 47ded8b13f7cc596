"""What users may set on their clusters: fields for the client, and what they mean for the cluster.

A site writes `c.Backend.cluster_options = Options(Integer("worker_cores", max=8), ...)`.
A request passes three steps: `parse` checks what the user sent and fills in
defaults (this is what the cluster's report shows), each field's `transform`
turns its value into what the site means by it, and the site's handler, if there
is one, makes options of the cluster's config class out of those. Without a
handler the fields' targets are the names of such options.

Arguments and method names are those of the original server, as they stand in
configuration files. The client knows the six types below and no others.
"""

import copy
import inspect
from collections import abc
from typing import Any, ClassVar

from gateway.errors import InvalidRequest
from gateway.models import User
from gateway.strict import Misfit, shown, structure

#: What is nested deeper could be stored, but not told to anybody: what writes JSON has a limit of its own.
DEEPEST = 32

__all__ = ["Bool", "Choice", "Field", "Float", "Integer", "Mapping", "Options", "Select", "String"]


class Choice(abc.Mapping[str, Any]):
    """What a user chose, as a handler gets it: a mapping that cannot be changed, with its keys as attributes too."""

    __slots__ = ("_values",)

    def __init__(self, values: abc.Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> abc.Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[name]
        except KeyError:
            raise AttributeError(f"there is no option {name!r}") from None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("what a user chose cannot be changed")

    def __repr__(self) -> str:
        return f"Choice({self._values!r})"


class Field:
    """One thing that users may set.

    `field` is its name for programs (an identifier), `label` its name for people, `target` the name under
    which handlers get it; both default to `field`. Raises Misfit for a default that is not valid.
    """

    kind: ClassVar[str]
    type: ClassVar[Any]

    def __init__(self, field: str, default: Any, label: str | None = None, target: str | None = None) -> None:
        for name in (field, target or field):
            if not (isinstance(name, str) and name.isidentifier()):
                raise Misfit(f"the name of an option must be a Python identifier, got {name!r}")
        self.field = field
        self.label = label or field
        self.target = target or field
        self.default = self.validate(default)

    def validate(self, x: object) -> Any:
        """The JSON value to record for what a user sent. Raises Misfit with the reason."""
        try:
            return self.check(structure(x, self.type))
        except Misfit as error:
            raise Misfit(f"{self.field} {error}, got {shown(x)}") from None

    def check(self, value: Any) -> Any:
        """Further rules for a value of the right type; raises Misfit."""
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
        super().__init__(field, default, label, target)


class Bool(Field):
    """A yes or no."""

    kind = "bool"
    type = bool

    def __init__(self, field: str, default: bool = False, label: str | None = None, target: str | None = None) -> None:
        super().__init__(field, default, label, target)


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
        super().__init__(field, default, label, target)

    def _bound(self, field: str, bound: float | None) -> float | None:
        try:
            return None if bound is None else structure(bound, self.type)
        except Misfit as error:
            raise Misfit(f"a bound of {field} {error}, got {bound!r}") from None

    def check(self, value: Any) -> Any:
        """Refuse a number out of bounds."""
        if self.min is not None and value < self.min:
            raise Misfit(f"must be at least {self.min}")
        if self.max is not None and value > self.max:
            raise Misfit(f"must be at most {self.max}")
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
        if not isinstance(options, list | tuple) or not options:
            raise Misfit(f"{field} needs a list of choices that is not empty, got {options!r}")
        self.options: dict[str, Any] = {}
        for choice in options:
            key, value = choice if isinstance(choice, list | tuple) and len(choice) == 2 else (choice, choice)
            if not isinstance(key, str):
                raise Misfit(f"the choices of {field} must be texts, or pairs of a text and a value, got {choice!r}")
            self.options[key] = value
        super().__init__(field, next(iter(self.options)) if default is None else default, label, target)

    def check(self, value: str) -> str:
        """Refuse what is no choice."""
        if value not in self.options:
            raise Misfit(f"must be one of {', '.join(map(repr, self.options))}")
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
        super().__init__(field, default or {}, label, target)

    def check(self, value: Any) -> Any:
        """Refuse what is nested too deeply."""
        level = [value]
        for _ in range(DEEPEST):
            level = [inner for outer in level for inner in _inside(outer)]
        if level:
            raise Misfit(f"must not be nested more than {DEEPEST} levels deep")
        return value


class Options:
    """The fields that users may set, and `handler(options)` or `handler(options, user)`, which returns the options
    of the cluster's config class that follow from them."""

    def __init__(self, *fields: Field, handler: abc.Callable[..., abc.Mapping[str, Any]] | None = None) -> None:
        if not all(isinstance(field, Field) for field in fields):
            raise Misfit("Options takes fields: String, Bool, Integer, Float, Select or Mapping")
        names = [field.field for field in fields]
        if len(names) != len(set(names)):
            raise Misfit(f"two fields of the options have one name, got {', '.join(names)}")
        self.fields = fields
        self.handler = handler
        self._takes_user = handler is not None and _takes_two(handler)

    def specification(self) -> list[dict[str, Any]]:
        """The fields as the client understands them."""
        return [field.json_spec() for field in self.fields]

    def parse(self, request: object) -> dict[str, Any]:
        """Every field with what the user sent, or its default. Raises InvalidRequest that names all mistakes."""
        if not isinstance(request, dict):
            raise InvalidRequest(
                f"The cluster's options must be an object with a value for each name, got {shown(request)}"
            )
        known = {field.field for field in self.fields}
        mistakes = [
            f"there is no option {shown(name)} (there are: {', '.join(sorted(known)) or 'none'})"
            for name in request
            if name not in known
        ]
        values = {}
        for field in self.fields:
            try:
                values[field.field] = field.validate(request.get(field.field, field.get_default()))
            except (ValueError, TypeError) as error:  # TypeError: a site's own field may raise it
                mistakes.append(str(error))
        if mistakes:
            raise InvalidRequest(f"Wrong options: {'; '.join(mistakes)}")
        return values

    def configuration(self, parsed: abc.Mapping[str, Any], user: User) -> abc.Mapping[str, Any]:
        """Options of the cluster's config class for what `parse` returned.

        Raises whatever the site's handler raises, and TypeError for a result that is no mapping (or async).
        """
        choice = {field.target: field.transform(parsed[field.field]) for field in self.fields}
        if self.handler is None:
            return choice
        result: object = self.handler(Choice(choice), user) if self._takes_user else self.handler(Choice(choice))
        if inspect.iscoroutine(result):
            result.close()  # nobody is going to await it
            raise TypeError("the handler of the cluster options must not be async")
        if not isinstance(result, abc.Mapping):
            raise TypeError(f"the handler of the cluster options must return a dictionary, got {shown(result)}")
        return result

    def __repr__(self) -> str:
        parts = [f"{type(field).__name__}({field.field!r})" for field in self.fields]
        if self.handler is not None:
            parts.append(f"handler={getattr(self.handler, '__qualname__', self.handler)}")
        return f"Options({', '.join(parts)})"

    # The names of the original, for configuration files that subclass or call it.
    get_specification = specification
    parse_options = parse
    get_configuration = configuration


def _inside(value: object) -> abc.Iterable[Any]:
    """The lists and dictionaries directly in one of them."""
    items = value.values() if isinstance(value, abc.Mapping) else value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, abc.Mapping | list | tuple)]


def _takes_two(handler: abc.Callable[..., object]) -> bool:
    parameters = inspect.signature(handler).parameters.values()
    return len(parameters) != 1 or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters)
