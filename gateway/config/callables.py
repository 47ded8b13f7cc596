"""Functions of a site's own as options: what they are called with is checked when the configuration is read (pure)."""

import inspect
from collections.abc import Callable
from typing import Any


def function_of(*parameters: str) -> Callable[[Any], None]:
    """A validator of functions that are called with these, which are named for people.

    It raises ValueError.
    """

    def check(function: Any) -> None:
        try:
            inspect.signature(function).bind(*parameters)
        except ValueError:  # one of those whose arguments Python does not tell
            return
        except TypeError:
            name = getattr(function, "__qualname__", type(function).__qualname__)
            wanted = f"a function of ({', '.join(parameters)})"
            raise ValueError(f"must be {wanted}, not {name}{inspect.signature(function)}") from None

    return check
