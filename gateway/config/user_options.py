"""What users may set on their clusters: fields for the client, and what they mean for the cluster.

A site writes `c.Backend.cluster_options = Options(Integer("worker_cores", max=8), ...)`.
A request passes three steps: `parse` checks what the user sent and fills in
defaults (this is what the cluster's report shows), each field's `transform`
turns its value into what the site means by it, and the site's handler, if there
is one, makes options of the cluster's config class out of those. Without a
handler the fields' targets are the names of such options.

Arguments and method names are those of the original server, as they stand in
configuration files, and so are the classes of errors: a field refuses a value
of another type with a TypeError, any other one with a ValueError. The server
itself calls the original's names (`parse_options`, `get_configuration`,
`get_specification`), so that a subclass of a site's own may override them. The
client knows the six types below and no others.
"""

import copy
import inspect
import keyword
from collections import abc
from typing import Any, ClassVar

from gateway.config.structure import Misfit, WrongType, shown, structure
from gateway.errors import InvalidRequest
from gateway.models import User

#: What is nested deeper could be stored, but not told to anybody: what writes JSON has a limit of its own.
DEEPEST = 32

__all__ = ["Bool", "Choice", "Field", "Float", "Integer", "Mapping", "Options", "Select", "String", "WrongOptions"]


class WrongOptions(InvalidRequest, TypeError, ValueError):
    """What a user sent is not what the fields take; the text names all mistakes.

    Also a TypeError and a ValueError: of the two, the original's `parse_options` raises one.
    """


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

    def __dir__(self) -> abc.Iterable[str]:
        names = (key for key in self._values if key.isidentifier() and not keyword.iskeyword(key))
        return sorted({*super().__dir__(), *names})

    def __repr__(self) -> str:
        return f"Choice({self._values!r})"


#: The original's name for what a handler gets.
FrozenAttrDict = Choice


