"""What a scheduler's heartbeat says, read with suspicion: a cluster's user controls every byte of it.

The addresses decide where the gateway connects on behalf of others, so they
must be complete and agree on one host. The lists of workers are compared with
the workers the gateway knows; names it does not know mean nothing.

`closed_workers` grows for as long as the cluster lives. It is only looked at
for workers that have never been seen connected: one that was connected and is
no longer listed as active or closing has left, whatever the long list says.
heartbeat_body.py takes a long one apart before it gets here.
"""

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
from attrs import frozen

from gateway.clusters.lifecycle import COMING_STATES, RowEvent, RowState
from gateway.config.structure import shown
from gateway.errors import BadRequest, InvalidRequest
from gateway.models import MOST_WORKERS

#: RFC 1123 2.1, and underscores, which some sites have.
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
#: Characters: a scheme, the longest name of a host, a port. (`urlsplit` remembers what it has been asked.)
_LONGEST_ADDRESS = 300


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
    dashboard = _address(message, "dashboard_address", "http") if message.get("dashboard_address") else ""
    hosts = {urlsplit(address).hostname for address in (scheduler, api, dashboard) if address}
    if len(hosts) > 1:
        raise InvalidRequest(f"The addresses of a heartbeat name different hosts: {', '.join(sorted(map(str, hosts)))}")
    count = message.get("count")
    if type(count) is not int or count < 0:
        raise InvalidRequest(f"Field 'count' of a heartbeat is {shown(count)}, expected an integer >= 0")
    return Heartbeat(
        scheduler_address=scheduler,
        dashboard_address=dashboard,
        api_address=api,
        count=min(count, MOST_WORKERS),
        active_workers=frozenset(_names(message, "active_workers")),
        closing_workers=frozenset(_names(message, "closing_workers")),
        closed_workers=[*_names(message, "closed_workers"), *closed],
    )


def worker_events(workers: Mapping[str, RowState], heartbeat: Heartbeat) -> Iterator[tuple[str, RowEvent]]:
    """What the heartbeat means for each of `workers`. Cost: the known workers and the connected ones."""
    active = {worker_name(name) for name in heartbeat.active_workers}
    closing = {worker_name(name) for name in heartbeat.closing_workers} - active
    unseen = any(state in COMING_STATES for state in workers.values())
    closed = {worker_name(name) for name in heartbeat.closed_workers} if unseen else frozenset()
    for name, state in workers.items():
        if name in active:
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


def _address(message: Mapping[str, Any], field: str, scheme: str) -> str:
    value = message.get(field)
    try:
        parts = urlsplit(value) if isinstance(value, str) and len(value) <= _LONGEST_ADDRESS else None
        good = (
            parts is not None
            and parts.scheme == scheme
            and _is_host(parts.hostname or "")
            and bool(parts.port)
            and not (parts.path or parts.query or parts.fragment or parts.username or parts.password)
            and all(32 < ord(char) < 127 for char in parts.netloc)
        )
    except ValueError:  # a port that is no number, a broken IPv6 address
        good = False
    if not good:
        raise InvalidRequest(f"Field {field!r} of a heartbeat is {shown(value)}, expected {scheme}://host:port")
    assert isinstance(value, str)
    return value


def _is_host(host: str) -> bool:
    """An IP address or a DNS name. Others are no mere failures: looking up `a..b` raises an UnicodeError."""
    if len(host) < 254 and _DNS_NAME.fullmatch(host):  # as IPv4 addresses are, too
        return True
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _names(message: Mapping[str, Any], field: str) -> list[str]:
    value = message.get(field, [])
    if not isinstance(value, list):
        raise InvalidRequest(f"Field {field!r} of a heartbeat is not a list")
    # distributed allows names of any type; only strings can be ours
    return [name for name in value if isinstance(name, str)]
