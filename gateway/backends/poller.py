"""One look at the queue for all jobs of all clusters, again and again.

    wait (a period, or until somebody asks) → status commands → follow-up → evidence → board

The period is short while any cluster is eager. A look that fails makes jobs
UNKNOWN, never GONE, and the next ones come later, up to the long period. While
nothing is watched nothing is asked.
"""

from collections.abc import Callable, Collection, Mapping
from itertools import count

import structlog
import trio
from attrs import frozen

from gateway.backends.dialect import Answer, Command, Dialect, Site, Status, StatusFailed
from gateway.backends.evidence import Evidence, alive, forget_absences, judge, next_delay
from gateway.backends.launcher_rules import PATH
from gateway.backends.processes import OutputTooLong, run_command
from gateway.backends.watch import WatchBoard
from gateway.errors import BackendUnavailable
from gateway.models import JobId, JobReport

log = structlog.get_logger()

#: What status commands see. They are the gateway's own processes.
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C.UTF-8"}

#: Seconds between two looks however urgently somebody asks.
SHORTEST_PERIOD = 0.5


@frozen(kw_only=True)
class Queue:
    """The status commands of a batch system, run as the gateway; each may take `command_timeout` seconds."""

    dialect: Dialect
    command_timeout: float

    async def answers(self, commands: Collection[Command]) -> tuple[Answer, ...]:
        """One answer a command. Raises StatusFailed when one cannot be run or takes too long."""
        return tuple([await self.answer(command) for command in commands])

    async def answer(self, command: Command) -> Answer:
        """The answer to one command. Raises StatusFailed."""
        try:
            with trio.fail_after(self.command_timeout):
                return await run_command(command, environment=ENVIRONMENT)
        except trio.TooSlowError:
            raise StatusFailed(f"{command[0]} did not answer within {self.command_timeout:g} seconds") from None
        except (OSError, OutputTooLong) as error:
            raise StatusFailed(f"{command[0]} cannot be run: {error}") from error

    async def status(self, users: Collection[str]) -> Status:
        """All jobs of these users. Raises StatusFailed."""
        return self.dialect.parse_status(await self.answers(self.dialect.status_commands(users)))

    async def follow_up(self, status: Status, known: Mapping[JobId, JobReport], turn: int) -> Status:
        """The status with what further questions add; all of them together may take `command_timeout`."""
        answers: list[tuple[Command, Answer]] = []
        with trio.move_on_after(self.command_timeout):
            for command in self.dialect.follow_up(status, known, turn):
                try:
                    answers.append((command, await self.answer(command)))
                except StatusFailed as failure:
                    log.info("a question has no answer", command=command[0], reason=str(failure))
                    break
        return self.dialect.parse_follow_up(status, known, answers)

    async def site(self) -> Site:
        """The batch system's configuration. Raises BackendUnavailable."""
        answer = await self.answer(self.dialect.site_command())
        if answer.returncode != 0:
            raise BackendUnavailable(answer.words)
        return self.dialect.parse_site(answer)


@frozen(kw_only=True)
class Poller:
    """Feeds a board. Periods are seconds; `site` tells what is known of the batch system's configuration by now.

    `give_up` is called with jobs that wait although they can never run, where the site wants such jobs ended.
    """

    queue: Queue
    board: WatchBoard
    period: float
    eager_period: float
    site: Callable[[], Site] = Site
    give_up: Callable[[Collection[JobId]], None] = lambda jobs: None

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        evidence, failures = Evidence(), 0
        for turn in count():
            if jobs := self._jobs():
                with self.board.asking():
                    evidence, failures = await self._look(jobs, evidence, failures, turn)
            delay = next_delay(
                eager=self.board.eager, failures=failures, period=self.period, eager_period=self.eager_period
            )
            await trio.sleep(SHORTEST_PERIOD)
            with trio.move_on_after(delay - SHORTEST_PERIOD):
                await self.board.wait_asked()

    async def _look(
        self, jobs: Mapping[JobId, str], evidence: Evidence, failures: int, turn: int
    ) -> tuple[Evidence, int]:
        """Ask, judge and deliver; returns the evidence and the number of failures in a row."""
        known = {job: report for job, report in self.board.jobs.items() if job in jobs}
        try:
            status = await self.queue.status(frozenset(jobs.values()))
            status = await self.queue.follow_up(status, known, turn)
        except StatusFailed as failure:
            self._report_failure(jobs, failure, failures + 1)
            return forget_absences(evidence), failures + 1
        if failures:
            log.info("the batch system answers again", failures=failures)
        reports, evidence = judge(evidence, jobs, status, self.queue.dialect.array_of, self.site().hides_jobs)
        self.board.deliver(reports)
        if status.hopeless:
            self.give_up(status.hopeless)
        return evidence, 0

    def _jobs(self) -> dict[JobId, str]:
        """The watched jobs that may still be there, each with its user."""
        return {job: watch.cluster.username for watch in self.board.watches for job in alive(tuple(watch.jobs.items()))}

    def _report_failure(self, jobs: Collection[JobId], failure: StatusFailed, failures: int) -> None:
        if failures == 1:
            log.warning("the batch system does not answer", jobs=len(jobs), reason=str(failure))
        name = self.queue.dialect.name
        self.board.deliver_unknown(jobs, f"{name} does not answer: {failure}.")
