"""What the process counts and times, for Prometheus.

Whoever does something worth counting counts it here, where every series has
its name and its help. What there *is* (clusters, connections) is not counted
along but looked at when somebody asks: see server/exposition.py.

No label has the name of a user, a cluster or a job, nor anything else that
people could make many of. Nothing is counted for each byte or message that is
relayed.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]

#: All that stand below; of this process, as Prometheus wants it.
REGISTRY = CollectorRegistry()

_SECONDS_OF_COMMANDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SECONDS_OF_WAITING = (1, 5, 15, 30, 60, 120, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))

LOGINS = Counter(
    "dask_gateway_logins",
    "Requests with credentials, by their scheme or method, and what came of it: accepted, refused or forbidden.",
    ("method", "outcome"),
    registry=REGISTRY,
)
SLOWED_LOGINS = Counter(
    "dask_gateway_logins_slowed",
    "Logins that were not tried since too many like them had failed.",
    registry=REGISTRY,
)
REFUSED_CONNECTIONS = Counter(
    "dask_gateway_connections_refused",
    "Connections to the gateway's ports that were turned away, or ended to make room for others.",
    ("reason",),
    registry=REGISTRY,
)
REFUSED_CLUSTERS = Counter(
    "dask_gateway_clusters_refused",
    "Clusters that users asked for and did not get, by the status of the answer.",
    ("code",),
    registry=REGISTRY,
)
ENDED_CLUSTERS = Counter(
    "dask_gateway_clusters_ended", "Clusters that have ended: stopped or failed.", ("status",), registry=REGISTRY
)
CLUSTER_START = Histogram(
    "dask_gateway_cluster_start_seconds",
    "From a user's request until the cluster runs, the wait in the queue included.",
    buckets=_SECONDS_OF_WAITING,
    registry=REGISTRY,
)
QUEUE_WAIT = Histogram(
    "dask_gateway_queue_wait_seconds",
    "From the submission of a job until it runs, as far as the gateway has seen both.",
    ("role",),
    buckets=_SECONDS_OF_WAITING,
    registry=REGISTRY,
)
SUBMISSIONS = Histogram(
    "dask_gateway_submit_seconds",
    "Submissions to the batch system: accepted, refused, full, unavailable or lost.",
    ("outcome",),
    buckets=_SECONDS_OF_COMMANDS,
    registry=REGISTRY,
)
POLLS = Histogram(
    "dask_gateway_poll_seconds",
    "Looks at the batch system's queue: answered or failed.",
    ("outcome",),
    buckets=_SECONDS_OF_COMMANDS,
    registry=REGISTRY,
)
COMMITS = Histogram(
    "dask_gateway_store_commit_seconds",
    "Transactions of the database, each with all changes that waited for it.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
    registry=REGISTRY,
)
CHANGES = Counter("dask_gateway_store_changes", "Changes that were stored, or failed.", ("outcome",), registry=REGISTRY)
RESTARTS = Counter(
    "dask_gateway_child_restarts",
    "Children of the supervisors that failed and were started again.",
    ("child",),
    registry=REGISTRY,
)
STALLS = Histogram(
    "dask_gateway_loop_stall_seconds",
    "Rounds of the event loop that kept everybody else waiting for 10 ms or longer.",
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    registry=REGISTRY,
)

#: Values of labels that are known beforehand: a series that begins with its first event has no increase to be seen.
_KNOWN: tuple[tuple[Counter | Histogram, tuple[str, ...]], ...] = (
    (REFUSED_CONNECTIONS, ("no room", "ended for others", "no resources", "bad first bytes")),
    (REFUSED_CLUSTERS, ("422", "503")),
    (ENDED_CLUSTERS, ("stopped", "failed")),
    (QUEUE_WAIT, ("scheduler", "worker")),
    (SUBMISSIONS, ("accepted", "refused", "full", "unavailable", "lost")),
    (POLLS, ("answered", "failed")),
    (CHANGES, ("stored", "failed")),
)
for _family, _values in _KNOWN:
    for _value in _values:
        _family.labels(_value)

#: Schemes of the Authorization header, and names of methods to log in, that are told apart.
_LOGIN_METHODS = frozenset(
    ("basic", "bearer", "jupyterhub", "kerberos", "munge", "negotiate", "oidc", "pam", "simple", "token")
)

#: Of the event loop's rounds, those that are counted; in seconds.
STALL = 0.01


class _Requests(Collector):
    """Answered requests, in a dictionary: a `Counter` costs 3 % of the processor time of a short request, this 1 %."""

    def __init__(self) -> None:
        self.counts: defaultdict[tuple[str, str, int], int] = defaultdict(int)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The one family of series, as the registry wants it."""
        family = CounterMetricFamily(
            "dask_gateway_requests",
            "HTTP requests and websockets, by the route that answered and the status of the answer.",
            labels=("route", "method", "code"),
        )
        for (route, method, code), count in self.counts.items():
            family.add_metric((route, method, str(code)), count)
        yield family


REQUESTS = _Requests()
REGISTRY.register(REQUESTS)


def count_request(route: str, method: str, code: int) -> None:
    """Count an answered request. `route` is a template, as `/api/v1/clusters/<name>`, never a path."""
    REQUESTS.counts[route, method if method in _METHODS else "other", code] += 1


@lru_cache
def _logins(method: str, outcome: str) -> Counter:
    return LOGINS.labels(method, outcome)


def count_login(method: str, outcome: str) -> None:
    """Count a login. Whatever else clients have made up for a method is one of its own."""
    _logins(method if method in _LOGIN_METHODS else "other", outcome).inc()


@contextmanager
def timed(histogram: Histogram, *, failed: str = "failed") -> Iterator[list[str]]:
    """Time the body as one of the outcomes of a histogram: what stands in the list, `failed` if it raises."""
    outcome = [failed]
    began = perf_counter()
    try:
        yield outcome
    finally:
        histogram.labels(outcome[0]).observe(perf_counter() - began)
