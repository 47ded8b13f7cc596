"""The beginning and the end: of the authenticators together, and of what one of a site's own sets up and cleans up."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
import trio
from quart import Quart

from gateway.auth.authenticator import Authenticator
from gateway.auth.chain import Chain, finished
from gateway.auth.ended_sessions import EndedSessions
from gateway.auth.sessions import Sessions
from gateway.auth.token_registry import TokenRegistry
from gateway.auth.unix_groups import UnixGroups
from gateway.config.server import DaskGateway
from gateway.config.site_errors import described
from gateway.errors import GatewayError, StartError, innermost
from gateway.store.writer import Store

_log = structlog.get_logger()

#: Seconds that the authenticator's own setup may take.
SETUP_DEADLINE = 60.0

#: Seconds that a stop leaves to the authenticator's own cleanup.
CLEANUP_DEADLINE = 2.0


async def open_chain(
    authenticators: Sequence[Authenticator],
    store: Store,
    prefix: str,
    options: DaskGateway,
    *,
    needs_groups: bool = False,
) -> Chain:
    """The authenticators, with sessions and personal tokens that outlive this process.

    The first one's options say how long clients have a session, `options` what tokens there may be. With
    `needs_groups` nobody is let in whose groups the system does not say.
    Raises `StoreError`, or `StartError` when what is stored cannot be read.
    """
    first = authenticators[0]
    longest = max(max(one.cache_max_age, one.login_max_age) for one in authenticators)
    documents = await store.load_documents()
    ended = EndedSessions(longest, store.save, store.forget_documents, documents)
    tokens = TokenRegistry(
        store.save,
        store.forget_documents,
        documents,
        longest=options.token_max_age,
        most_of_user=options.tokens_per_user,
    )
    keys = store.derive_keys(Sessions.PURPOSE)
    sessions = Sessions(first.cookie_name, first.cache_max_age, prefix, keys=keys, ended=ended)
    await ended.tidy(sessions.now())
    return Chain(authenticators, sessions, tokens=tokens, groups=UnixGroups(needed=needs_groups))


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
