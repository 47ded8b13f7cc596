"""Events and logs of a cluster: as they are, and as they come (`?follow`).

The same for its owner, for those with whom it is shared, and for
administrators: the routes say who may (api.py, admin_routes.py), and are asked
again before each piece of what is followed.

Events are sent when they happen. A log is a file of the user's, somewhere that
no system tells of changes: it is looked at by the launcher, again and again,
the less often the less comes.
"""

import re
from collections.abc import Callable, Sequence

import trio
from attrs import define, field
from quart import Response, request

from gateway.clusters.cluster import Cluster
from gateway.clusters.events import Events
from gateway.errors import InvalidRequest, NotFound
from gateway.models import Role
from gateway.web.event_stream import EventStreams, Sent
from gateway.web.json_answers import flag, json_answer
from gateway.web.reads import event_report, events_report

#: A job's name; workers of one job that has several have a third part, and one log.
_JOB_NAME = re.compile(r"(scheduler|w[0-9]{1,9}-[0-9]{1,9})(-[0-9]{1,9})?")
#: Seconds between two looks at a log, at first and at most.
SOON, LATER = 1.0, 15.0

#: Finds the cluster for whoever asks, as long as they may see it; raises `GatewayError` as soon as they may not.
Find = Callable[[], Cluster]


def events_answer(streams: EventStreams, listener: str, find: Find) -> Response:
    """What has happened to a cluster; with `?follow`, what happens, from the event of Last-Event-ID on.

    204 when nothing will follow that one: browsers then stop asking. Raises what `find` and `EventStreams.answer` do.
    """
    cluster = find()
    if not flag(request.args.get("follow")):
        return json_answer(200, events_report(cluster))
    source = EventSource(find, _last_number(cluster, request.headers.get("Last-Event-ID", "")))
    if cluster.events.over and not cluster.events.since(source.last):
        return json_answer(204)
    return streams.answer(listener, source)


async def log_answer(streams: EventStreams, listener: str, find: Find) -> Response:
    """The end of a job's log; with `?follow`, what follows as well, or what follows the byte of Last-Event-ID.

    Which job it is say `?role=` and `?name=`; the scheduler, if neither does. Raises `InvalidRequest`, `NotFound` for
    no log, and what `find`, `Cluster.read_log` and `EventStreams.answer` raise.
    """
    cluster = find()
    name = _job_name(cluster, request.args.get("role"), request.args.get("name"))
    if flag(request.args.get("follow")):
        return streams.answer(listener, LogSource(find, name, _last_byte(request.headers.get("Last-Event-ID", ""))))
    log = await cluster.read_log(name)
    if log is None:
        raise NotFound(_no_log(cluster, name))
    return json_answer(200, {"name": name, "start": log.start, "end": log.end, "text": log.text})


@define
class EventSource:
    """The events of a cluster after the one with the number `last`."""

    _find: Find
    last: int
    over: bool = field(default=False, init=False)
    _events: Events | None = field(default=None, init=False)

    async def take(self) -> Sequence[Sent]:
        """See `event_stream.Source`."""
        events = self._events = self._find().events
        news, self.over = events.since(self.last), events.over
        self.last = news[-1].number if news else self.last
        return [Sent(event_report(event), f"{events.began}-{event.number}") for event in news]

    async def wait(self) -> None:
        """See `event_stream.Source`. Those who may see the cluster no more are told so by the next `take`."""
        events = self._events
        if events is not None and not (events.since(self.last) or events.over):
            await events.changes.wait(events.changes.count)


@define
class LogSource:
    """A job's log from its byte `start` on, or from its end if that is None."""

    _find: Find
    _name: str
    _start: int | None
    over: bool = field(default=False, init=False)
    _pause: float = field(default=0.0, init=False)

    async def take(self) -> Sequence[Sent]:
        """See `event_stream.Source`."""
        cluster = self._find()
        ended = cluster.ended or self._name not in cluster.rows.by_name  # before the log is read to its end
        log = await cluster.read_log(self._name, self._start, whole_lines=not ended)
        self._find()  # who may not see it any more does not see what has been read meanwhile
        if log is None or not log.text:
            self.over = ended
            self._pause = min(LATER, max(SOON, 2 * self._pause))
            return []
        self._pause, self._start = 0.0, log.end
        return [Sent({"text": log.text}, str(log.end))]

    async def wait(self) -> None:
        """See `event_stream.Source`."""
        await trio.sleep(self._pause)


def _last_number(cluster: Cluster, id: str) -> int:
    """The number in an id, 0 for one of other times: then all events are news."""
    began, _, number = id.partition("-")
    known = began == str(cluster.events.began) and number.isascii() and number.isdigit() and len(number) < 16
    return int(number) if known else 0


def _last_byte(id: str) -> int | None:
    return int(id) if id.isascii() and id.isdigit() and len(id) < 16 else None


def _job_name(cluster: Cluster, role: str | None, name: str | None) -> str:
    """Which job's log is wanted. Raises `InvalidRequest`."""
    if role is not None and role not in tuple(Role):
        raise InvalidRequest(f"Query 'role' is {role[:40]!r}, expected one of {', '.join(Role)}")
    if name is None:
        if role == Role.WORKER:
            raise InvalidRequest(f"Say whose log: add ?name=..., as in name=w1-0. {_workers(cluster)}")
        return Role.SCHEDULER
    match = _JOB_NAME.fullmatch(name)
    if match is None or role not in (None, Role.SCHEDULER if match[1] == Role.SCHEDULER else Role.WORKER):
        what = "a job" if role is None else f"the {role}" if role == Role.SCHEDULER else f"a {role}"
        raise InvalidRequest(f"Query 'name' is {name[:40]!r}, which names no log of {what}. {_workers(cluster)}")
    return match[1]


def _no_log(cluster: Cluster, name: str) -> str:
    if cluster.ended:
        return (
            f"There is no log of {name}: of cluster {cluster.name}, which has ended, logs are kept only if it has"
            " failed, and for some time"
        )
    if name in cluster.rows.by_name:
        return f"There is no log of {name} yet: its job has written nothing"
    return f"Cluster {cluster.name} has had no job {name}. {_workers(cluster)}"


def _workers(cluster: Cluster) -> str:
    """Which workers there are, in a sentence."""
    names = list(cluster.rows.states)
    some = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"Its workers are {some}" if names else "It has no workers at the moment"
