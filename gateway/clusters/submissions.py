"""Submitting jobs so that none is lost and none is submitted twice.

An *intent* is stored before the batch system is asked, and the jobs' ids
after it has answered. When the answer is lost (a timeout, a cancelled task, a
crash of the gateway) the intent is still there, and the jobs are looked for
under their unique name before anything is submitted again.
"""

from collections.abc import Callable, Iterable

import trio
from attrs import evolve

from gateway.backends.base import ClusterRef, Driver, JobSpec
from gateway.errors import AnswerLost, BackendUnavailable, JobError, JobRefused, QueueFull
from gateway.models import JobId, SubmissionRecord
from gateway.store.writer import Store

#: Seconds after which a submission's answer counts as lost, even when the driver does not say so.
SUBMIT_DEADLINE = 90.0

#: Seconds after which a submission that is still unanswered is told of.
SLOW_SUBMIT = 10.0

#: Seconds that the batch system has to say why a job ended.
EXPLAIN_DEADLINE = 15.0

#: Seconds between attempts while the batch system does not answer.
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0)


class Submissions:
    """What one cluster has submitted and not yet seen the end of."""

    def __init__(
        self,
        cluster: ClusterRef,
        driver: Driver,
        store: Store,
        tell: Callable[[str], None],
        known: Iterable[SubmissionRecord] = (),
    ) -> None:
        self._cluster = cluster
        self._driver = driver
        self._store = store
        self._tell = tell
        self._known = {submission.group: submission for submission in known}

    def __getitem__(self, group: str) -> SubmissionRecord:
        return self._known[group]

    def __contains__(self, group: str) -> bool:
        return group in self._known

    @property
    def groups(self) -> tuple[str, ...]:
        """All groups, the oldest first."""
        return tuple(self._known)

    async def submit(self, spec: JobSpec) -> tuple[JobId, ...]:
        """Submit, whatever it takes, and return the jobs' ids; they are durable.

        Waits while the batch system is away. Raises `JobRefused` when it says no, and `QueueFull`.
        """
        intent = SubmissionRecord(cluster=self._cluster.name, group=spec.group, role=spec.role, count=spec.count)
        await self._save(intent)
        attempt = 0
        while True:
            try:
                # A cancellation in the middle would lose the ids, so this step is completed first.
                with trio.fail_after(SUBMIT_DEADLINE, shield=True):
                    return await self._record(intent, await self._submit(spec))
            except (JobRefused, QueueFull):
                await self.forget(spec.group)
                raise
            except BackendUnavailable as error:
                await self._wait_to_retry(attempt, error)
            except (AnswerLost, trio.TooSlowError) as error:
                why = str(error).rstrip(".") or f"none came within {SUBMIT_DEADLINE:g} seconds"
                self._tell(f"The answer to the submission of {spec.group} was lost ({why}); looking for its jobs")
                if jobs := await self.recover(spec.group):
                    return jobs
            attempt += 1

    async def _submit(self, spec: JobSpec) -> tuple[JobId, ...]:
        """One call of the driver, which is told of while it takes longer than users expect."""
        outcome: tuple[JobId, ...] | JobError
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_of_delay, spec.group)
            try:
                outcome = await self._driver.submit(spec)
            except JobError as error:  # raised below, since the nursery would put it into a group
                outcome = error
            nursery.cancel_scope.cancel()
        if isinstance(outcome, JobError):
            raise outcome
        return outcome

    async def _tell_of_delay(self, group: str) -> None:
        await trio.sleep(SLOW_SUBMIT)
        self._tell(f"The batch system has not answered the submission of {group} for {SLOW_SUBMIT:g} seconds")

    async def recover(self, group: str) -> tuple[JobId, ...]:
        """The ids of a known submission, asked of the batch system when its answer was lost; empty if no job exists."""
        submission = self._known[group]
        if submission.jobs is not None:
            return submission.jobs
        attempt = 0
        while True:
            try:
                jobs = await self._driver.find(self._cluster, submission.role, group, submission.count)
            except BackendUnavailable as error:
                await self._wait_to_retry(attempt, error)
                attempt += 1
            else:
                return await self._record(submission, jobs) if jobs else ()

    async def explain(self, job: JobId, name: str) -> str:
        """Why a job ended, or what is known of it, in words for its user; within `EXPLAIN_DEADLINE`."""
        with trio.move_on_after(EXPLAIN_DEADLINE):
            return await self._driver.explain(self._cluster, job, name) or "no reason is known"
        return "the batch system did not say why in time"

    async def forget(self, *groups: str) -> None:
        """All jobs of these groups are gone."""
        await self._store.forget_submissions(self._cluster.name, *groups)
        for group in groups:
            self._known.pop(group, None)

    async def _record(self, submission: SubmissionRecord, jobs: tuple[JobId, ...]) -> tuple[JobId, ...]:
        await self._save(evolve(submission, jobs=jobs))
        return jobs

    async def _save(self, submission: SubmissionRecord) -> None:
        self._known[submission.group] = submission  # known even when this task is cancelled while it is written
        await self._store.save(submission)

    async def _wait_to_retry(self, attempt: int, error: BackendUnavailable) -> None:
        self._tell(f"The batch system does not answer ({error}); trying again")
        await trio.sleep(RETRY_DELAYS[min(attempt, len(RETRY_DELAYS) - 1)])
