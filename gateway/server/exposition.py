"""`/metrics`: what there is, looked at when somebody asks, and what the process has counted (metrics.py)."""

import platform
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import trio
from attrs import frozen
from cryptography import x509
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway import __version__, metrics
from gateway.clusters.lifecycle import RowState
from gateway.clusters.manager import Manager
from gateway.clusters.vital_signs import Part
from gateway.models import ClusterStatus
from gateway.proxy.traffic import Traffic


class Port(Protocol):
    """What is asked of a public port."""

    @property
    def open_connections(self) -> int:
        """How many there are, of all kinds."""
        ...

    def all_traffic(self) -> Traffic:
        """What all relays have carried."""
        ...


@frozen(kw_only=True, eq=False)
class State(Collector):
    """The figures of one gateway. `ports` are those that are open by now, `certificate` the file of its certificate."""

    manager: Manager
    parts: Callable[[], list[Part]]
    ports: Sequence[Port]
    certificate: str = ""

    def collect(self) -> Iterator[Metric]:
        """All families; called by prometheus-client."""
        yield InfoMetricFamily(
            "dask_gateway_build",
            "The gateway's version, and Python's.",
            {"version": __version__, "python": platform.python_version()},
        )
        yield from self._clusters()
        yield from self._connections()
        up = GaugeMetricFamily(
            "dask_gateway_part_up", "1 while this part of the gateway is of use, as in /api/health.", labels=["part"]
        )
        for part in self.parts():
            up.add_metric([part.name], float(not part.trouble))
        yield up
        if (expiry := _expiry(self.certificate)) is not None:
            yield GaugeMetricFamily(
                "dask_gateway_certificate_expiry_timestamp_seconds",
                "When the certificate of the public port ends, in seconds since the epoch.",
                value=expiry,
            )

    def _clusters(self) -> Iterator[Metric]:
        statuses: Counter[str] = Counter(dict.fromkeys(ClusterStatus, 0))
        workers: Counter[str] = Counter(dict.fromkeys(RowState, 0))
        users, oldest = set(), 0.0
        now = trio.current_time()
        for cluster in self.manager.all():
            statuses[cluster.record.status] += 1
            if cluster.ended:
                continue
            users.add(cluster.record.username)
            workers.update(cluster.rows.states.values())
            scheduler = cluster.rows.scheduler
            if scheduler is not None and scheduler.state is RowState.ACTIVE:
                oldest = max(oldest, now - scheduler.since)
        yield _gauges("dask_gateway_clusters", "Clusters that the gateway remembers.", "status", statuses)
        yield _gauges("dask_gateway_workers", "Workers of clusters that have not ended.", "state", workers)
        yield GaugeMetricFamily(
            "dask_gateway_users", "Users who have a cluster that has not ended.", value=float(len(users))
        )
        yield GaugeMetricFamily(
            "dask_gateway_heartbeat_age_seconds",
            "The time since the last heartbeat of the cluster that has been silent for longest; 0 without any.",
            value=oldest,
        )

    def _connections(self) -> Iterator[Metric]:
        carried = [port.all_traffic() for port in self.ports]
        yield GaugeMetricFamily(
            "dask_gateway_connections",
            "Open connections to the gateway's ports, of all kinds.",
            value=float(sum(port.open_connections for port in self.ports)),
        )
        yield GaugeMetricFamily(
            "dask_gateway_relay_connections",
            "Connections that are relayed to schedulers now.",
            value=float(sum(traffic.connections for traffic in carried)),
        )
        yield CounterMetricFamily(
            "dask_gateway_relays",
            "Connections that were relayed to schedulers.",
            value=float(sum(traffic.total_connections for traffic in carried)),
        )
        relayed = CounterMetricFamily(
            "dask_gateway_relay_bytes", "Bytes carried between clients and schedulers.", labels=["direction"]
        )
        relayed.add_metric(["to_scheduler"], float(sum(traffic.bytes_to_scheduler for traffic in carried)))
        relayed.add_metric(["to_client"], float(sum(traffic.bytes_to_clients for traffic in carried)))
        yield relayed


@frozen
class Exposition:
    """The page. Counters are the process's; what there is, one gateway's."""

    state: Collector

    def text(self) -> bytes:
        """Prometheus's text format, version 0.0.4."""
        mine = CollectorRegistry()
        mine.register(self.state)
        ProcessCollector(registry=mine)
        return generate_latest(metrics.REGISTRY) + generate_latest(mine)


def _gauges(name: str, words: str, label: str, values: Counter[str]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for value, count in values.items():
        family.add_metric([str(value).lower()], float(count))
    return family


def _expiry(path: str) -> float | None:
    """When the certificate that stands first in a file ends; None without one that can be read."""
    if not path:
        return None
    try:
        with open(path, "rb") as file:
            return x509.load_pem_x509_certificate(file.read()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None
