"""Config classes: frozen attrs classes whose fields are options, each with help, unit and limits.

    @configurable
    class Proxy:
        \"\"\"The public port.\"\"\"

        address: str = setting(default=":8000", help="Where to listen", unit="host:port")

Every instance is valid, however it was made: a value is structured strictly by
its field's annotation (structure.py), then checked against the setting's limits.
Checks that concern several options stand in `__attrs_post_init__` and raise
`SettingError` too. Options with one meaning but another default in a subclass
are declared again with the default alone; help and limits are inherited.

Nothing here knows of configuration files; see load.py.
"""

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeGuard, TypeVar, dataclass_transform

import attrs

from gateway.config.setting_errors import OptionIsFixed, SettingError, SettingErrors
from gateway.config.structure import Command, Memory, ShareNames, structure
from gateway.errors import nearest

__all__ = [
    "Command",
    "DynamicDefault",
    "Memory",
    "Setting",
    "SettingError",
    "SettingErrors",
    "ShareNames",
    "compute_defaults",
    "configurable",
    "default_of",
    "dump",
    "dynamic_default",
    "field_of",
    "is_configurable",
    "is_secret_name",
    "nearest",
    "retired",
    "setting",
    "setting_of",
    "settings_of",
    "structure_setting",
    "with_overrides",
]

T = TypeVar("T")
_KEY = "setting"


@attrs.frozen(kw_only=True)
class Setting:
    """What is known of one option besides its name, type and default.

    `minimum` and `maximum` include themselves. `validator` is called with a structured value and raises
    ValueError with a text like "must be ..."; `convert` returns the value's normal form (of which it is the
    normal form again) or raises likewise. A `secret` is never printed. `retired` is why the option does nothing.
    """

    help: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    secret: bool = False
    retired: str = ""
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
    Raises TypeError for arguments that do not go together.
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
    return field_of(about, default if factory is None else attrs.Factory(factory))


def retired(why: str, *, secret: bool = False, init: Literal[False] = False) -> Any:
    """An option that earlier configurations may set, and that does nothing: it is warned of, and stands in no manual.

    `why` ends the sentence "... has no effect". `init` tells type checkers that code of ours gives it no value.
    """
    del init
    return field_of(Setting(help=why, retired=why, secret=secret), None)


def field_of(about: Setting, default: Any) -> Any:
    """What stands in a class's body for an option of which this is known; for `setting`, and for code like it."""
    return attrs.field(default=default, repr=not about.secret, metadata={_KEY: about})


class DynamicDefault:
    """A default that a method of the instance computes, from other options as a rule.

    `method` is its name; `static` is what stands for it while there is no instance. The method may read every option
    of its instance, those with defaults of this kind included: it is called when all others have their values, and
    whatever it reads is computed before.

    As the value of an instance it means that none was given; as an attribute of the class it computes the value when
    that is read (which then hides it).
    """

    def __init__(self, option: str, method: str, static: Any) -> None:
        self.option = option
        self.method = method
        self.static = static

    def __get__(self, instance: Any, owner: type) -> Any:
        """The value for this instance. Raises SettingError when the method fails."""
        if instance is None:
            return self
        try:
            value = getattr(instance, self.method)()
        except SettingError:
            raise
        except RecursionError:
            raise SettingError(self.option, f"has a default that is computed from itself ({self.method})") from None
        except Exception as error:
            reason = f"has no value, and its default cannot be computed: {type(error).__name__}: {error}"
            raise SettingError(self.option, reason) from error
        structured = structure_setting(value, settings_of(owner)[self.option])
        vars(instance)[self.option] = structured
        vars(instance).setdefault(_COMPUTED, set()).add(self.option)
        return structured


def compute_defaults(instance: Any) -> None:
    """Give every option that has none its computed default. Raises SettingError."""
    missing = [name for name in settings_of(type(instance)) if isinstance(vars(instance)[name], DynamicDefault)]
    for name in missing:
        del vars(instance)[name]
    for name in missing:
        getattr(instance, name)


