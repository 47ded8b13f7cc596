"""The API of personal tokens: of one's own, and of all for administrators.

Only who has logged in makes tokens, never somebody with a token: else one that
has leaked could not be got rid of. It can end itself, whatever its scope.
"""

import re
from collections.abc import Sequence

from attrs import frozen
from quart import Quart, Response, g, request

from gateway.auth.authenticator import is_account_name
from gateway.auth.chain import Chain
from gateway.auth.identity import Identity
from gateway.auth.token_record import ALL_SCOPES, LONGEST_LIFE, SCOPES, Token, Wish, wish
from gateway.auth.token_registry import TokenRegistry
from gateway.config.structure import shown
from gateway.errors import Forbidden, InvalidRequest, NotFound
from gateway.web.administrators import administrator
from gateway.web.json_answers import json_answer, json_body

_ID = re.compile("[0-9A-Za-z]{1,64}")


def add_token_routes(app: Quart, chain: Chain) -> None:
    """Add the routes to the app of the API."""
    routes = _TokenRoutes(chain)
    app.get("/api/v1/tokens")(routes.list_tokens)
    app.post("/api/v1/tokens")(routes.make_token)
    app.delete("/api/v1/tokens/<id>")(routes.revoke_token)
    app.get("/api/v1/admin/tokens")(routes.list_all_tokens)
    app.post("/api/v1/admin/tokens")(routes.make_token_for)
    app.delete("/api/v1/admin/tokens")(routes.revoke_tokens_of)
    app.delete("/api/v1/admin/tokens/<id>")(routes.revoke_any_token)


def may_make_tokens(identity: Identity) -> Identity:
    """Whoever asks, unless it is somebody with a token. Raises `Forbidden`."""
    if identity.token is not None:
        raise Forbidden(
            "A personal token makes no others, so that revoking it ends all that it was good for: log in, and make one"
        )
    return identity


@frozen
class _TokenRoutes:
    """The routes, by their functions' names."""

    chain: Chain

    async def list_tokens(self) -> Response:
        """One's own."""
        identity = await self._identified()
        return json_answer(200, {"tokens": [self._report(one) for one in self._registry.of(identity.user.name)]})

    async def make_token(self) -> Response:
        """A new one, whose text is in this answer and nowhere else."""
        identity = may_make_tokens(await self._identified())
        wanted = await self._wish(self._registry.longest, SCOPES)
        token, text = await self.chain.tokens.make(identity.user, identity.method, wanted)
        return json_answer(201, {**self._report(token), "token": text})

    async def revoke_token(self, id: str) -> Response:
        """End one's own."""
        identity = g.identity = await self.chain.identify(request, any_scope=True)
        if identity.token is not None and identity.token.id != id:
            raise Forbidden("With a personal token only that token itself can be revoked: log in to revoke others")
        await self.chain.tokens.revoke([self._token(id, identity.user.name)], by=identity.user.name)
        return json_answer(204)

    async def list_all_tokens(self) -> Response:
        """Those of all users, or those of `?user=`."""
        await administrator(self.chain)
        user = request.args.get("user")
        tokens = self._registry.all() if user is None else self._registry.of(user)
        return json_answer(200, {"tokens": [self._report(one) for one in tokens]})

    async def make_token_for(self) -> Response:
        """A new one of any user: only for those who have an account of power on this host anyway."""
        identity = await administrator(self.chain)
        if not identity.local:
            raise Forbidden(
                "Tokens for other users are made on the gateway's host: dask-gateway-server tokens create --user NAME"
            )
        user = (await json_body()).get("user")
        if not isinstance(user, str) or not is_account_name(user):
            raise InvalidRequest(f"Field 'user' is {shown(user)}, expected the name of an account")
        wanted = await self._wish(LONGEST_LIFE, ALL_SCOPES)
        token, text = await self.chain.tokens.make_for(user, wanted, administrator=identity.user.name)
        return json_answer(201, {**self._report(token), "token": text})

    async def revoke_any_token(self, id: str) -> Response:
        """End anybody's."""
        identity = await administrator(self.chain)
        await self.chain.tokens.revoke([self._token(id)], by=identity.user.name)
        return json_answer(204)

    async def revoke_tokens_of(self) -> Response:
        """End all of the user in `?user=`."""
        identity = await administrator(self.chain)
        user = request.args.get("user", "")
        if not user:
            raise InvalidRequest("Query 'user' is missing: it says whose tokens are to be revoked")
        tokens = self._registry.of(user)
        await self.chain.tokens.revoke(tokens, by=identity.user.name)
        return json_answer(200, {"revoked": [token.id for token in tokens]})

    @property
    def _registry(self) -> TokenRegistry:
        return self.chain.tokens.registry

    async def _identified(self) -> Identity:
        identity = g.identity = await self.chain.identify(request)
        return identity

    async def _wish(self, longest: int, allowed: Sequence[str]) -> Wish:
        body = await json_body()
        return wish(body.get("label"), body.get("scopes"), body.get("expires_in"), longest=longest, allowed=allowed)

    def _token(self, id: str, user: str | None = None) -> Token:
        token = self._registry.get(id) if _ID.fullmatch(id) else None
        if token is None or user not in (None, token.user):
            raise NotFound(f"There is no personal token {shown(id)} here: it was revoked, or has expired")
        return token

    def _report(self, token: Token) -> dict[str, object]:
        return self.chain.tokens.report(token)
