"""Options that a site has declared with traitlets, and the original's own traitlets, read as options of ours.

Nothing here imports traitlets: a descriptor is known by the names of its
classes, and one that checks values in a way of its own is asked to. The
module `dask_gateway_server.traitlets` is made of the classes below, which have
of traitlets what such declarations need; where traitlets is installed, its
own descriptors may stand beside them.

`carry.py` puts what is read here into classes.
"""

import sys
from collections.abc import Callable as AnyCallable
from collections.abc import Mapping, Sequence
from math import inf
from types import GenericAlias
from typing import Any, ClassVar

from attrs import frozen

from gateway.config.compat import find_class
from gateway.config.structure import Command as Argv
from gateway.config.structure import Memory, shown, structure

_MISSING: Any = object()


class TraitError(Exception):
    """A value is not what its trait takes."""


class TraitType:
    """An option of a class, as the original's configuration files declare them."""

    info_text: ClassVar[str] = "any value"
    default_value: Any = None  #: what stands for it in a class; `default()` gives one of its own

    def __init__(
        self,
        default_value: Any = _MISSING,
        allow_none: bool = False,
        read_only: bool = False,
        help: str | None = None,
        config: bool = False,
        **metadata: Any,
    ) -> None:
        self.name: str | None = None
        if default_value is not _MISSING:
            self.default_value = default_value
        self.allow_none = allow_none
        self.read_only = read_only
        self.help = help or ""
        self.metadata: dict[str, Any] = {"config": config, **metadata}

    def tag(self, **metadata: Any) -> "TraitType":
        """Add to what is known of the trait, for example `config=True`."""
        self.metadata.update(metadata)
        return self

    def default(self, obj: Any = None) -> Any:
        """The default; lists are new."""
        return list(self.default_value) if isinstance(self.default_value, list) else self.default_value

    def info(self) -> str:
        """What it takes, in words."""
        return self.info_text

    def error(self, obj: Any, value: Any) -> None:
        """Refuse a value. Raises TraitError."""
        raise TraitError(f"expected {self.info()}, not {shown(value)}")

    def validate(self, obj: Any, value: Any) -> Any:
        """The value to keep. Raises TraitError for what the trait does not take, as a subclass may."""
        reader = _READERS.get(_kinds(self)[0])
        if reader is None:
            return value
        about = reader(self)
        try:
            value = structure(value, about["annotation"])
            if about.get("minimum") is not None and value < about["minimum"]:
                raise ValueError(f"must be at least {about['minimum']}")
            if about.get("maximum") is not None and value > about["maximum"]:
                raise ValueError(f"must be at most {about['maximum']}")
            return about["convert"](value) if about.get("convert") else value
        except ValueError as error:
            raise TraitError(str(error)) from None


class Unicode(TraitType):
    """A text."""

    info_text = "a text"
    default_value = ""


class Integer(TraitType):
    """A whole number from `min` to `max`."""

    info_text = "an integer"
    default_value = 0

    def __init__(self, default_value: Any = _MISSING, *, min: Any = None, max: Any = None, **more: Any) -> None:
        super().__init__(default_value, **more)
        self.min, self.max = min, max


class MemoryLimit(Integer):
    """A number of bytes, or text such as "4 G"."""

    info_text = "a number of bytes or text with one of the units K, M, G, T"


class List(TraitType):
    """A list, whose items may have a trait of their own."""

    info_text = "a list"
    default_value: Any = []  # noqa: RUF012 (copied by `default`)

    def __init__(
        self, trait: Any = None, default_value: Any = _MISSING, minlen: int = 0, maxlen: int = sys.maxsize, **more: Any
    ) -> None:
        if default_value is _MISSING and trait is not None and not is_trait(trait):
            trait, default_value = None, trait  # as in traitlets: List([1, 2])
        super().__init__(default_value, **more)
        self._trait = trait() if isinstance(trait, type) else trait
        self._minlen, self._maxlen = minlen, maxlen


class Command(List):
    """A program and its arguments: a list, or one text."""

    info_text = "a command"

    def __init__(self, default_value: Any = _MISSING, **more: Any) -> None:
        super().__init__(None, [default_value] if isinstance(default_value, str) else default_value, **more)


class Callable(TraitType):
    """Something that can be called."""

    info_text = "a callable"


class Type(TraitType):
    """A class that is a subclass of `klass`; either may be given by its dotted name."""

    info_text = "a class"

    def __init__(self, default_value: Any = _MISSING, klass: Any = None, **more: Any) -> None:
        if default_value is _MISSING:
            default_value = klass
        super().__init__(default_value, **more)
        self.klass = klass if klass is not None else object if default_value is None else default_value


def _kinds(value: object) -> list[str]:
    """The names of a descriptor's classes that are traitlets' or ours, the nearest first."""
    return [kind.__name__ for kind in type(value).__mro__ if _is_known(kind)]


def _is_known(kind: type) -> bool:
    return kind.__module__ == __name__ or kind.__module__.split(".")[0] == "traitlets"


def is_trait(value: object) -> bool:
    """Whether a class's attribute is a descriptor of traitlets, or one of those above (or a class of such)."""
    kind = value if isinstance(value, type) else type(value)
    return any(base.__name__ == "TraitType" and _is_known(base) for base in kind.__mro__)


def is_option(trait: Any) -> bool:
    """Whether configuration files may set it."""
    return bool(trait.metadata.get("config"))


def handler_of(value: object) -> str:
    """What a decorated method of traitlets' does: "default", "validate", "observe"; else nothing."""
    for kind in _kinds(value):
        if kind.endswith("Handler"):
            return kind.removesuffix("Handler").lower()
    return ""


