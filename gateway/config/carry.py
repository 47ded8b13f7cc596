"""A class of a site's own, made a config class: what it declares, however that is written, becomes options of ours.

A class body may hold, in the class itself or in plain classes that it mixes in:

- options made by `setting()`;
- descriptors of traitlets, or of `dask_gateway_server.traitlets`: options, with their defaults, help and limits;
  on clusters' options all of them, elsewhere those with `config=True` (the others are attributes with a default);
- plain values under the name of an inherited option, annotated or not: its default here;
- methods decorated with traitlets' `@default` and `@validate`.

What cannot be carried over is a `Problem` that says what to write instead; nothing is left out in silence.
"""

import copy
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
from attrs import frozen

from gateway.config.carried import PlainTrait, Shadow, complete_afterwards, narrowed, new_setting
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import (
    DynamicDefault,
    Setting,
    configurable,
    default_of,
    dynamic_default,
    field_of,
    nearest,
    setting_of,
    settings_of,
)
from gateway.config.traits import handler_of, is_option, is_trait, read

_MADE_BY_SETTING = type(attrs.field())
#: Where a class notes which of its methods are called as defaults and validators.
CARRIED = "_carried_methods"

_OBSERVE = "is never called here, since options do not change: use @validate, or look at the options in setup()"
_MAGIC = re.compile(r"_(\w+)_(default|changed|validate)")


@frozen
class Problem:
    """What of a class cannot be carried over: the class in whose body it stands, its name there, and what to do."""

    owner: type
    name: str
    text: str


def carry(cls: type) -> list[Problem]:
    """Make a subclass of a config class one itself where it declares anything; that same class is changed.

    Raises TypeError for an option that `configurable` refuses.
    """
    if "__attrs_attrs__" in vars(cls):
        hint = "declare it by setting() in a class that is decorated with @configurable, or leave the decorator out"
        return [Problem(cls, name, hint) for name, value in vars(cls).items() if is_trait(value)]
    foreign = [base for base in cls.__mro__ if base.__module__.split(".")[0] == "traitlets"]
    if foreign:
        hint = f"has {foreign[0].__name__} of traitlets among its bases: leave it out, the gateway reads options itself"
        return [Problem(cls, "", hint)]
    carrying = _Carrying(cls)
    carrying.look()
    if carrying.declares and not carrying.problems:
        carrying.make()
    return carrying.problems


