"""Functions of a site's own are called: async or not, and not for ever."""

import inspect
from collections.abc import Callable
from typing import Any

import structlog
import trio

from gateway.errors import InvalidRequest

_log = structlog.get_logger()

#: Seconds that an async function of a site has.
DEADLINE = 30.0


class HookTooSlow(InvalidRequest):
    """A site's function has not answered in time. (Not a 503, of which the published client shows no text.)"""


async def call_hook(option: str, hook: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns that stands in this option. Raises whatever it raises, and `HookTooSlow`."""
    with trio.move_on_after(DEADLINE):
        result = hook(*arguments)
        return await result if inspect.isawaitable(result) else result
    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    _log.error("a function of the site does not answer", option=option, function=name, seconds=DEADLINE)
    raise HookTooSlow(
        f"The site's function {name} ({option}) has not answered within {DEADLINE:g} s: please try again, and tell the"
        " administrators of this gateway if that does not help"
    )
