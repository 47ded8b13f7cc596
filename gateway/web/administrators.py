"""Routes of the API that are for administrators alone."""

from quart import g, request

from gateway.auth.chain import Chain
from gateway.auth.identity import Identity
from gateway.errors import Forbidden


async def administrator(chain: Chain) -> Identity:
    """Who asks, if it is an administrator. Raises `Forbidden`, and what `Chain.identify` raises."""
    identity: Identity = await chain.identify(request)
    g.identity = identity
    if not identity.user.admin:
        how = " with a personal token" if identity.token is not None else ""
        raise Forbidden(f"User {identity.user.name} is no administrator of this gateway{how}")
    return identity
