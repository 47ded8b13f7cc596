"""The life of one cluster: one task tree, and what the API asks of it.

    run:  act │ watch jobs │ one child for each action that takes time

What is to be done is decided by machine.py; *act* does it, one decision at a
time. It writes the record first, so nothing is done or shown that is not
durable, and hands what takes time to children (errands.py). They, the watch
over the jobs and the API feed the machine with events, and wake *act*. Its two
tasks are run again when they fail; one that fails too often fails the cluster
with the reason, and nothing else.

Cancelling the whole tree from outside ends our watching and leaves jobs alone:
the next start of the gateway takes them back.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import structlog
import trio
from attrs import evolve

from gateway.backends.base import ClusterRef, LogText
from gateway.backends.log_tail import READ_BYTES, shown
from gateway.clusters import measures
from gateway.clusters.actions import Actions
from gateway.clusters.changes import ChangeNotifier
from gateway.clusters.demand import limited_count, limited_range
from gateway.clusters.errands import Errands
from gateway.clusters.events import Events, time_ms
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.ledger import Account
from gateway.clusters.lifecycle import is_ended
from gateway.clusters.machine import Machine
from gateway.clusters.reasons import BY_USER, by_scheduler, cannot_start, not_running
from gateway.clusters.records import Write
from gateway.clusters.scheduler_client import tell_scheduler
from gateway.clusters.services import Services
from gateway.clusters.sharing import SharingChange, routes_to
from gateway.config.cluster import ClusterConfig
from gateway.errors import ClusterFailed, Conflict, JobError, TryAgainLater
from gateway.models import ClusterRecord, ClusterStatus, SubmissionRecord
from gateway.supervise import FOR_EVER, describe, supervise

_log = structlog.get_logger()

#: Seconds that an API request waits for the store before it is told to try again.
RECORD_DEADLINE = 20.0


class Cluster:
    """One cluster. Its methods are called by the API; `run` is its task."""

    def __init__(
        self,
        record: ClusterRecord,
        config: ClusterConfig,
        services: Services,
        submissions: Collection[SubmissionRecord] = (),
        *,
        account: Account,
    ) -> None:
        """`account` holds the cluster already, unless it has ended."""
        self.name = record.name
        groups = frozenset(record.owner_groups)
        self.ref = ClusterRef(name=record.name, username=record.username, config=config, groups=groups)
        self._log = _log.bind(cluster=record.name, user=record.username)
        self.events = Events(self._log)
        self.changes = ChangeNotifier()
        self._ways: Mapping[str, tuple[str, str]] = {}
        self._services = services
        self._watch = services.driver.watch(self.ref)
        room, polling = partial(services.driver.max_group_size, self.ref), lambda: self._watch.polling
        self._account = account
        account.wake = self.changes.notify
        now = trio.current_time()
        self._machine = Machine(
            record,
            submissions,
            now,
            rules=services.rules,
            config=config,
            account=account,
            epoch=time_ms() / 1000 - now,
            room=room,
            polling=polling,
        )
        self._errands = Errands(self.ref, self._machine, services, self._log, self._feed)
        if self.ended:
            self.events.close()
        self.rows = self._machine.rows
        """Its jobs that have not ended."""

    # ---- what the API asks ----

    @property
    def record(self) -> ClusterRecord:
        """What is durable of it."""
        return self._machine.records.durable

    @property
    def ended(self) -> bool:
        """True when the cluster is STOPPED or FAILED, durably."""
        return is_ended(self.record.status)

    async def wait_started(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the end of PENDING.

        Raises `ClusterFailed` with the reason when the cluster has failed, or has stopped without its user's doing.
        """
        with trio.move_on_after(timeout):
            await self._wait(lambda: self.record.status is not ClusterStatus.PENDING)
        if words := cannot_start(self.record):
            raise ClusterFailed(words)

    async def heartbeat(self, heartbeat: Heartbeat) -> None:
        """Take the scheduler's report. Returns when what it changed is durable.

        Raises `Conflict` when the cluster has ended or is about to, `TryAgainLater` when the store takes too long.
        """
        if not self._machine.active:
            raise Conflict(f"Cluster {self.name} is {self._machine.records.cluster.status.lower()}")
        if self._machine.heartbeat(heartbeat, trio.current_time()):
            self.changes.notify()
        await self._wait_durable()

    async def scale(self, count: int) -> str:
        """Ask for `count` workers; returns what the user should know, or an empty text.

        Raises `Conflict` when the cluster does not run or its scheduler does not listen, and `TryAgainLater`.
        """
        count, message = limited_count(count, self._account.worker_limit)
        await self._tell_scheduler({"op": "scale", "count": count})
        self._feed(self._machine.scale, count, trio.current_time())
        await self._wait_durable()  # and what there is room for is counted
        return " ".join(filter(None, (message, self._machine.shortfall)))

    async def adapt(self, minimum: int | None, maximum: int | None, active: bool) -> str:
        """Let the scheduler choose the number of workers; returns what the user should know, or an empty text.

        Raises `Conflict` when the cluster does not run or its scheduler does not listen.
        """
        low, high, message = limited_range(minimum, maximum, self._account.worker_limit)
        await self._tell_scheduler({"op": "adapt", "minimum": low, "maximum": high, "active": active})
        self._machine.adapt()
        wanted = (low if maximum is None else high) or 0
        missing, why = self._account.missing(wanted if active else 0)
        lacking = f"At the moment there is no room for {missing} of these {wanted} workers: {why}" if missing else ""
        return " ".join(filter(None, (message, lacking)))

    async def share(self, change: Callable[[ClusterRecord], SharingChange]) -> None:
        """Change who else may come in, as `change` makes it of the record; returns when that is durable.

        Raises what `change` raises, `Conflict` when the cluster does not run any more, and `TryAgainLater`.
        """
        if not self._machine.active:
            raise Conflict(not_running(self._machine.records.cluster))
        self._feed(self._machine.share, change(self._machine.records.cluster))
        await self._wait_durable()

    async def stop(self, why: str = BY_USER) -> None:
        """Ask for the end of the cluster; returns when that wish is durable. No-op when it ends already.

        `why` is one of reasons.py, for whoever asks later. Raises `TryAgainLater` when the store takes too long.
        """
        self._feed(self._machine.stop, why)
        await self._wait_durable()

    async def stop_itself(self) -> None:
        """End it because its own scheduler asks for that: it was idle for too long. Raises as `stop` does."""
        await self.stop(by_scheduler(self.ref.config.idle_timeout))

    def client(self, connected: bool) -> None:
        """A client is connected to the scheduler through the gateway, or none is any more."""
        self._machine.client(connected, trio.current_time())
        if self.ref.config.client_disconnect_timeout and not connected:  # a clock begins to run
            self.changes.notify()

    async def read_log(self, name: str, start: int | None = None, *, whole_lines: bool = False) -> LogText | None:
        """A part of a job's log as its user may see it, from byte `start` on, or the end; None: there is no such log.

        Raises `TryAgainLater` when it cannot be read.
        """
        try:
            log = await self._services.driver.read_log(self.ref, name, READ_BYTES, start, whole_lines=whole_lines)
        except JobError as error:
            raise TryAgainLater(f"The log of {name} cannot be read: {error}") from None
        record = self.record
        return log and evolve(log, text=shown(log.text, (record.token, record.tls_key)))

    def poll_now(self) -> None:
        """Have the batch system asked about our jobs at once."""
        self._watch.poll_now()

    async def wait_ended(self) -> None:
        """Wait until the cluster is STOPPED or FAILED."""
        await self._wait(lambda: self.ended)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        seen = self.changes.count
        while not condition():
            seen = await self.changes.wait(seen)

    async def _wait_durable(self) -> None:
        records = self._machine.records
        if records.durable is records.cluster:  # as after nearly every heartbeat, where a deadline would cost a tenth
            return
        try:
            with trio.fail_after(RECORD_DEADLINE):
                await self._wait(lambda: records.durable is records.cluster)
        except trio.TooSlowError:
            raise TryAgainLater("The gateway's database does not answer; please try again") from None

    async def _tell_scheduler(self, message: dict[str, Any]) -> None:
        self._check_runs()
        record, attempts = self._machine.records.cluster, self._services.rules.scheduler_api_retries
        try:
            await tell_scheduler(record.api_address, record.token, message, attempts=attempts)
        except Conflict:
            self.poll_now()  # perhaps it is gone
            self._check_runs()  # and that is known by now, with the reason
            raise
        self._check_runs()  # still: nothing changes a record any more once its end is written

    def _check_runs(self) -> None:
        if self._machine.records.cluster.status is not ClusterStatus.RUNNING:
            raise Conflict(not_running(self._machine.records.cluster))

    # ---- the task tree ----

    async def run(self) -> None:
        """Live until the end. The record is durable before this is called: nothing unrecorded is submitted."""
        with self._watch:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(supervise, "watch over the jobs", self._watch_jobs, **FOR_EVER))
                act = partial(self._act, nursery)
                try:
                    await supervise("decisions", act)
                except* Exception as group:  # noqa: BLE001 (the cluster's boundary: no other cluster is concerned)
                    self._log.error("the cluster's tasks failed", exc_info=group)
                    self._feed(self._machine.failed, f"an error inside the gateway: {describe(group)}")
                # A cluster is never given up at its end, however long that takes.
                await supervise("end of the cluster", act, **FOR_EVER)
                nursery.cancel_scope.cancel()

    def _feed(self, event: Callable[..., object], *about: object, **more: object) -> None:
        """Feed the machine with an event, and have decided what follows."""
        event(*about, **more)
        self.changes.notify()

    async def _watch_jobs(self) -> None:
        """Feed the machine with what the batch system says of our jobs."""
        changes = dict(self._watch.jobs)  # again, after a restart of this task
        while True:
            for job, report in changes.items():
                with measures.queue_wait(self.rows.by_job.get(job)):
                    self._machine.report(job, report, trio.current_time())
            self.changes.notify()
            changes = await self._watch.wait_changes()

    async def _act(self, children: trio.Nursery) -> None:
        """Do what is decided, until the cluster has ended."""
        machine, hearing = self._machine, self._services.hearing
        while True:
            seen = self.changes.count
            machine.deaf(hearing.deaf_at, hearing.reason)
            actions = machine.next(trio.current_time())
            self._follow_jobs()
            if actions.record is not None:
                await supervise("keeping the record", partial(self._write, actions.record), **FOR_EVER)
                before = self.record
                self._feed(machine.records.written, actions.record)
                measures.progress(before, self.record)
                continue
            self._perform(actions, children)
            if self.ended:
                self.events.close()
                return
            with trio.move_on_at(actions.wake_at):
                await self.changes.wait(seen)

    def _follow_jobs(self) -> None:
        """Watch the jobs of the table: eagerly, while something starts or ends."""
        jobs = self.rows.by_job.keys()
        self._watch.discard(*(self._watch.jobs.keys() - jobs))
        self._watch.add(*(jobs - self._watch.jobs.keys()))
        self._watch.eager = self.record.status is not ClusterStatus.RUNNING or self.rows.coming

    async def _write(self, step: Write) -> None:
        if step.groups:
            await self._services.store.forget_submissions(self.name, *step.groups)
        if step.records:
            await self._services.store.save(*step.records)

    def _perform(self, actions: Actions, children: trio.Nursery) -> None:
        """Start what takes time, and do what does not."""
        for errand in self._errands.of(actions):
            children.start_soon(errand)
        for sentence in actions.tell:
            self.events.record_event(sentence)
        self._lead(routes_to(self.record, *actions.route) if actions.route else {})
        if actions.questions.poll:
            self.poll_now()
        self._watch.awaits_answer = actions.questions.settle

    def _lead(self, ways: Mapping[str, tuple[str, str]]) -> None:
        """Open, move and end routes, so that there are these."""
        for name in self._ways.keys() - ways.keys():
            self._services.routes.remove(name)
        for name, addresses in ways.items() - self._ways.items():
            self._services.routes.add(name, *addresses, cluster=self.name)
        self._ways = ways
