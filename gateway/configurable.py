"""Config classes: frozen attrs classes whose fields are options, each with help, unit and limits.

    @configurable
    class Proxy:
        \"\"\"The public port.\"\"\"

        address: str = setting(default=":8000", help="Where to listen", unit="host:port")

Every instance is valid, however it was made: a value is structured strictly by
its field's annotation (strict.py), then checked against the setting's limits.
Checks that concern several options stand in `__attrs_post_init__` and raise
`SettingError` too. Options with one meaning but another default in a subclass
are declared again with the default alone; help and limits are inherited.

Nothing here knows of configuration files; see config.py.
"""

import difflib
import enum
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, dataclass_transform

import attrs

from gateway.strict import Command, Memory, shown, structure

__all__ = [
    "Command",
    "Memory",
    "Setting",
    "SettingError",
    "SettingErrors",
    "configurable",
    "dump",
    "nearest",
    "restore",
    "setting",
    "settings_of",
    "with_overrides",
]

T = TypeVar("T")
_KEY = "setting"


class SettingError(ValueError):
    """One option has a value that it cannot have."""

    def __init__(self, option: str, reason: str, *, value: object = attrs.NOTHING) -> None:
        """`reason` completes a sentence that begins with the option's name; no value: it is not to be shown."""
        self.option = option
        self.reason = reason
        super().__init__(f"{option} {reason}" + ("" if value is attrs.NOTHING else f", got {shown(value)}"))


class SettingErrors(ValueError):
    """Several options have values that they cannot have; `errors` has one `SettingError` each."""

    def __init__(self, *errors: SettingError) -> None:
        self.errors = errors
        super().__init__("; ".join(str(error) for error in errors))


@attrs.frozen(kw_only=True)
class Setting:
    """What is known of one option besides its name, type and default.

    `minimum` and `maximum` include themselves. `validator` is called with a structured value and raises
    ValueError with a text like "must be ..."; `convert` returns the value's normal form (of which it is the
    normal form again) or raises likewise. A `secret` is never printed.
    """

    help: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    secret: bool = False
    validator: Callable[[Any], object] | None = None
    convert: Callable[[Any], Any] | None = None

    def check(self, value: Any) -> Any:
        """The normal form of a structured value. Raises ValueError."""
        if value is None:
            return None
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}")
        if self.choices is not None and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(map(repr, self.choices))}")
        if self.validator is not None:
            self.validator(value)
        return value if self.convert is None else self.convert(value)


def setting(
    default: Any = attrs.NOTHING,
    *,
    factory: Callable[[], Any] | None = None,
    help: str = "",
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[Any, ...] | None = None,
    secret: bool = False,
    validator: Callable[[Any], object] | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> Any:
    """One option of a config class; see `Setting`. A default is needed, and may be in the form people write.

    Write `default=` as a keyword: type checkers see it only then.
    """
    if (default is attrs.NOTHING) == (factory is None):
        raise TypeError("an option needs a default or a factory")
    about = Setting(
        help=" ".join(help.split()),
        unit=unit,
        minimum=minimum,
        maximum=maximum,
        choices=choices,
        secret=secret,
        validator=validator,
        convert=convert,
    )
    default = default if factory is None else attrs.Factory(factory)
    return attrs.field(default=default, repr=not secret, metadata={_KEY: about})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
def configurable(cls: type[T]) -> type[T]:
    """Make a class (that same object) a config class. Raises TypeError for an option without help."""
    return attrs.frozen(kw_only=True, slots=False, field_transformer=_complete)(cls)


def _complete(cls: type, fields: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """The fields of a class with inherited help and limits, and with a converter that refuses wrong values."""
    inherited = {f.name: f.metadata[_KEY] for base in cls.__mro__[:0:-1] if attrs.has(base) for f in attrs.fields(base)}
    completed = []
    for field in fields:
        about = field.metadata.get(_KEY)
        if about is None or isinstance(field.type, str):
            raise TypeError(
                f"{cls.__name__}.{field.name} must be made by setting(), its annotation must not be a string"
            )
        about = about if about.help else inherited.get(field.name, about)
        if not about.help:
            raise TypeError(f"{cls.__name__}.{field.name} needs help")
        converter = attrs.Converter(_read, takes_field=True)
        completed.append(field.evolve(converter=converter, metadata={_KEY: about}, repr=not about.secret))
    return completed


def _read(value: object, field: "attrs.Attribute[Any]") -> Any:
    about: Setting = field.metadata[_KEY]
    try:
        return about.check(structure(value, field.type))
    except ValueError as error:
        shown = attrs.NOTHING if about.secret else value
        raise SettingError(field.name, str(error), value=shown) from None


def settings_of(cls: type) -> Mapping[str, "attrs.Attribute[Any]"]:
    """All options of a config class by name, inherited ones included; `.metadata["setting"]` is the `Setting`."""
    return attrs.fields_dict(cls)


def nearest(name: str, names: "Mapping[str, object] | list[str]") -> str:
    """A question for people, " (did you mean 'x'?)", or nothing when no name is near."""
    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def read_settings(cls: type, values: Mapping[str, object]) -> dict[str, Any]:
    """The values structured and checked, not yet against each other. Raises SettingErrors with all mistakes."""
    fields = settings_of(cls)
    errors, result = [], {}
    for name, value in values.items():
        if name not in fields:
            errors.append(SettingError(str(name), f"is no option of {cls.__name__}{nearest(str(name), fields)}"))
            continue
        try:
            result[name] = _read(value, fields[name])
        except SettingError as error:
            errors.append(error)
    if errors:
        raise SettingErrors(*errors)
    return result


def with_overrides(instance: T, overrides: Mapping[str, object]) -> T:
    """The instance with other values for some options. Raises SettingErrors that name every bad one."""
    values = read_settings(type(instance), overrides)
    try:
        return attrs.evolve(instance, **values)  # type: ignore[misc]
    except SettingError as error:
        raise SettingErrors(error) from None


def dump(instance: object) -> dict[str, Any]:
    """All values as JSON values, for the store; the reverse of `restore`."""
    return {name: _plain(getattr(instance, name)) for name in settings_of(type(instance))}


def restore(cls: type[T], data: Mapping[str, object]) -> T:
    """An instance from what `dump` gave; options that are not known (any more) are left out.

    Raises SettingErrors when a value is not allowed (any more).
    """
    known = {name: value for name, value in data.items() if name in settings_of(cls)}
    return with_overrides(cls(), known)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return value
