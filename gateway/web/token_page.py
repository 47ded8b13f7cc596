"""The page /tokens: one's personal tokens, a form to make one, and a button beside each to end it; without any script.

A new token is shown in the answer to the form, and never again: the answer is kept by no cache (router.py).
"""

from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from quart import Quart, Response, g, redirect, request

from gateway.auth.chain import Chain
from gateway.auth.identity import Identity
from gateway.auth.token_record import CLUSTERS, DAY, LONGEST_LABEL, METRICS, USUAL_LIFE, Token, wish
from gateway.config.structure import shown
from gateway.errors import Forbidden, GatewayError, InvalidRequest
from gateway.web.pages import rendered

#: Lives among which one chooses, in seconds; the longest that there is stands behind them.
_LIVES = tuple(days * DAY for days in (1, 7, 30, 90, 180, 365))
#: Words for numbers of seconds.
_UNITS = (("day", DAY), ("hour", 3600), ("minute", 60), ("second", 1))


def add_token_page(app: Quart, chain: Chain, prefix: str) -> None:
    """Add the page's routes to the app of the API; `prefix` is before the paths that browsers see."""
    page = _TokenPage(chain, prefix)
    app.get("/tokens")(page.show_tokens)
    app.post("/tokens")(page.make_token_by_form)
    app.post("/tokens/<id>/revoke")(page.revoke_token_by_form)


@frozen
class _TokenPage:
    """The routes, by their functions' names."""

    chain: Chain
    prefix: str

    async def show_tokens(self) -> Response:
        """The list, and the form."""
        return await self._page(200, await self._identified())

    async def make_token_by_form(self) -> Response:
        """The list with a new token, which is shown this once; or what is wrong with the form."""
        identity = await self._identified()
        form = await request.form
        try:
            wanted = wish(
                form.get("label"),
                form.getlist("scopes"),
                _number(form.get("expires_in", "")),
                longest=self.chain.tokens.registry.longest,
            )
            token, text = await self.chain.tokens.make(identity.user, identity.method, wanted)
        except GatewayError as error:
            return await self._page(error.status, identity, failure=str(error), label=form.get("label", ""))
        return await self._page(200, identity, new=self._row(token), text=text, address=self._address)

    async def revoke_token_by_form(self, id: str) -> Response:
        """Back to the list, without that token."""
        identity = await self._identified()
        token = self.chain.tokens.registry.get(id)
        if token is not None and token.user == identity.user.name:  # else it is gone already
            await self.chain.tokens.revoke([token], by=identity.user.name)
        response: Response = redirect(f"{self.prefix}/tokens", 303)  # type: ignore[assignment]
        return response

    async def _identified(self) -> Identity:
        identity = g.identity = await self.chain.identify(request)
        if identity.token is not None:
            raise Forbidden("Personal tokens are for programs, and this page is for people: log in to see it")
        return identity

    async def _page(self, status: int, identity: Identity, **values: Any) -> Response:
        tokens = self.chain.tokens.registry.of(identity.user.name)
        longest = self.chain.tokens.registry.longest
        return await rendered(
            status,
            "tokens.html",
            self.prefix,
            user=identity.user,
            rows=[self._row(token) for token in tokens],
            choices={life: spoken(life) for life in (*_LIVES, longest) if 0 < life <= longest},
            usual=min(USUAL_LIFE, longest),
            longest_label=LONGEST_LABEL,
            **values,
        )

    def _row(self, token: Token) -> dict[str, Any]:
        told = self.chain.tokens.report(token)
        times = {name: _moment(told[name]) for name in ("created", "expires", "last_used")}
        return {**told, **times, "may_change": CLUSTERS in told["scopes"], "may_look": told["scopes"] != [METRICS]}

    @property
    def _address(self) -> str:
        return f"{request.scheme}://{request.host}{self.prefix}"


def _moment(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidRequest(f"Field 'expires_in' is {shown(text)}, expected a number of seconds") from None


def spoken(seconds: int) -> str:
    """A span of time in the largest unit of which it is a whole number."""
    name, unit = next((name, unit) for name, unit in _UNITS if seconds % unit == 0)
    return f"{seconds // unit} {name}{'' if seconds == unit else 's'}"