@frozen(kw_only=True)
class Read:
    """A trait, read: annotation, default, and limits as in `configurable.Setting`."""

    annotation: Any
    default: Any
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] | None = None
    convert: AnyCallable[[Any], Any] | None = None


#: Trait → annotation, for those without arguments that matter.
_PLAIN: Mapping[str, Any] = {
    "Any": Any,
    "Bool": bool,
    "Callable": AnyCallable[..., Any],
    "Float": float,
    "Int": int,
    "Integer": int,
    "Long": int,
    "MemoryLimit": Memory,
    "Unicode": str,
}


def read(trait: Any, name: str) -> Read:
    """What a trait says, for an option of this name. Raises ValueError when it cannot be an option."""
    trait.name = name
    default = default_value(trait)
    reader = None if _checks_itself(trait) else _READERS.get(_kinds(trait)[0])
    # What is not known, or checks values in a way of its own (a union, a casting trait, a site's own), is asked.
    about: dict[str, Any] = {"annotation": Any, "convert": _Checked(trait)} if reader is None else reader(trait)
    annotation = about["annotation"]
    optional = (trait.allow_none or default is None) and annotation is not Any
    return Read(
        annotation=annotation | None if optional else annotation,
        default=default,
        help=" ".join(str(trait.help or "").split()) or f"An option of the site's own, {_info(trait)}.",
        minimum=about.get("minimum"),
        maximum=about.get("maximum"),
        choices=(*about["choices"], None) if optional and about.get("choices") else about.get("choices"),
        convert=about.get("convert"),
    )


def default_value(trait: Any) -> Any:
    """The default of a trait, None where there is none."""
    default = trait.default()
    return None if type(default).__name__ == "Sentinel" else default


def _info(trait: Any) -> str:
    try:
        return str(trait.info())
    except Exception:  # noqa: BLE001 - a trait of a site's own may raise anything
        return "a value"


def _checks_itself(trait: Any) -> bool:
    """Whether a class of the site's own says what the trait takes."""
    checking = next(kind for kind in type(trait).__mro__ if "validate" in vars(kind) or kind.__name__ == "TraitType")
    return not _is_known(checking)


class _Checked:
    """A trait's own check. Raises ValueError with what the trait says."""

    def __init__(self, trait: Any) -> None:
        self._trait = trait

    def __call__(self, value: Any) -> Any:
        if value is None and self._trait.allow_none:
            return None
        traitlets = sys.modules.get("traitlets")
        owner = None if traitlets is None else traitlets.HasTraits()
        try:
            return self._trait.validate(owner, value)
        except Exception as error:  # noqa: BLE001 - a trait of a site's own may raise anything
            if type(error).__name__ == "TraitError":
                text = str(error).replace(" of a HasTraits instance", "").replace(" of any HasTraits instance", "")
                raise ValueError(f"is refused: {text}") from None
            raise ValueError(f"is refused: {type(error).__name__}: {error}") from None


def _bounds(trait: Any) -> dict[str, Any]:
    bounds = {"minimum": getattr(trait, "min", None), "maximum": getattr(trait, "max", None)}
    return {name: None if bound in (inf, -inf) else bound for name, bound in bounds.items()}


def _inner(trait: Any) -> Any:
    """The annotation of what is in a list or a dictionary; Any when it needs a check of its own."""
    if trait is None:
        return Any
    inner = read(trait, "item")
    limited = (inner.minimum, inner.maximum, inner.choices, inner.convert) != (None, None, None, None)
    return Any if limited else inner.annotation


def _needs_check(trait: Any) -> bool:
    return trait is not None and _inner(trait) is Any and "Any" not in _kinds(trait)[:1]


def _list(trait: Any) -> dict[str, Any]:
    minlen, maxlen = getattr(trait, "_minlen", 0) or 0, getattr(trait, "_maxlen", None) or sys.maxsize
    item = getattr(trait, "_trait", None)
    check = _Checked(item) if _needs_check(item) else None

    def convert(value: Sequence[Any]) -> Any:
        if not minlen <= len(value) <= maxlen:
            raise ValueError(
                f"must have {minlen} to {maxlen} items" if maxlen < sys.maxsize else f"needs {minlen} items"
            )
        return list(value if check is None else map(check, value))

    return {"annotation": GenericAlias(tuple, (_inner(item), ...)), "convert": convert}


def _dict(trait: Any) -> dict[str, Any]:
    key, value = getattr(trait, "_key_trait", None), getattr(trait, "_value_trait", None)
    annotation = GenericAlias(Mapping, (_inner(key), _inner(value)))
    return {"annotation": annotation, "convert": _Checked(trait) if _needs_check(value) else None}


def _type(trait: Any) -> dict[str, Any]:
    klass = find_class(trait.klass) if isinstance(trait.klass, str) else trait.klass
    return {"annotation": type[klass] if isinstance(klass, type) else type}


def _instance(trait: Any) -> dict[str, Any]:
    klass = find_class(trait.klass) if isinstance(trait.klass, str) else trait.klass
    return {"annotation": klass}


def _number_or_text(kind: Any) -> AnyCallable[[Any], dict[str, Any]]:
    return lambda trait: {"annotation": kind, **_bounds(trait)}


#: Trait → what it says.
_READERS: Mapping[str, AnyCallable[[Any], dict[str, Any]]] = {
    **{name: _number_or_text(kind) for name, kind in _PLAIN.items()},
    "Command": lambda trait: {"annotation": Argv, "convert": list},
    "Dict": _dict,
    "Enum": lambda trait: {"annotation": Any, "choices": tuple(trait.values)},
    "Instance": _instance,
    "List": _list,
    "Type": _type,
}
