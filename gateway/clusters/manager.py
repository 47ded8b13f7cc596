"""All clusters of the gateway: created, found, listed, taken back after a restart, forgotten at last.

The manager owns the nursery in which every cluster's task tree lives. A
cluster that cannot be helped ends alone: the boundary around its tree keeps
the others, and the server, out of it.
"""

import base64
import secrets
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio
from attrs import evolve

from gateway import metrics
from gateway.auth.secret_compare import same_secret
from gateway.clusters import sharing
from gateway.clusters.admission import admit
from gateway.clusters.certificate import new_cluster_certificate
from gateway.clusters.cluster import RECORD_DEADLINE, Cluster
from gateway.clusters.cluster_options import ClusterOptions
from gateway.clusters.events import time_ms
from gateway.clusters.hearing import Hearing
from gateway.clusters.ledger import Ledger
from gateway.clusters.lifecycle import is_active, is_ended
from gateway.clusters.quota import Limits, Quota, stored_size
from gateway.clusters.reasons import BY_GATEWAY
from gateway.clusters.services import Services
from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import ShareNames, dump
from gateway.errors import GatewayError, InvalidRequest, NotFound, TryAgainLater, Unauthorized
from gateway.models import ClusterRecord, ClusterStatus, SubmissionRecord, User
from gateway.store.writer import StoreError
from gateway.supervise import FOR_EVER, supervise

_log = structlog.get_logger()

#: The statuses of clusters that lists show, unless others are asked for.
ACTIVE = frozenset(status for status in ClusterStatus if is_active(status))

#: Clusters that are looked at before others have their turn.
_TURN = 500

#: Seconds that a shutdown waits for clusters to stop, where they are to be stopped.
STOP_ALL_DEADLINE = 45.0


