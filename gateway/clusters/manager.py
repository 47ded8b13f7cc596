"""All clusters of the gateway: created, found, listed, taken back after a restart, forgotten at last.

The manager owns the nursery in which every cluster's task tree lives. A
cluster that cannot be helped ends alone: the boundary around its tree keeps
the others, and the server, out of it.
"""

import inspect
import secrets
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio

from gateway.auth.secret_compare import same_secret
from gateway.clusters.admission import admit
from gateway.clusters.certificate import new_cluster_certificate
from gateway.clusters.cluster import RECORD_DEADLINE, Cluster
from gateway.clusters.events import time_ms
from gateway.clusters.lifecycle import is_active, is_ended
from gateway.clusters.quota import Limits, Quota, stored_size
from gateway.clusters.reasons import BY_GATEWAY
from gateway.clusters.services import Services
from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingErrors, dump, settings_of, with_overrides
from gateway.config.site_errors import as_gateway_error, told
from gateway.config.structure import shown
from gateway.config.user_options import Options, checked_configuration
from gateway.errors import GatewayError, InvalidRequest, NotFound, TryAgainLater, Unauthorized
from gateway.models import ClusterRecord, ClusterStatus, SubmissionRecord, User
from gateway.store.writer import StoreError
from gateway.supervise import FOR_EVER, supervise

_log = structlog.get_logger()

#: Seconds that a shutdown waits for clusters to stop, where they are to be stopped.
STOP_ALL_DEADLINE = 45.0

#: How users are told that what the site's own code made of their options is no configuration.
_UNUSABLE = "These cluster options cannot be used"


class Manager:
    """Every cluster that is remembered, by name."""

    def __init__(
        self, backend: DBBackendBase, cluster_config: ClusterConfig, services: Services, nursery: trio.Nursery
    ) -> None:
        self._backend = backend
        self._cluster_config = cluster_config
        self._services = services
        self._nursery = nursery
        self._clusters: dict[str, Cluster] = {}
        self._by_user: dict[str, dict[str, Cluster]] = {}
        self._quota = Quota(Limits(backend.clusters_per_user, backend.max_clusters))
        self._closed = False

    async def options_for(self, user: User) -> Options:
        """What this user may set on a cluster.

        Raises `InvalidRequest` when the site's function of options fails, or returns something else.
        """
        options = self._backend.cluster_options
        if isinstance(options, Options):
            return options
        try:
            chosen = options(user)
            if inspect.isawaitable(chosen):
                chosen = await chosen
        except (Exception, SystemExit) as error:
            raise _refusal(error, user, "the site's function of cluster options failed") from error
        if not isinstance(chosen, Options):
            function = f"{getattr(options, '__qualname__', type(options).__qualname__)}({user.name!r})"
            _log.error("the site's function of cluster options did not return Options", function=function)
            raise InvalidRequest(
                f"{_UNUSABLE}: the site's function {function} returned {shown(chosen)}, expected Options;"
                " please tell the administrators of this gateway"
            )
        return chosen

    @property
    def fixed_options(self) -> Options | None:
        """What everybody may set; None when that depends on who asks."""
        options = self._backend.cluster_options
        return options if isinstance(options, Options) else None

    def specification(self, options: Options, user: User) -> list[dict[str, Any]]:
        """Options as the client understands them. Raises `InvalidRequest` when the site's own code fails."""
        try:
            return options.get_specification()
        except Exception as error:
            raise _refusal(error, user, "the site's cluster options cannot be shown") from error

    async def create(self, user: User, requested: object) -> Cluster:
        """A new cluster with the options that the user asked for. Returns when it is durable, before it has started.

        Raises `InvalidRequest` when the options are refused or a limit is reached, `TryAgainLater` during a shutdown.
        """
        self._refuse_when_closed()
        options, config = await self._configure(user, requested)
        account = await admit(self._quota, self._services.ledger, user, options, config)
        try:
            record = await self._make_record(user, options, config)
        except BaseException:
            account.close()
            self._quota.give_back(user.name, stored_size(options))
            raise
        cluster = Cluster(record, config, self._services, account=account)
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
        )
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

    def find(self, name: str) -> Cluster:
        """The cluster of this name. Raises `NotFound`."""
        cluster = self._clusters.get(name)
        if cluster is None:
            raise NotFound(f"Cluster {name} not found")
        return cluster

    def knows(self, name: str) -> bool:
        """True for the name of a cluster that is remembered."""
        return name in self._clusters

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
        mine = self._by_user.get(user.name, {}).values()
        if statuses is None:
            return [cluster for cluster in mine if is_active(cluster.record.status)]
        return [cluster for cluster in mine if cluster.record.status in statuses]

    def adopt(self, record: ClusterRecord, submissions: Collection[SubmissionRecord]) -> None:
        """Take back a cluster of before a restart."""
        self._quota.add(record.username, stored_size(record.options))
        config, misfits = self._restore(record.config)
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

    def _restore(self, stored: Mapping[str, Any]) -> tuple[ClusterConfig, Mapping[str, str]]:
        """The configuration of a cluster of before a restart, and why some of its options now have the site's values.

        Options may have gone, come, or been given other limits since; none of that is worth a user's work.
        """
        known = {name: value for name, value in stored.items() if name in settings_of(type(self._cluster_config))}
        misfits: dict[str, str] = {}
        while True:
            try:
                return with_overrides(self._cluster_config, known), misfits
            except SettingErrors as errors:
                bad = {error.option: error.reason for error in errors.errors if error.option in known}
                misfits |= bad or dict.fromkeys(known, str(errors))  # which of several do not fit together?
                known = {name: value for name, value in known.items() if name not in misfits}

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

    async def _configure(self, user: User, requested: object) -> tuple[Mapping[str, Any], ClusterConfig]:
        """What was asked for, complete, and the cluster's configuration that results."""
        options = await self.options_for(user)
        try:
            parsed = options.parse_options(requested)
        except (TypeError, ValueError) as error:  # the user's doing
            raise as_gateway_error(error) or InvalidRequest(f"Wrong options: {told(error)}") from error
        except Exception as error:
            raise _refusal(error, user, "the site's cluster options failed") from error
        try:
            overrides = checked_configuration(options.get_configuration(parsed, user))
        except (Exception, SystemExit) as error:
            raise _refusal(error, user, "the site's handler of cluster options failed") from error
        try:
            return parsed, with_overrides(self._cluster_config, overrides)
        except SettingErrors as error:
            # Either the user's doing (a value out of bounds) or the site's (a handler's name for an option).
            _log.warning("the cluster options lead to a configuration that cannot be", user=user.name, exc_info=error)
            raise InvalidRequest(f"{_UNUSABLE}: {error}") from error

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


def _refusal(error: BaseException, user: User, event: str) -> GatewayError:
    """What a user is told when the site's own code has raised: its answer, or else its text."""
    answer = as_gateway_error(error)
    if answer is not None:
        return answer
    # Its author needs the traceback, its user the text.
    _log.error(event, user=user.name, exc_info=error)
    return InvalidRequest(f"{_UNUSABLE}: {told(error)}")


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
