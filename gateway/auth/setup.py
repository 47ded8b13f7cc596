"""The beginning and the end of an authenticator of a site's own: what it sets up, and what it cleans up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import trio
from quart import Quart

from gateway.auth.authenticator import Authenticator
from gateway.auth.sessions import finished
from gateway.config.site_errors import described
from gateway.errors import GatewayError, StartError, innermost

_log = structlog.get_logger()

#: Seconds that the authenticator's own setup may take.
SETUP_DEADLINE = 60.0

#: Seconds that a stop leaves to the authenticator's own cleanup.
CLEANUP_DEADLINE = 2.0


@asynccontextmanager
async def prepared(authenticator: Authenticator, app: Quart) -> AsyncIterator[None]:
    """Between the authenticator's `setup` and its `cleanup`. Raises StartError when the former fails."""
    await _set_up(authenticator, app)
    try:
        yield
    finally:
        await _clean_up(authenticator)


async def _set_up(authenticator: Authenticator, api: Quart) -> None:
    """Let a site's authenticator prepare itself. Raises StartError with what it said when it fails."""
    name = f"{type(authenticator).__name__}.setup()"
    with trio.move_on_after(SETUP_DEADLINE) as scope:
        try:
            await finished(authenticator.setup(api))
        except Exception as error:
            if isinstance(innermost(error), GatewayError):  # a sentence already
                raise
            _log.debug("the authenticator's setup failed", exc_info=error)
            raise StartError(f"The gateway cannot start, since {name} failed: {described(error)}") from error
    if scope.cancelled_caught:
        raise StartError(f"The gateway cannot start, since {name} has not returned within {SETUP_DEADLINE:g} seconds")


async def _clean_up(authenticator: Authenticator) -> None:
    """Let a site's authenticator close what it has opened; its failure does not stop a stop."""
    name = f"{type(authenticator).__name__}.cleanup()"
    with trio.move_on_after(CLEANUP_DEADLINE, shield=True) as scope:
        try:
            await finished(authenticator.cleanup())
        except Exception as error:  # noqa: BLE001 - a class of the site's own may raise anything
            _log.error("the authenticator's cleanup failed", method=name, error=described(error))
    if scope.cancelled_caught:
        _log.warning("the authenticator's cleanup was cut short", method=name, seconds=CLEANUP_DEADLINE)