class Manager:
    """Every cluster that is remembered, by name."""

    def __init__(
        self, backend: DBBackendBase, cluster_config: ClusterConfig, services: Services, nursery: trio.Nursery
    ) -> None:
        self.options = ClusterOptions(backend, cluster_config)
        self._backend = backend
        self._services = services
        self._nursery = nursery
        self._clusters: dict[str, Cluster] = {}
        self._by_user: dict[str, dict[str, Cluster]] = {}
        self._quota = Quota(Limits(backend.clusters_per_user, backend.max_clusters))
        self._closed = False

    async def create(self, user: User, requested: object) -> Cluster:
        """A new cluster with the options that the user asked for. Returns when it is durable, before it has started.

        Raises `InvalidRequest` when the options are refused or a limit is reached, `TryAgainLater` during a shutdown.
        """
        try:
            return await self._create(user, requested)
        except GatewayError as error:
            metrics.REFUSED_CLUSTERS.labels(str(error.status)).inc()
            raise

    async def _create(self, user: User, requested: object) -> Cluster:
        self._refuse_when_closed()
        options, config = await self.options.configure(user, requested)
        if reason := self._backend.refuses_sharing(config.share_view, config.share_use):
            raise InvalidRequest(f"The cluster would be shared, but {reason}")
        account = await admit(self._quota, self._services.ledger, user, options, config)
        try:
            record = await self._make_record(user, options, config)
        except BaseException:
            account.close()
            self._quota.give_back(user.name, stored_size(options))
            raise
        cluster = Cluster(record, config, self._services, account=account)
        if record.share_view or record.share_use:
            cluster.events.record_event(sharing.told(record.share_view, record.share_use))
        self._start(cluster)
        return cluster

    async def _make_record(self, user: User, options: Mapping[str, Any], config: ClusterConfig) -> ClusterRecord:
        """The durable record of a new cluster."""
        name = secrets.token_hex(16)
        cert, key = await trio.to_thread.run_sync(new_cluster_certificate, name)
        record = ClusterRecord(
            name=name,
            username=user.name,
            token=secrets.token_hex(32),
            tls_cert=cert,
            tls_key=key,
            options=options,
            config=dump(config),
            owner_groups=tuple(sorted(user.groups)),
            start_time=time_ms(),
            route=sharing.route_name(name, new_secret()) if self._backend.sharing == "use" else "",
        )
        record = evolve(record, **sharing.shares(record, config.share_view, config.share_use).fields)
        await self._record(record)
        return record

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise TryAgainLater("The gateway is shutting down; please try again in a minute")

    async def _record(self, record: ClusterRecord) -> None:
        """Store a new cluster, or make sure that it is not stored."""
        store = self._services.store
        try:
            # Shielded: when its client hangs up, a cluster that is being recorded is recorded, and then lives.
            with trio.fail_after(RECORD_DEADLINE, shield=True):
                await store.save(record)
                if self._closed:  # meanwhile; nobody would stop it
                    await store.forget_clusters(record.name)
        except trio.TooSlowError:
            # It may still be written. Whatever is asked of the store later is done later.
            forget = partial(store.forget_clusters, record.name)
            self._nursery.start_soon(partial(supervise, "forgetting a cluster", forget, **FOR_EVER))
            raise TryAgainLater("The gateway's database does not answer; please try again") from None
        self._refuse_when_closed()

    @property
    def trouble(self) -> str:
        """Why the batch system is of no use at the moment; empty when all is well."""
        return self._services.driver.trouble

    @property
    def hearing(self) -> Hearing:
        """When the gateway could not hear everybody."""
        return self._services.hearing

    @property
    def ledger(self) -> Ledger:
        """What clusters hold, and may."""
        return self._services.ledger

    @property
    def closed(self) -> bool:
        """True once no cluster is created any more."""
        return self._closed

    def all(self) -> Collection[Cluster]:
        """Every cluster that is remembered."""
        return self._clusters.values()

    @property
    def active(self) -> int:
        """How many clusters have not ended."""
        return sum(is_active(cluster.record.status) for cluster in self._clusters.values())

    def find(self, name: str) -> Cluster:
        """The cluster of this name, which may be that of a route to it. Raises `NotFound`."""
        cluster = self._clusters.get(sharing.cluster_named(name))
        if cluster is None:
            raise NotFound(f"Cluster {name} not found")
        return cluster

    def knows(self, name: str) -> bool:
        """True for the name of a cluster that is remembered, or of a route to it."""
        return sharing.cluster_named(name) in self._clusters

    def authenticated(self, name: str, authorization: str) -> Cluster:
        """The cluster of this name, for a job that proves with its token (`token <token>`) that it belongs to it.

        Raises `Unauthorized`, for an unknown cluster too: who has no token learns nothing.
        """
        scheme, _, token = authorization.partition(" ")
        cluster = self._clusters.get(name)
        if scheme != "token" or cluster is None or not same_secret(token, cluster.record.token):
            raise Unauthorized(f"This is not the token of cluster {name}", challenge="token")
        return cluster

    def list(self, user: User, statuses: Collection[ClusterStatus] | None) -> list[Cluster]:
        """The user's clusters that have one of these statuses; None: the active ones."""
        statuses = ACTIVE if statuses is None else statuses
        return [cluster for cluster in self._by_user.get(user.name, {}).values() if cluster.record.status in statuses]

    async def list_all(
        self, statuses: Collection[ClusterStatus] | None, wanted: Callable[[ClusterRecord], bool]
    ) -> Sequence[ClusterRecord]:
        """All users' clusters of which the record is wanted, of these statuses; others have their turns meanwhile."""
        statuses = ACTIVE if statuses is None else statuses
        found = []
        for number, cluster in enumerate(list(self._clusters.values())):
            if cluster.record.status in statuses and wanted(cluster.record):
                found.append(cluster.record)
            if number % _TURN == 0:
                await trio.lowlevel.checkpoint()
        return found

    async def share(self, cluster: Cluster, view: ShareNames, use: ShareNames) -> None:
        """Share a cluster with these users and groups, and with nobody else; returns when that is durable.

        Raises `InvalidRequest` when the site does not allow that, and what `Cluster.share` raises.
        """
        if reason := self._backend.refuses_sharing(view, use):
            raise InvalidRequest(f"Cluster {cluster.name} stays as it is: {reason}")
        await cluster.share(partial(sharing.shares, view=view, use=use))

    async def let_in(self, user: User, cluster: Cluster) -> None:
        """Give somebody with whom a cluster is shared routes of their own. Raises what `Cluster.share` raises."""
        route, dashboard = (sharing.route_name(cluster.name, new_secret()) for _ in range(2))
        await cluster.share(lambda record: sharing.admission(user, record, route, dashboard))

    def adopt(self, record: ClusterRecord, submissions: Collection[SubmissionRecord]) -> None:
        """Take back a cluster of before a restart."""
        self._quota.add(record.username, stored_size(record.options))
        record = sharing.within(self._backend.sharing, record)
        config, misfits = self.options.restore(record.config)
        account = self._services.ledger.account(record.username, record.owner_groups, config)
        (account.close if is_ended(record.status) else account.adopt)()
        cluster = Cluster(record, config, self._services, submissions, account=account)
        if cluster.ended:
            self._add(cluster)
            return
        if misfits:
            _log.warning("a cluster's options do not fit the configuration any more", cluster=record.name, **misfits)
            cluster.events.record_event(
                f"The gateway was reconfigured; now the site's defaults hold for {', '.join(misfits)}"
            )
        self._start(cluster)

    def close(self) -> None:
        """Create no clusters any more."""
        self._closed = True

    def ask_about(self, name: str) -> None:
        """Somebody could not reach this cluster: ask the batch system about its jobs at once."""
        if name in self._clusters:
            self._clusters[name].poll_now()

    def client(self, name: str, connected: bool) -> None:
        """A client is connected to the scheduler of this cluster through the gateway, or none is any more."""
        if name in self._clusters:
            self._clusters[name].client(connected)

    async def stop_all(self) -> None:
        """Stop every cluster and wait for the ends, within `STOP_ALL_DEADLINE`."""
        with trio.move_on_after(STOP_ALL_DEADLINE) as scope:
            async with trio.open_nursery() as nursery:
                for cluster in self._clusters.values():
                    if not cluster.ended:
                        nursery.start_soon(_stop_and_wait, cluster)
        if scope.cancelled_caught:
            left = sum(not cluster.ended for cluster in self._clusters.values())
            _log.warning("not all clusters have stopped in time; the next start ends them", clusters=left)

    async def forget_old(self, max_age: float) -> None:
        """Forget clusters that ended more than `max_age` seconds ago."""
        oldest = (time.time() - max_age) * 1000
        old = [
            cluster for cluster in self._clusters.values() if cluster.ended and (cluster.record.stop_time or 0) < oldest
        ]
        if not old:
            return
        await self._services.store.forget_clusters(*(cluster.name for cluster in old))
        for cluster in old:
            self._remove(cluster)
        _log.info("forgot old clusters", clusters=len(old))

    def _start(self, cluster: Cluster) -> None:
        self._add(cluster)
        self._nursery.start_soon(self._run, cluster)

    async def _run(self, cluster: Cluster) -> None:
        try:
            await cluster.run()
        except* Exception as group:  # noqa: BLE001 (one cluster's trouble is not another's)
            _log.error("a cluster's task tree broke; its jobs are taken back at the next start", exc_info=group)

    def _add(self, cluster: Cluster) -> None:
        self._clusters[cluster.name] = cluster
        self._by_user.setdefault(cluster.record.username, {})[cluster.name] = cluster

    def _remove(self, cluster: Cluster) -> None:
        del self._clusters[cluster.name]
        self._quota.give_back(cluster.record.username, stored_size(cluster.record.options))
        mine = self._by_user[cluster.record.username]
        del mine[cluster.name]
        if not mine:
            del self._by_user[cluster.record.username]


