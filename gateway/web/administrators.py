"""Routes of the API that are for administrators alone."""

from quart import g, request

from gateway.auth.chain import Chain
from gateway.auth.identity import Identity
from gateway.errors import Forbidden


async def administrator(chain: Chain, *, or_scope: str = "") -> Identity:
    """Who asks, if it is an administrator, or has a personal token of this scope.

    Raises `Forbidden`, and what `Chain.identify` raises.
    """
    identity: Identity = await chain.identify(request, any_scope=bool(or_scope))
    g.identity = identity
    has_scope = identity.token is not None and or_scope in identity.token.scopes
    if not (identity.user.admin or has_scope):
        how = " with a personal token" if identity.token is not None else ""
        raise Forbidden(f"User {identity.user.name} is no administrator of this gateway{how}")
    return identity
