"""One look at the queue for all jobs of all clusters, again and again.

    wait (a period, or until somebody asks) → status commands → follow-up → evidence → board

The period is short while any cluster is eager, or a job is missed; then it
grows, up to the long one. A look that fails makes jobs UNKNOWN, never GONE, and
the next ones come later and later as well. While nothing is watched nothing is
asked. What commands print beside their answers is logged once; jobs of which
nothing was learnt for minutes are an error in the log.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import count

import structlog
import trio
from attrs import field, frozen

from gateway import metrics
from gateway.backends.batch.dialect import Command, Dialect, SiteLimits, Status, StatusFailed
from gateway.backends.batch.evidence import Evidence, infer_states, next_delay, no_answer
from gateway.backends.commands import Answer
from gateway.backends.processes import OutputTooLong, run_command
from gateway.backends.watch import WatchBoard
from gateway.errors import BackendUnavailable
from gateway.models import JobId, JobReport, alive

_log = structlog.get_logger()

#: Seconds between two looks however urgently somebody asks.
SHORTEST_PERIOD = 0.5


#: Different remarks that are remembered as logged.
MOST_REMARKS = 100


@frozen(kw_only=True)
class Queue:
    """The status commands of a batch system, run as the gateway; each may take `command_timeout` seconds.

    `environment` is what a site's batch commands need besides PATH and a locale.
    """

    dialect: Dialect
    command_timeout: float
    environment: Mapping[str, str] = field(factory=dict)

    @property
    def _environment(self) -> Mapping[str, str]:
        """What status commands see. They are the gateway's own processes."""
        return {"PATH": self.dialect.rules.path, "LC_ALL": "C.UTF-8", **self.environment}

    async def answers(self, commands: Collection[Command]) -> tuple[Answer, ...]:
        """One answer a command. Raises StatusFailed when one cannot be run or takes too long."""
        return tuple([await self.answer(command) for command in commands])

    async def answer(self, command: Command) -> Answer:
        """The answer to one command. Raises StatusFailed."""
        try:
            with trio.fail_after(self.command_timeout):
                return await run_command(command, environment=self._environment)
        except trio.TooSlowError:
            raise StatusFailed(f"{command[0]} did not answer within {self.command_timeout:g} seconds") from None
        except (OSError, OutputTooLong) as error:
            raise StatusFailed(f"{command[0]} cannot be run: {error}") from error

    async def status(self, jobs: Mapping[JobId, str]) -> Status:
        """All jobs of the users of these jobs (job → user). Raises StatusFailed."""
        return self.dialect.parse_status(jobs, await self.answers(self.dialect.status_commands(jobs)))

    async def follow_up(self, status: Status, known: Mapping[JobId, JobReport], turn: int) -> Status:
        """The status with what further questions add; all of them together may take `command_timeout`."""
        answers: list[tuple[Command, Answer]] = []
        with trio.move_on_after(self.command_timeout):
            for command in self.dialect.follow_up(status, known, turn):
                try:
                    answers.append((command, await self.answer(command)))
                except StatusFailed as failure:
                    _log.info("a question has no answer", command=command[0], reason=str(failure))
                    break
        return self.dialect.parse_follow_up(status, known, answers)

    async def limits(self) -> SiteLimits:
        """The batch system's configuration. Raises BackendUnavailable."""
        answer = await self.answer(self.dialect.limits_command())
        if answer.returncode != 0:
            raise BackendUnavailable(answer.words)
        return self.dialect.parse_limits(answer)


@frozen(kw_only=True)
class Poller:
    """Feeds a board. Periods are seconds; `limits` tells what is known of the batch system's configuration by now.

    `give_up` is called with jobs that wait although they can never run, where the site wants such jobs ended;
    `cancelled` tells which jobs were asked to end.
    """

    queue: Queue
    board: WatchBoard
    period: float
    eager_period: float
    limits: Callable[[], SiteLimits] = SiteLimits
    give_up: Callable[[Collection[JobId]], None] = lambda jobs: None
    cancelled: Callable[[], Collection[JobId]] = tuple

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        evidence, failures, calm = Evidence(), 0, 0
        remarks = _Remarks()
        for turn in count():
            if jobs := self._jobs():
                with self.board.polling():
                    evidence, failures = await self._look(jobs, evidence, failures, turn, remarks)
            calm = 0 if self.board.eager or evidence.suspicious else calm + 1
            delay = next_delay(calm=calm, failures=failures, period=self.period, eager_period=self.eager_period)
            await trio.sleep(SHORTEST_PERIOD)
            with trio.move_on_after(delay - SHORTEST_PERIOD):
                await self.board.wait_poll_requested()

    async def _look(
        self, jobs: Mapping[JobId, str], evidence: Evidence, failures: int, turn: int, remarks: "_Remarks"
    ) -> tuple[Evidence, int]:
        """Ask, judge and deliver; returns the evidence and the number of failures in a row."""
        now = trio.current_time()
        known = {job: report for job, report in self.board.jobs.items() if job in jobs}
        dialect = self.queue.dialect
        try:
            with metrics.timed(metrics.POLLS) as outcome:
                status = await self.queue.status(jobs)
                status = await self.queue.follow_up(status, known, turn)
                outcome[:] = ["answered"]
        except StatusFailed as failure:
            if not failures:
                _log.warning("the batch system does not answer", jobs=len(jobs), reason=str(failure))
            reports, evidence = no_answer(evidence, jobs, f"{dialect.name} does not answer: {failure}.", now=now)
            self._deliver(reports)
            return evidence, failures + 1
        if failures:
            _log.info("the batch system answers again", failures=failures)
        remarks.log(status.remarks)
        reports, evidence = infer_states(
            evidence, jobs, status, dialect.array_of, self.limits().hides_jobs, cancelled=self.cancelled(), now=now
        )
        self._deliver(reports)
        if status.hopeless:
            self.give_up(status.hopeless)
        return evidence, 0

    def _deliver(self, reports: Mapping[JobId, JobReport]) -> None:
        before = self.board.overdue
        self.board.deliver(reports)
        if not before and (reason := self.board.overdue):
            _log.error(
                "nothing has been learnt of jobs for minutes: clocks go on without the batch system", reason=reason
            )

    def _jobs(self) -> dict[JobId, str]:
        """The watched jobs that may still be there, each with its user."""
        return {job: watch.cluster.username for watch in self.board.watches for job in alive(tuple(watch.jobs.items()))}


class _Remarks:
    """What status commands have printed beside their answers: each line is logged once, whatever numbers are in it."""

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def log(self, lines: Iterable[str]) -> None:
        for line in lines:
            kind = re.sub(r"\d+", "0", line)[:200]
            if kind not in self._logged and len(self._logged) < MOST_REMARKS:
                self._logged.add(kind)
                _log.info("a status command says more than it was asked", line=line[:200])
