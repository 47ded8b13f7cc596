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

import inspect
import keyword
from collections import abc
from typing import Any

from gateway.config.option_fields import Bool, Field, Float, Integer, Mapping, Select, String
from gateway.config.structure import InvalidValue, WrongType, shown
from gateway.errors import InvalidRequest
from gateway.models import User

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


class Options:
    """The fields that users may set, and `handler(options)` or `handler(options, user)`, which returns the options
    of the cluster's config class that follow from them.

    The three steps are `parse_options`, `transform_options` and `get_configuration`, as in the original.
    """

    def __init__(self, *fields: Field, handler: abc.Callable[..., abc.Mapping[str, Any]] | None = None) -> None:
        """Raises `InvalidValue` or `WrongType` for fields that are none."""
        if not all(isinstance(field, Field) for field in fields):
            raise WrongType("Options takes fields: String, Bool, Integer, Float, Select or Mapping")
        names = [field.field for field in fields]
        if len(names) != len(set(names)):
            raise InvalidValue(f"two fields of the options have one name, got {', '.join(names)}")
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