#: Where an instance notes which of its values are computed defaults.
_COMPUTED = "_computed_defaults"
_SECRET = re.compile("token|secret|passw|key", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether what bears this name is likely to be a secret."""
    return _SECRET.search(name) is not None


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting, retired))
def configurable(cls: type[T]) -> type[T]:
    """Make a class (that same object) a config class. Raises TypeError for an option without help.

    Its instances are frozen; where a class says `keeps_state = True`, its options alone are, and other attributes
    are for what the instance opens (a session, a connection).
    """
    attrs.frozen(auto_attribs=True, kw_only=True, slots=False, field_transformer=_complete)(cls)
    if getattr(cls, "keeps_state", False):
        cls.__setattr__ = _set_state  # type: ignore[method-assign]
        cls.__delattr__ = _delete_state  # type: ignore[method-assign]
    return cls


def _set_state(self: object, name: str, value: object) -> None:
    if name in settings_of(type(self)):
        raise OptionIsFixed(name)
    object.__setattr__(self, name, value)


def _delete_state(self: object, name: str) -> None:
    if name in settings_of(type(self)):
        raise OptionIsFixed(name)
    object.__delattr__(self, name)


def _complete(cls: type, fields: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """The fields of a class with inherited help and limits, and with a converter that refuses wrong values.

    A plain attribute of the class with the name of an inherited option is that option's default here.
    """
    inherited = {f.name: f.metadata[_KEY] for base in cls.__mro__[:0:-1] if attrs.has(base) for f in attrs.fields(base)}
    completed = []
    for field in fields:
        about = field.metadata.get(_KEY)
        if about is None or isinstance(field.type, str):
            reason = "must be made by setting(), with an annotation that is not a string"
            raise TypeError(f"{cls.__name__}.{field.name} {reason}")
        about = about if about.help else inherited.get(field.name, about)
        if not about.help:
            raise TypeError(f"{cls.__name__}.{field.name} needs help")
        if field.name in vars(cls) and field.name not in cls.__annotations__:
            # No longer the parent's, so that it is found whatever else a subclass has among its parents.
            field = field.evolve(default=vars(cls)[field.name], inherited=False)
        converter = attrs.Converter(structure_setting, takes_field=True)
        completed.append(field.evolve(converter=converter, metadata={_KEY: about}, repr=not about.secret))
    return completed


def structure_setting(value: object, field: "attrs.Attribute[Any]") -> Any:
    """An option's value, structured and checked. Raises SettingError."""
    about = setting_of(field)
    if isinstance(value, DynamicDefault):
        return value  # until the instance is complete
    try:
        return about.check(structure(value, field.type))
    except ValueError as error:
        raise SettingError(field.name, str(error), value=attrs.NOTHING if about.secret else value) from None


def setting_of(field: "attrs.Attribute[Any]") -> Setting:
    """What is known of an option, from its field."""
    about: Setting = field.metadata[_KEY]
    return about


def is_configurable(cls: object) -> TypeGuard[type]:
    """Whether this is a config class, or a plain subclass of one."""
    return isinstance(cls, type) and attrs.has(cls) and all(_KEY in field.metadata for field in attrs.fields(cls))


def settings_of(cls: type) -> Mapping[str, "attrs.Attribute[Any]"]:
    """All options of a config class by name, inherited ones included."""
    return attrs.fields_dict(cls)


def dynamic_default(field: "attrs.Attribute[Any]") -> DynamicDefault | None:
    """The default of an option that a method computes, None for any other."""
    return field.default if isinstance(field.default, DynamicDefault) else None


def default_of(field: "attrs.Attribute[Any]") -> Any:
    """An option's default as it stands in the source, before it is structured; lists and mappings are new.

    For one that a method computes it is what would be without the method.
    """
    if isinstance(field.default, DynamicDefault):
        return field.default.static
    factory = getattr(field.default, "factory", None)
    return field.default if factory is None else factory()


def with_overrides(instance: T, overrides: Mapping[str, object]) -> T:
    """The instance with other values for some options. Raises SettingErrors that name every bad one."""
    fields = settings_of(type(instance))
    errors, values = [], {}
    for name, value in overrides.items():
        try:
            if name not in fields:
                raise SettingError(str(name), f"is no option of {type(instance).__name__}{nearest(str(name), fields)}")
            values[name] = structure_setting(value, fields[name])
        except SettingError as error:
            errors.append(error)
    if not errors:
        # What was computed from other options is computed again.
        computed = vars(instance).get(_COMPUTED, ())
        kept = {name: getattr(instance, name) for name in fields if name not in computed}
        try:
            return type(instance)(**(kept | values))
        except SettingErrors as several:
            errors += several.errors
        except SettingError as error:
            errors.append(error)
    raise SettingErrors(*errors)


def dump(instance: object) -> dict[str, Any]:
    """All values as JSON values, for the store; `with_overrides` takes them back."""
    fields = settings_of(type(instance)).items()
    return {name: _plain(getattr(instance, name)) for name, field in fields if not setting_of(field).retired}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=repr)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return value