class _Carrying:
    """The work on one class."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.inherited = _merged_settings(cls)
        self.declares = any(base for base in _config_bases(cls) if not issubclass(_config_bases(cls)[0], base))
        self.problems: list[Problem] = []
        self._options: dict[str, tuple[Any, Setting, Any]] = {}
        self._plain_traits: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._settings: dict[str, tuple[Any, Any]] = {}
        self._defaults: dict[str, str] = {}
        self._validators: list[tuple[str, str]] = []
        self._functions: dict[str, Any] = {}

    def look(self) -> None:
        """Collect what the class declares, and what is wrong with it."""
        found = list(_declarations(self.cls))
        for name, value, owner, wins in found:
            self._declaration(name, value, owner, wins)
        for name, value, owner, _ in found:
            self._handler(name, value, owner)
        collected = self._options, self._plain_traits, self._values, self._settings, self._defaults, self._validators
        self.declares = self.declares or any(collected)
        if self.declares:
            self._refuse_constructors()

    def _declaration(self, name: str, value: Any, owner: type, wins: bool) -> None:
        if is_trait(value):
            self._trait(name, value() if isinstance(value, type) else value, owner, wins)
        elif isinstance(value, _MADE_BY_SETTING):
            self._settings[name] = value, owner.__annotations__.get(name)
        elif name in self.inherited and wins:
            self._value(name, value, owner)
        # Even where the config class's own option wins, a descriptor must not come between it and its value.
        self.declares |= name in self.inherited and hasattr(type(value), "__set__")

    def _refuse_constructors(self) -> None:
        for base in _plain_bases(self.cls):
            for name in ("__init__", "__setattr__", "__delattr__"):
                if name in vars(base):
                    hint = "cannot stand beside options or their defaults: do what it does in methods, as setup()"
                    self.problems.append(Problem(base, name, hint))

    def make(self) -> None:
        """Change the class."""
        cls = self.cls
        written = dict(cls.__annotations__)
        annotations = dict(self._set_options())
        for name, trait in self._plain_traits.items():
            setattr(cls, name, PlainTrait(trait, name, self._defaults.get(name, "")))
        for name, value in (*self._values.items(), *self._functions.items()):
            setattr(cls, name, value)
        if self._validators or self._defaults or any(dynamic_default(field) for field in self.inherited.values()):
            complete_afterwards(cls, self._validators)
        setattr(cls, CARRIED, frozenset(self._functions))
        cls.__annotations__ = annotations  # those of plain attributes are nothing to attrs
        try:
            configurable(cls)
        finally:
            cls.__annotations__ = {**written, **annotations}
        _uncover_values(cls)

    def _set_options(self) -> Iterator[tuple[str, Any]]:
        """Put the options into the class's body; their names and annotations."""
        cls = self.cls
        for name, (value, annotation) in self._settings.items():
            setattr(cls, name, value)
            if annotation is not None:  # else attrs says what is missing
                yield name, _evaluated(annotation, cls)
        for name, (annotation, about, default) in self._options.items():
            setattr(cls, name, field_of(about, default))
            yield name, annotation
        for name, method in self._defaults.items():
            if name not in self._plain_traits:
                annotation, about, static = self._known(name)
                setattr(cls, name, field_of(about, DynamicDefault(name, method, static)))
                yield name, annotation

    def _trait(self, name: str, trait: Any, owner: type, wins: bool) -> None:
        inherited = self.inherited.get(name)
        if inherited is not None and not wins:
            return
        is_attribute = not is_option(trait) and not issubclass(self.cls, ClusterConfig)
        if inherited is None and (is_attribute or name.startswith("_")):
            self._plain_traits[name] = trait
            return
        try:
            known = read(trait, name)
        except Exception as error:  # noqa: BLE001 - a trait of a site's own may raise anything
            reason = f"it {error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self.problems.append(Problem(owner, name, f"cannot be an option: {reason}"))
            return
        default = known.default
        if isinstance(default, list | dict | set):
            default = attrs.Factory(lambda: copy.deepcopy(known.default))
        if inherited is None:
            self._options[name] = known.annotation, new_setting(name, known), default
        else:
            about = narrowed(setting_of(inherited), known, bool(trait.help))
            self._options[name] = inherited.type, about, default

    def _value(self, name: str, value: Any, owner: type) -> None:
        if isinstance(value, staticmethod):
            value = value.__func__
        elif isinstance(value, property | classmethod) or (inspect.isfunction(value) and _parameters(value) != 1):
            hint = (
                f'is an option, for which no method or property can stand: give it a value, or use @default("{name}")'
            )
            self.problems.append(Problem(owner, name, hint))
            return
        self._values[name] = value

    def _handler(self, name: str, value: Any, owner: type) -> None:
        kind = handler_of(value)
        if kind == "default":
            self._default(name, value.trait_name, value.func, owner)
        elif kind == "validate":
            for option in value.trait_names:
                if self._exists(option, name, owner):
                    self._validators.append((option, name))
                    self._functions[name] = value.func
        elif kind:
            self.problems.append(Problem(owner, name, _OBSERVE))
        elif inspect.isfunction(value) and (magic := _MAGIC.fullmatch(name)) and magic[1] in self._names():
            if magic[2] == "default":
                self._default(name, magic[1], value, owner)
            else:
                hint = (
                    _OBSERVE
                    if magic[2] == "changed"
                    else f'is never called here: decorate it with @validate("{magic[1]}")'
                )
                self.problems.append(Problem(owner, name, hint))

    def _default(self, name: str, option: str, function: Any, owner: type) -> None:
        if self._exists(option, name, owner):
            self._defaults.setdefault(option, name)
            self._functions[name] = function

    def _exists(self, option: Any, name: str, owner: type) -> bool:
        if option in self._names():
            return True
        hint = nearest(option, self._names()) if isinstance(option, str) else ": name the options one by one"
        self.problems.append(Problem(owner, name, f"is for an option {option!r}, which there is not{hint}"))
        return False

    def _names(self) -> set[str]:
        return {*self.inherited, *self._options, *self._settings, *self._plain_traits}

    def _known(self, name: str) -> tuple[Any, Setting, Any]:
        """Annotation, setting and static default of an option."""
        if name in self._options:
            annotation, about, default = self._options[name]
            return annotation, about, getattr(default, "factory", lambda: default)()
        if name in self._settings:
            made, annotation = self._settings[name]
            return _evaluated(annotation, self.cls), made.metadata["setting"], made._default
        field = self.inherited[name]
        return field.type, setting_of(field), default_of(field)


def _config_bases(cls: type) -> list[type]:
    """The config classes above, the nearest first."""
    return [base for base in cls.__mro__[1:] if "__attrs_attrs__" in vars(base)]


def _merged_settings(cls: type) -> "Mapping[str, attrs.Attribute[Any]]":
    """The options of all config classes above."""
    merged: dict[str, attrs.Attribute[Any]] = {}
    for base in reversed(_config_bases(cls)):
        merged |= settings_of(base)
    return merged


def _plain_bases(cls: type) -> list[type]:
    """The class itself, and the plain classes above it that no config class above has taken in already."""
    config = _config_bases(cls)
    taken = {base for parent in config for base in parent.__mro__}
    return [base for base in cls.__mro__ if base not in taken]


def _declarations(cls: type) -> Iterator[tuple[str, Any, type, bool]]:
    """Name, value, class, and whether the class comes before all config classes; of two, the nearer one."""
    seen: set[str] = set()
    first = cls.__mro__.index(_config_bases(cls)[0])
    for base in _plain_bases(cls):
        for name, value in list(vars(base).items()):
            if name not in seen and not name.startswith("__"):
                seen.add(name)
                yield name, value, base, cls.__mro__.index(base) < first


def _uncover_values(cls: type) -> None:
    """Let no descriptor come between the options of a class and the values of its instances."""
    for name, field in settings_of(cls).items():
        dynamic = dynamic_default(field)
        if dynamic is not None:
            setattr(cls, name, dynamic)
        elif hasattr(type(inspect.getattr_static(cls, name, None)), "__set__"):
            setattr(cls, name, Shadow())


def _parameters(function: Callable[..., Any]) -> int:
    return len(inspect.signature(function).parameters)


def _evaluated(annotation: Any, cls: type) -> Any:
    """An annotation that `from __future__ import annotations` has made text, where its names can be found."""
    if not isinstance(annotation, str):
        return annotation
    names = dict(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else {}
    for value in vars(cls).values():
        names |= getattr(value, "__globals__", {})
    try:
        return eval(annotation, names)  # noqa: S307 - it stands in the site's own source
    except Exception:  # noqa: BLE001 - it may be anything
        return annotation
