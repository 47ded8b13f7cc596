"""The life of one cluster: one task tree, and what the API asks of it.

    run:  act │ watch jobs │ one child for each action that takes time

What is to be done is decided by machine.py; *act* does it, one decision at a
time. It writes the record first, so nothing is done or shown that is not
durable, and hands what takes time to children. They, the watch over the jobs
and the API feed the machine with events (`_tell`), and wake *act*. A child
that fails is run again; one that fails too often fails the cluster with the
reason, and nothing else.

Cancelling the whole tree from outside ends our watching and leaves jobs alone:
the next start of the gateway takes them back.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Any

import structlog
import trio
from attrs import evolve

from gateway.backends.base import ClusterRef
from gateway.clusters.actions import Actions, Cancel, Submit
from gateway.clusters.changes import ChangeNotifier
from gateway.clusters.demand import limited_count, limited_range
from gateway.clusters.events import Events, time_ms
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.job_specs import job_spec
from gateway.clusters.lifecycle import is_ended
from gateway.clusters.machine import Machine
from gateway.clusters.reasons import BY_USER, by_scheduler, cannot_start, not_running
from gateway.clusters.records import Write
from gateway.clusters.rows import Row
from gateway.clusters.scheduler_client import tell_scheduler
from gateway.clusters.services import Services
from gateway.clusters.sharing import SharingChange, routes_to
from gateway.clusters.silence import Answer, Silence
from gateway.config.cluster import ClusterConfig
from gateway.errors import AnswerLost, ClusterFailed, Conflict, JobError, TryAgainLater
from gateway.models import ClusterRecord, ClusterStatus, SubmissionRecord
from gateway.supervise import FOR_EVER, describe, supervise
from gateway.user_text import redact

_log = structlog.get_logger()

#: Seconds that an API request waits for the store before it is told to try again.
RECORD_DEADLINE = 20.0

#: Seconds after which a submission's answer counts as lost, even when the driver does not say so.
SUBMIT_DEADLINE = 90.0

#: Seconds that the batch system has to say why a job ended.
EXPLAIN_DEADLINE = 15.0

#: What is believed of an action that failed for want of the gateway itself: it may have been done.
_OUR_ERROR = AnswerLost("an error inside the gateway")


class Cluster:
    """One cluster. Its methods are called by the API; `run` is its task."""

    def __init__(
        self,
        record: ClusterRecord,
        config: ClusterConfig,
        services: Services,
        submissions: Collection[SubmissionRecord] = (),
    ) -> None:
        self.name = record.name
        self.ref = ClusterRef(name=record.name, username=record.username, config=config)
        self._log = _log.bind(cluster=record.name, user=record.username)
        self.events = Events(self._log)
        self.changes = ChangeNotifier()
        self._ways: Mapping[str, tuple[str, str]] = {}
        self._services = services
        self._watch = services.driver.watch(self.ref)
        room, polling = partial(services.driver.max_group_size, self.ref), lambda: self._watch.polling
        self._machine = Machine(
            record, submissions, trio.current_time(), rules=services.rules, config=config, room=room, polling=polling
        )
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
        count, message = limited_count(count, self.ref.config.max_workers)
        await self._tell_scheduler({"op": "scale", "count": count})
        waiting = self._machine.scale(count, trio.current_time())
        self.changes.notify()
        await self._wait_durable()
        return message or waiting

    async def adapt(self, minimum: int | None, maximum: int | None, active: bool) -> str:
        """Let the scheduler choose the number of workers; returns what the user should know, or an empty text.

        Raises `Conflict` when the cluster does not run or its scheduler does not listen.
        """
        minimum, maximum, message = limited_range(minimum, maximum, self.ref.config.max_workers)
        await self._tell_scheduler({"op": "adapt", "minimum": minimum, "maximum": maximum, "active": active})
        self._machine.adapt()
        return message

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
                self._feed(machine.records.written, actions.record)
                continue
            self._perform(actions, children)
            if self.ended:
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
        machine, questions = self._machine, actions.questions

        def start(action: Callable[[], Awaitable[None]], failed: Callable[[float], None]) -> None:
            children.start_soon(self._attempt, action, failed)

        if (submit := actions.submit) is not None:
            start(partial(self._submit, submit), partial(machine.submitter.failed, submit, _OUR_ERROR))
        for cancel in actions.cancel:
            start(partial(self._cancel, cancel), partial(machine.cancelled, cancel, _OUR_ERROR))
        for row in actions.explain:
            start(partial(self._explain, row), partial(machine.explained, row, "no reason is known"))
        if (ask := questions.ask) is not None:
            start(partial(self._ask, ask), partial(machine.asked, ask, Answer.NOT_ASKED, str(_OUR_ERROR)))
        if actions.clean:
            children.start_soon(self._clean)
        for sentence in actions.tell:
            self.events.record_event(sentence)
        self._lead(routes_to(self.record, *actions.route) if actions.route else {})
        if questions.poll:
            self.poll_now()
        self._watch.awaits_answer = questions.settle

    def _lead(self, ways: Mapping[str, tuple[str, str]]) -> None:
        """Open, move and end routes, so that there are these."""
        for name in self._ways.keys() - ways.keys():
            self._services.routes.remove(name)
        for name, addresses in ways.items() - self._ways.items():
            self._services.routes.add(name, *addresses, cluster=self.name)
        self._ways = ways

    async def _attempt(self, action: Callable[[], Awaitable[None]], failed: Callable[[float], None]) -> None:
        """Perform an action; one that fails for want of the gateway itself is answered by `failed`."""
        try:
            await action()
        except* Exception as group:  # noqa: BLE001 (a boundary: what goes wrong in one action ends no other)
            self._log.error("an action has failed", exc_info=group)
            self._machine.broken(describe(group), trio.current_time())
            self._feed(failed, trio.current_time())

    # ---- actions that take time ----

    async def _submit(self, action: Submit) -> None:
        intent, services, submitter = action.intent, self._services, self._machine.submitter
        try:
            # A cancellation after the jobs were submitted would lose their ids, so that step is completed first.
            with trio.fail_after(SUBMIT_DEADLINE, shield=not action.look):
                if action.look:
                    jobs = await services.driver.find(self.ref, intent.role, intent.group, intent.count)
                else:
                    jobs = await services.driver.submit(job_spec(self.ref, self.record, intent, services.rules))
                if jobs:
                    save = partial(services.store.save, evolve(intent, jobs=jobs))
                    await supervise("recording a submission", save, **FOR_EVER)
        except (JobError, trio.TooSlowError) as error:
            late = AnswerLost(f"none came within {SUBMIT_DEADLINE:g} seconds")
            self._feed(submitter.failed, action, error if isinstance(error, JobError) else late, trio.current_time())
        else:
            self._feed(submitter.submitted, action, jobs, trio.current_time())

    async def _cancel(self, cancel: Cancel) -> None:
        failure: JobError | None = None
        try:
            await self._services.driver.cancel(self.ref, [row.job for row in cancel.rows if row.job is not None])
        except JobError as error:
            failure = error
        self._feed(self._machine.cancelled, cancel, failure, trio.current_time())

    async def _explain(self, row: Row) -> None:
        assert row.job is not None
        text = "the batch system did not say why in time"
        with trio.move_on_after(EXPLAIN_DEADLINE):
            text = await self._services.driver.explain(self.ref, row.job, row.name) or "no reason is known"
        # A driver keeps out the secrets of what it has submitted; of clusters that were taken back it knows none.
        self._feed(self._machine.explained, row, redact(text, self.record.secrets), trio.current_time())

    async def _ask(self, silence: Silence) -> None:
        asked = await self._services.ask(self.record.api_address, self.record.token)
        self._machine.deaf(self._services.hearing.deaf_at, self._services.hearing.reason)
        self._feed(self._machine.asked, silence, asked.answer, asked.words, trio.current_time())

    async def _clean(self) -> None:
        try:
            await self._services.driver.clean(self.ref, keep_logs=bool(self.record.reason))
        except Exception:  # noqa: BLE001 (what jobs have left behind never keeps a cluster from ending)
            self._log.exception("cannot clean up after a cluster")
        self._feed(self._machine.cleaned, time_ms())
