"""What a scheduler's heartbeat says, read with suspicion: a cluster's user controls every byte of it.

The addresses decide where the gateway connects on behalf of others, so they
must be complete and agree on one host. The lists of workers are compared with
the workers the gateway knows; names it does not know mean nothing.

`closed_workers` grows for as long as the cluster lives. It is only looked at
for workers that have never been seen connected: one that was connected and is
no longer listed as active or closing has left, whatever the long list says.
heartbeat_body.py takes a long one apart before it gets here.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import orjson
from attrs import frozen

from gateway.addresses import Address, parse_url
from gateway.clusters.lifecycle import COMING_STATES, RowEvent, RowState
from gateway.config.structure import shown
from gateway.errors import BadRequest, InvalidRequest
from gateway.models import MOST_WORKERS


@frozen
class Heartbeat:
    """A well-formed heartbeat."""

    scheduler_address: str
    dashboard_address: str
    api_address: str
    count: int
    active_workers: frozenset[str]
    closing_workers: frozenset[str]
    closed_workers: Collection[str]


def parse_heartbeat(body: bytes, closed: Collection[str] = ()) -> Heartbeat:
    """Read a heartbeat's body; `closed` are names that its list of closed workers had before it was shortened.

    Raises `BadRequest` or `InvalidRequest` naming the field.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The heartbeat is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadRequest("The heartbeat is not a JSON object")
    scheduler = _address(message, "scheduler_address", "tls")
    api = _address(message, "api_address", "http")
    dashboard = _address(message, "dashboard_address", "http") if message.get("dashboard_address") else None
    hosts = {address.host for address in (scheduler, api, dashboard) if address}
    if len(hosts) > 1:
        raise InvalidRequest(f"The addresses of a heartbeat name different hosts: {', '.join(sorted(hosts))}")
    count = message.get("count")
    if type(count) is not int or count < 0:
        raise InvalidRequest(f"Field 'count' of a heartbeat is {shown(count)}, expected an integer >= 0")
    return Heartbeat(
        scheduler_address=message["scheduler_address"],
        dashboard_address=message["dashboard_address"] if dashboard else "",
        api_address=message["api_address"],
        count=min(count, MOST_WORKERS),
        active_workers=frozenset(_names(message, "active_workers")),
        closing_workers=frozenset(_names(message, "closing_workers")),
        closed_workers=[*_names(message, "closed_workers"), *closed],
    )


def worker_events(workers: Mapping[str, RowState], heartbeat: Heartbeat) -> Iterator[tuple[str, RowEvent]]:
    """What the heartbeat means for each of `workers` of which it is news. Cost: the known and the connected ones."""
    active = {worker_name(name) for name in heartbeat.active_workers}
    closing = {worker_name(name) for name in heartbeat.closing_workers} - active
    unseen = not COMING_STATES.isdisjoint(workers.values())
    closed = {worker_name(name) for name in heartbeat.closed_workers} if unseen else frozenset()
    for name, state in workers.items():
        if name in active:
            if state is not RowState.ACTIVE:
                yield name, RowEvent.CONNECTED
        elif name in closing:
            yield name, RowEvent.CLOSING
        elif state is RowState.ACTIVE or (state in COMING_STATES and name in closed):
            yield name, RowEvent.DISCONNECTED


def worker_name(reported: str) -> str:
    """Our name of a worker as a scheduler reports it.

    Ours have two parts (`w3-0`); `dask worker --nworkers k` appends a third.
    """
    return "-".join(reported.split("-", 2)[:2])


def _address(message: Mapping[str, Any], field: str, scheme: str) -> Address:
    value = message.get(field)
    try:
        return parse_url(value if isinstance(value, str) else "", scheme)
    except ValueError:
        wrong = f"Field {field!r} of a heartbeat is {shown(value)}, expected {scheme}://host:port"
        raise InvalidRequest(wrong) from None


def _names(message: Mapping[str, Any], field: str) -> list[str]:
    value = message.get(field, [])
    if not isinstance(value, list):
        raise InvalidRequest(f"Field {field!r} of a heartbeat is not a list")
    # distributed allows names of any type; only strings can be ours
    return [name for name in value if isinstance(name, str)]
