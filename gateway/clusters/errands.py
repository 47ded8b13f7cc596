"""What a cluster has decided and takes time: each errand is tried once, and answered by an event of the machine.

One that goes wrong, for whatever reason, is answered all the same: what to do
about it is decided like everything else.
"""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import trio
from attrs import evolve, frozen

from gateway.backends.base import ClusterRef
from gateway.clusters import measures
from gateway.clusters.actions import Actions, Cancel, Submit
from gateway.clusters.events import time_ms
from gateway.clusters.job_specs import job_spec
from gateway.clusters.machine import Machine
from gateway.clusters.rows import Row
from gateway.clusters.services import Services
from gateway.clusters.silence import Answer, Silence
from gateway.errors import AnswerLost, JobError
from gateway.supervise import FOR_EVER, describe, supervise
from gateway.user_text import redact

#: Seconds after which a submission's answer counts as lost, even when the driver does not say so.
SUBMIT_DEADLINE = 90.0

#: Seconds that the batch system has to say why a job ended.
EXPLAIN_DEADLINE = 15.0

#: What is believed of an errand that failed for want of the gateway itself: it may have been done.
_OUR_ERROR = AnswerLost("an error inside the gateway")

#: An errand, and the event that answers it when it fails for want of the gateway itself.
Errand = tuple[Callable[[], Awaitable[None]], Callable[[float], None]]


@frozen
class Errands:
    """Those of one cluster. `feed` feeds its machine with an event, and has decided what follows."""

    ref: ClusterRef
    machine: Machine
    services: Services
    log: Any
    feed: Callable[..., None]

    def of(self, actions: Actions) -> Iterator[Callable[[], Awaitable[None]]]:
        """Those that were decided on; each never raises an `Exception`."""
        for run, failed in self._of(actions):
            yield partial(self._attempt, run, failed)
        if actions.clean:
            yield self._clean

    def _of(self, actions: Actions) -> Iterator[Errand]:
        machine = self.machine
        if (submit := actions.submit) is not None:
            yield partial(self._submit, submit), partial(machine.submitter.failed, submit, _OUR_ERROR)
        for cancel in actions.cancel:
            yield partial(self._cancel, cancel), partial(machine.cancelled, cancel, _OUR_ERROR)
        for row in actions.explain:
            yield partial(self._explain, row), partial(machine.explained, row, "no reason is known")
        if (ask := actions.questions.ask) is not None:
            yield partial(self._ask, ask), partial(machine.asked, ask, Answer.NOT_ASKED, str(_OUR_ERROR))

    async def _attempt(self, run: Callable[[], Awaitable[None]], failed: Callable[[float], None]) -> None:
        try:
            await run()
        except* Exception as group:  # a boundary: what goes wrong in one errand ends no other
            self.log.exception("an action has failed")
            self.machine.broken(describe(group), trio.current_time())
            self.feed(failed, trio.current_time())

    async def _submit(self, action: Submit) -> None:
        intent, services, submitter = action.intent, self.services, self.machine.submitter
        try:
            # A cancellation after the jobs were submitted would lose their ids, so that step is completed first.
            with trio.fail_after(SUBMIT_DEADLINE, shield=not action.look):
                if action.look:
                    jobs = await services.driver.find(self.ref, intent.role, intent.group, intent.count)
                else:
                    spec = job_spec(self.ref, self.machine.records.durable, intent, services.rules)
                    with measures.submission():
                        jobs = await services.driver.submit(spec)
                if jobs:
                    save = partial(services.store.save, evolve(intent, jobs=jobs))
                    await supervise("recording a submission", save, **FOR_EVER)
        except (JobError, trio.TooSlowError) as error:
            late = AnswerLost(f"none came within {SUBMIT_DEADLINE:g} seconds")
            self.feed(submitter.failed, action, error if isinstance(error, JobError) else late, trio.current_time())
        else:
            self.feed(submitter.submitted, action, jobs, trio.current_time())

    async def _cancel(self, cancel: Cancel) -> None:
        failure: JobError | None = None
        try:
            await self.services.driver.cancel(self.ref, [row.job for row in cancel.rows if row.job is not None])
        except JobError as error:
            failure = error
        self.feed(self.machine.cancelled, cancel, failure, trio.current_time())

    async def _explain(self, row: Row) -> None:
        assert row.job is not None
        text = "the batch system did not say why in time"
        with trio.move_on_after(EXPLAIN_DEADLINE):
            text = await self.services.driver.explain(self.ref, row.job, row.name) or "no reason is known"
        # A driver keeps out the secrets of what it has submitted; of clusters that were taken back it knows none.
        secrets = self.machine.records.durable.secrets
        self.feed(self.machine.explained, row, redact(text, secrets), trio.current_time())

    async def _ask(self, silence: Silence) -> None:
        record, hearing = self.machine.records.durable, self.services.hearing
        asked = await self.services.ask(record.api_address, record.token)
        self.machine.deaf(hearing.deaf_at, hearing.reason)
        self.feed(self.machine.asked, silence, asked.answer, asked.words, trio.current_time())

    async def _clean(self) -> None:
        record = self.machine.records.durable
        try:
            await self.services.driver.clean(self.ref, keep_logs=bool(record.reason))
        except Exception:  # what jobs have left behind never keeps a cluster from ending
            self.log.exception("cannot clean up after a cluster")
        self.feed(self.machine.cleaned, time_ms())
