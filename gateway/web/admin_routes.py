"""What administrators may do with what is not theirs; nobody else gets here, and none of it by any other route.

Each act needs a reason, which stands in the log beside who did it; whoever is
concerned reads it among their cluster's events. Administrators see neither
keys nor options of clusters, which may hold secrets of their users, and use no
cluster that is not shared with them.
"""

import heapq
from collections.abc import Sequence
from functools import partial
from typing import Any

import structlog
from attrs import frozen
from quart import Quart, Response, request

from gateway.auth.chain import Chain
from gateway.clusters.lifecycle import is_active
from gateway.clusters.manager import Manager
from gateway.clusters.reasons import by_administrator
from gateway.clusters.sharing import ended_by
from gateway.config.structure import shown
from gateway.errors import InvalidRequest
from gateway.models import USER_NAME, ClusterRecord
from gateway.user_text import one_line
from gateway.web.administrators import administrator
from gateway.web.cluster_news import events_answer, log_answer
from gateway.web.event_stream import EventStreams
from gateway.web.holdings import holdings, limits_in_force
from gateway.web.json_answers import json_answer
from gateway.web.reads import statuses_in

_log = structlog.get_logger()

#: Clusters that one answer shows, if no other number is asked for, and at most.
PAGE, LONGEST_PAGE = 100, 1000
#: Characters of a reason.
MAX_REASON = 500


def add_admin(app: Quart, manager: Manager, chain: Chain, streams: EventStreams) -> None:
    """Add the routes to the app of the API."""
    routes = _Admin(manager, chain, streams)
    app.get("/api/v1/admin/clusters")(routes.list_all)
    app.get("/api/v1/admin/clusters/<name>/events")(routes.show_events)
    app.get("/api/v1/admin/clusters/<name>/logs")(routes.read_log)
    app.get("/api/v1/admin/users")(routes.users)
    app.get("/api/v1/admin/limits")(routes.limits)
    app.delete("/api/v1/admin/clusters/<name>")(routes.stop)
    app.delete("/api/v1/admin/clusters/<name>/shares")(routes.end_shares)
    app.delete("/api/v1/admin/sessions/<user>")(routes.end_sessions)


@frozen
class _Admin:
    """The routes, by their functions' names."""

    manager: Manager
    chain: Chain
    streams: EventStreams

    async def list_all(self) -> Response:
        """A page of all users' clusters, the newest first."""
        await self._administrator()
        user, after = request.args.get("user"), _position(request.args.get("after"))

        def wanted(record: ClusterRecord) -> bool:
            return user in (None, record.username) and (after is None or _place(record) < after)

        found = await self.manager.list_all(statuses_in(request.args.get("status")), wanted)
        limit = _limit(request.args.get("limit"))
        page = heapq.nlargest(limit, found, key=_place)
        more = f"{page[-1].start_time}-{page[-1].name}" if len(found) > limit else None
        return json_answer(200, {"clusters": [_shown(record) for record in page], "after": more})

    async def show_events(self, name: str) -> Response:
        """What has happened to a cluster, and happens."""
        return events_answer(self.streams, await self._administrator(), partial(self.manager.find, name))

    async def read_log(self, name: str) -> Response:
        """The log of a job."""
        who, cluster = await self._administrator(), self.manager.find(name)
        _log.info("an administrator reads a log", administrator=who, cluster=name, owner=cluster.record.username)
        return await log_answer(self.streams, who, partial(self.manager.find, name))

    async def users(self) -> Response:
        """Who holds what, by what clusters that have not ended hold."""
        await self._administrator()
        return json_answer(200, {"users": holdings(self.manager.ledger)})

    async def limits(self) -> Response:
        """What may be held, and is, by all together, by groups, and by each user who holds something."""
        await self._administrator()
        return json_answer(200, {"limits": limits_in_force(self.manager.ledger)})

    async def stop(self, name: str) -> Response:
        """Stop a cluster; its owner reads who did it, and why."""
        who, why = await self._administrator(), _reason()
        cluster = self.manager.find(name)
        if is_active(cluster.record.status):
            await cluster.stop(by_administrator(who, why))
            _note("stopped a cluster", who, why, cluster=cluster.name, owner=cluster.record.username)
        return json_answer(204)

    async def end_shares(self, name: str) -> Response:
        """Share a cluster with nobody any more."""
        who, why = await self._administrator(), _reason()
        cluster = self.manager.find(name)
        await cluster.share(partial(ended_by, who, why))
        _note("ended the sharing of a cluster", who, why, cluster=cluster.name, owner=cluster.record.username)
        return json_answer(204)

    async def end_sessions(self, user: str) -> Response:
        """End all sessions of a user, who has to authenticate again."""
        who, why = await self._administrator(), _reason()
        if not USER_NAME.fullmatch(user):
            raise InvalidRequest(f"{shown(user)} is no name of a user")
        await self.chain.sessions.end_all(user)
        _note("ended all sessions of a user", who, why, user=user)
        return json_answer(204)

    async def _administrator(self) -> str:
        """Who asks. Raises what `administrator` raises."""
        return (await administrator(self.chain)).user.name


def _note(act: str, administrator: str, reason: str, **about: str) -> None:
    """Have an act in the log."""
    _log.warning(f"an administrator has {act}", administrator=administrator, reason=reason, **about)


def _reason() -> str:
    """Why. Raises `InvalidRequest` when that is not said."""
    reason = one_line(request.args.get("reason", ""), MAX_REASON)
    if not reason:
        raise InvalidRequest("Say why: add ?reason=..., which whoever is concerned will read")
    return reason


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if text.isascii() and text.isdigit() and 0 < int(text[:9]) <= LONGEST_PAGE:
        return int(text[:9])
    raise InvalidRequest(f"Query 'limit' is {text[:40]!r}, expected a number from 1 to {LONGEST_PAGE}")


def _place(record: ClusterRecord) -> tuple[int, str]:
    return record.start_time, record.name


def _position(text: str | None) -> tuple[int, str] | None:
    """Where the last page ended, as it said in `after`."""
    if text is None:
        return None
    time, dash, name = text.partition("-")
    if dash and time.isascii() and time.isdigit() and len(time) < 20:
        return int(time), name
    raise InvalidRequest(f"Query 'after' is {text[:80]!r}, expected what the page before said")


def _shown(record: ClusterRecord) -> dict[str, Any]:
    shares: Sequence[tuple[str, Sequence[str]]] = (("view", record.share_view), ("use", record.share_use))
    return {
        "name": record.name,
        "user": record.username,
        "status": record.status,
        "start_time": record.start_time,
        "stop_time": record.stop_time,
        "workers": record.count,
        "reason": record.reason or record.stopped,
        "shared": {verb: names for verb, names in shares if names},
    }
