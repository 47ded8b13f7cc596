"""The routes by which an owner shares a cluster, and sees who came (clusters/sharing.py says what that means)."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from attrs import frozen
from quart import Quart, Response

from gateway.clusters.manager import Manager
from gateway.clusters.sharing import access_by, departure
from gateway.config.structure import InvalidValue, ShareNames, parse_share_names, shown
from gateway.errors import InvalidRequest, NotFound
from gateway.models import ClusterRecord, User
from gateway.web.json_answers import json_answer, json_body
from gateway.web.pages import redirect_to
from gateway.web.reads import Reads


def add_shares(
    app: Quart, manager: Manager, reads: Reads, identified: Callable[[], Awaitable[User]], prefix: str
) -> None:
    """Add the routes. `identified` is who asks; it raises `Unauthorized`. `prefix` is before what browsers see."""
    routes = _Shares(manager, reads, identified, prefix)
    app.get("/open/<name>")(routes.open_dashboard)
    app.get("/api/v1/clusters/<name>/shares")(routes.show_shares)
    app.put("/api/v1/clusters/<name>/shares")(routes.replace_shares)
    app.delete("/api/v1/clusters/<name>/guests/<user>")(routes.turn_out)


@frozen
class _Shares:
    """The routes, by their functions' names."""

    manager: Manager
    reads: Reads
    identified: Callable[[], Awaitable[User]]
    prefix: str

    async def open_dashboard(self, name: str) -> Response:
        """To a cluster's dashboard, by a link of whoever asks."""
        user = await self.identified()
        cluster = self.reads.allowed(user, name)
        if self.reads.needs_admission(user, name):
            await self.manager.let_in(user, cluster)
        path = self.reads.dashboard(user, name)
        if not path:
            raise NotFound(f"Cluster {cluster.name} has no dashboard at the moment")
        return redirect_to(f"{self.prefix}{path}")

    async def show_shares(self, name: str) -> Response:
        """Who may come in, and who came; to others than the owner only what concerns them."""
        user = await self.identified()
        return json_answer(200, _shares(user, self.reads.allowed(user, name).record))

    async def replace_shares(self, name: str) -> Response:
        """Who may come in from now on."""
        user = await self.identified()
        cluster, body = self.reads.allowed(user, name, "share"), await json_body()
        if unknown := body.keys() - {"view", "use"}:
            raise InvalidRequest(f"There is no field {shown(min(unknown))}: the names stand in 'view' and 'use'")
        await self.manager.share(cluster, _names(body, "view"), _names(body, "use"))
        return json_answer(200, _shares(user, cluster.record))

    async def turn_out(self, name: str, user: str) -> Response:
        """End somebody's connections; if they may still come, they have to connect anew."""
        cluster = self.reads.allowed(await self.identified(), name, "share")
        await cluster.share(partial(departure, user))
        return json_answer(204)


def _names(body: Any, field: str) -> ShareNames:
    try:
        return parse_share_names(body.get(field, []))
    except InvalidValue as error:
        raise InvalidRequest(f"Field {field!r} {error}") from None


def _shares(user: User, record: ClusterRecord) -> dict[str, Any]:
    mine = {user.name, *(f"@{group}" for group in user.groups)}
    owns = user.name == record.username
    return {
        "owner": record.username,
        "view": [name for name in record.share_view if owns or name in mine],
        "use": [name for name in record.share_use if owns or name in mine],
        "guests": [
            {"user": guest.user, "share": guest.share, "access": access_by(guest.share, record).name.lower()}
            for guest in record.guests
            if owns or guest.user == user.name
        ],
    }