class Field:
    """One thing that users may set.

    `field` is its name for programs (an identifier), `label` its name for people, `target` the name under
    which handlers get it; both default to `field`. Raises Misfit for a default that is not valid.

    A field of a site's own overrides `check`, or `validate` and `json_type_spec`.
    """

    kind: ClassVar[str]
    type: ClassVar[Any]

    def __init__(self, field: str, default: Any = None, target: str | None = None, label: str | None = None) -> None:
        for name in (field, target or field):
            if not (isinstance(name, str) and name.isidentifier()):
                raise Misfit(f"the name of an option must be a Python identifier, got {name!r}")
        self.field = field
        self.label = label or field
        self.target = target or field
        self.validate(default)
        self.default = default  # as written; whoever uses it has it validated

    def validate(self, x: object) -> Any:
        """The JSON value to record for what a user sent.

        Raises Misfit (a ValueError) with the reason, WrongType (a TypeError as well) for another type.
        """
        try:
            return self.check(structure(x, self.type))
        except Misfit as error:
            misfit = WrongType if isinstance(error, TypeError) else Misfit
            raise misfit(f"{self.field} {error}, got {shown(x)}") from None

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
        if not isinstance(options, abc.Sequence) or isinstance(options, str | bytes):
            raise WrongType(f"{field} needs a list of choices that is not empty, got {options!r}")
        if not options:
            raise Misfit(f"{field} needs a list of choices that is not empty, got {options!r}")
        self.options: dict[str, Any] = {}
        for choice in options:
            key, value = choice if isinstance(choice, list | tuple) and len(choice) == 2 else (choice, choice)
            if not isinstance(key, str):
                raise WrongType(f"the choices of {field} must be texts, or pairs of a text and a value, got {choice!r}")
            self.options[key] = value
        default = next(iter(self.options)) if default is None else default
        super().__init__(field, default, label=label, target=target)

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
        super().__init__(field, {} if default is None else default, label=label, target=target)

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
    of the cluster's config class that follow from them.

    The three steps are `parse_options`, `transform_options` and `get_configuration`, as in the original.
    """

    def __init__(self, *fields: Field, handler: abc.Callable[..., abc.Mapping[str, Any]] | None = None) -> None:
        if not all(isinstance(field, Field) for field in fields):
            raise WrongType("Options takes fields: String, Bool, Integer, Float, Select or Mapping")
        names = [field.field for field in fields]
        if len(names) != len(set(names)):
            raise Misfit(f"two fields of the options have one name, got {', '.join(names)}")
        self.fields = fields
        self.handler = handler

    @property
    def handler(self) -> abc.Callable[[Choice, User], Any] | None:
        """The site's handler, to be called with the choice and the user however it was written; None: there is none."""
        return self._handler

    @handler.setter
    def handler(self, written: abc.Callable[..., Any] | None) -> None:
        """Raises WrongType for what takes neither the options nor the options and the user."""
        self._written = written
        self._handler = None if written is None else _of_two(written)

    def specification(self) -> list[dict[str, Any]]:
        """The fields as the client understands them."""
        return [field.json_spec() for field in self.fields]

    def parse(self, request: object) -> dict[str, Any]:
        """Every field with what the user sent, or its default. Raises WrongOptions that names all mistakes."""
        if not isinstance(request, dict):
            raise WrongOptions(
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
            except (ValueError, TypeError) as error:
                mistakes.append(str(error))
        if mistakes:
            raise WrongOptions(f"Wrong options: {'; '.join(mistakes)}")
        return values

    def transform_options(self, options: abc.Mapping[str, Any]) -> dict[str, Any]:
        """What the site means by each field's value, under its target; a field that is not there has its default."""
        return {field.target: field.transform(options.get(field.field, field.get_default())) for field in self.fields}

    def configuration(self, parsed: abc.Mapping[str, Any], user: User) -> abc.Mapping[str, Any]:
        """Options of the cluster's config class for what `parse` returned.

        Raises whatever the site's handler raises, and TypeError for a result that is no mapping (or async).
        """
        choice = self.transform_options(parsed)
        return choice if self.handler is None else checked_configuration(self.handler(Choice(choice), user))

    def __repr__(self) -> str:
        parts = [f"{type(field).__name__}({field.field!r})" for field in self.fields]
        if self._written is not None:
            parts.append(f"handler={getattr(self._written, '__qualname__', self._written)}")
        return f"Options({', '.join(parts)})"

    # What the server calls: the names of the original, which a site's own subclass may override.

    def get_specification(self) -> list[dict[str, Any]]:
        """See `specification`."""
        return self.specification()

    def parse_options(self, request: object) -> dict[str, Any]:
        """See `parse`."""
        return self.parse(request)

    def get_configuration(self, options: abc.Mapping[str, Any], user: User) -> abc.Mapping[str, Any]:
        """See `configuration`."""
        return self.configuration(options, user)


def checked_configuration(result: object) -> abc.Mapping[str, Any]:
    """What a handler has returned, when it is a mapping. Raises TypeError."""
    if inspect.iscoroutine(result):
        result.close()  # nobody is going to await it
        raise TypeError("the handler of the cluster options must not be async")
    if not isinstance(result, abc.Mapping):
        raise TypeError(f"the handler of the cluster options must return a dictionary, got {shown(result)}")
    return result


def _inside(value: object) -> abc.Iterable[Any]:
    """The lists and dictionaries directly in one of them."""
    items = value.values() if isinstance(value, abc.Mapping) else value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, abc.Mapping | list | tuple)]


def _of_two(handler: abc.Callable[..., Any]) -> abc.Callable[[Choice, User], Any]:
    """The handler as a function of the options and the user. Raises WrongType for what takes neither one nor two."""
    if not callable(handler):
        raise WrongType(f"the handler of the cluster options must be a function, got {shown(handler)}")
    signature = inspect.signature(handler)
    parameters = signature.parameters.values()
    if len(parameters) == 1 and not any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return lambda options, user: handler(options)
    try:
        signature.bind(None, None)
    except TypeError:
        name = getattr(handler, "__qualname__", "")
        raise WrongType(
            f"the handler of the cluster options must take (options) or (options, user), not {name}{signature}"
        ) from None
    return handler
