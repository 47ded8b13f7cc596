"""What can be wrong with the value of an option, said for people (pure)."""

import attrs

from gateway.config.structure import shown


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


class OptionIsFixed(attrs.exceptions.FrozenAttributeError):
    """Somebody's code sets an option of an instance."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        # Not by `args`, which attrs has as an attribute of the class, and in some versions as that alone.
        return f"{self.name} is an option, which stays as it was configured"