def new_secret() -> str:
    """The part of a route's name that nobody guesses."""
    return base64.b32encode(secrets.token_bytes(12)).decode().lower()[:18]


@asynccontextmanager
async def open_manager(
    backend: DBBackendBase, cluster_config: ClusterConfig, services: Services
) -> AsyncIterator[Manager]:
    """The manager with all clusters of the store taken back. Leaving it ends our watching, not the jobs."""
    known = await services.store.load()
    active = {record.name for record, _ in known if not is_ended(record.status)}
    if orphans := await services.driver.orphans(active):
        _log.warning("ended jobs of clusters that are not on record", clusters=sorted(orphans))
    async with trio.open_nursery() as nursery:
        manager = Manager(backend, cluster_config, services, nursery)
        for record, submissions in known:
            manager.adopt(record, submissions)
        if known:
            _log.info("took clusters back", clusters=len(known))
        forget_old = partial(_forget_old_clusters, manager, backend)
        nursery.start_soon(partial(supervise, "forgetting old clusters", forget_old, **FOR_EVER))
        yield manager
        nursery.cancel_scope.cancel()


async def _forget_old_clusters(manager: Manager, backend: DBBackendBase) -> None:
    while True:
        try:
            await manager.forget_old(backend.db_cluster_max_age)
        except StoreError as error:
            _log.warning("cannot forget old clusters", error=str(error))
        await trio.sleep(backend.db_cleanup_period)


async def _stop_and_wait(cluster: Cluster) -> None:
    try:
        await cluster.stop(BY_GATEWAY)
    except GatewayError as error:
        _log.warning("cannot stop a cluster", cluster=cluster.name, error=str(error))
        return
    await cluster.wait_ended()
