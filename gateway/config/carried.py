"""What a class that was made a config class consists of, and what happens when it has an instance (see carry.py)."""

from collections.abc import Callable
from typing import Any

import attrs

from gateway.config.fields import (
    Setting,
    SettingError,
    compute_defaults,
    default_of,
    dynamic_default,
    is_secret_name,
    setting_of,
    settings_of,
    structure_setting,
)
from gateway.config.traits import Read, default_value


class Proposal(dict[str, Any]):
    """What a method decorated with `@validate` gets: `value`, `trait` (the option's name) and `owner`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Shadow:
    """Hides a descriptor of a mixed-in class from the instance, whose own value then is what is read."""

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        raise AttributeError("this option has no value yet")


class PlainTrait:
    """A trait that is no option: an attribute whose default is made when it is first read."""

    def __init__(self, trait: Any, name: str, method: str) -> None:
        self._trait, self._name, self._method = trait, name, method

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        value = getattr(instance, self._method)() if self._method else default_value(self._trait)
        vars(instance)[self._name] = value
        return value


def new_setting(name: str, known: Read) -> Setting:
    secret = is_secret_name(name)
    return Setting(
        help=known.help,
        minimum=known.minimum,
        maximum=known.maximum,
        choices=known.choices,
        secret=secret,
        convert=_silent(known.convert) if secret and known.convert is not None else known.convert,
    )


def _silent(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same check, whose refusal does not repeat the value."""

    def check(value: Any) -> Any:
        try:
            return convert(value)
        except ValueError:
            raise ValueError("is refused by the check of its trait") from None

    return check


def narrowed(about: Setting, known: Read, has_help: bool) -> Setting:
    """What is known of an option of ours, with what a site's trait of that name adds to its limits."""
    lows = [bound for bound in (about.minimum, known.minimum) if bound is not None]
    highs = [bound for bound in (about.maximum, known.maximum) if bound is not None]
    checks = [check for check in (about.validator, known.convert) if check is not None]

    def check_all(value: Any) -> None:
        for check in checks:
            check(value)

    return attrs.evolve(
        about,
        help=known.help if has_help else about.help,
        minimum=max(lows, default=None),
        maximum=min(highs, default=None),
        choices=known.choices or about.choices,
        validator=check_all if checks else None,
    )


def complete_afterwards(cls: Any, validators: list[tuple[str, str]]) -> None:
    """Compute defaults and call validators in every new instance, before the checks that concern several options."""
    own = vars(cls).get("__attrs_post_init__")

    def check(self: Any) -> None:
        compute_defaults(self)
        for option, method in validators:
            _validate(self, option, method)
        following = own.__get__(self) if own else getattr(super(cls, self), "__attrs_post_init__", None)
        if following is not None:
            following()

    cls.__attrs_post_init__ = check


def _validate(instance: Any, option: str, method: str) -> None:
    """One validator, for a value that is not the default, as in traitlets."""
    field = settings_of(type(instance)).get(option)
    value = getattr(instance, option)
    if field is None or value is None:
        return
    if dynamic_default(field) is None and value == structure_setting(default_of(field), field):
        return
    try:
        result = getattr(instance, method)(Proposal(value=value, trait=option, owner=instance))
    except SettingError:
        raise
    except Exception as error:
        raise _refusal(option, value, error, secret=setting_of(field).secret) from error
    object.__setattr__(instance, option, structure_setting(result, field))


def _refusal(option: str, value: Any, error: Exception, *, secret: bool) -> SettingError:
    """What a validator's error says of an option; never a secret's value."""
    kind = "" if isinstance(error, ValueError) or type(error).__name__ == "TraitError" else type(error).__name__
    text = ": ".join(part for part in (kind, str(error)) if part) or type(error).__name__
    if secret and isinstance(value, str):
        text = text.replace(value, "********")
    return SettingError(option, f"is refused: {text}", value=attrs.NOTHING if secret else value)
