"""Who is asked before a scheduler is given up (pure).

A deadline that has passed (rows.py) is a reason to ask, first the batch
system: a question to it that is open may end with nothing being known at the
moment, which stops all clocks. Then, if it has ever been heard of, the
scheduler itself: silence.py says what its answer is evidence for. Once it is
given up, the cluster has failed as soon as it is explained what became of its
job, unless it is heard of before.
"""

from collections.abc import Callable
from math import inf

from attrs import evolve, frozen

from gateway.clusters.actions import Questions
from gateway.clusters.lifecycle import RowEvent, RowState
from gateway.clusters.news import because
from gateway.clusters.rows import Clock, Row, deadline
from gateway.clusters.rules import Rules
from gateway.clusters.silence import Answer, Silence
from gateway.clusters.timing import Moment
from gateway.clusters.told import about

JOB_ENDED = "the scheduler's job ended: "

#: How often a scheduler is submitted whose job is given an id and then is never in the queue.
MOST_ATTEMPTS = 3


@frozen
class Verdict:
    """The scheduler has ended. `words` say why; unless they are `complete`, what is known of its job is added."""

    row: Row
    words: str
    complete: bool
    basis: tuple[RowState, float, bool] | None
    """What it rests on (see `_basis`); None when nothing refutes it."""


class Patience:
    """What is thought of a silent scheduler. Sentences for the user are added to `tell`."""

    def __init__(self, rules: Rules, tell: list[str], polling: Callable[[], bool]) -> None:
        """`polling` tells whether a question to the batch system is open."""
        self.deaf_at, self.deaf_reason = -inf, ""
        self._silent_at = -inf
        self.poll = False
        """True when the batch system should be asked about our jobs."""
        self._verdict: Verdict | None = None
        self._rules, self._tell, self._polling = rules, tell, polling
        self._excused = (-inf, "")

    def check(self, row: Row | None, attempts: int, moment: Moment) -> Questions:
        """Return what has to be asked about the scheduler; from now on it is. Or come to a verdict.

        `attempts` is how often this process has submitted the scheduler.
        """
        (poll, self.poll), settle = (self.poll, False), False
        if row is None or row.state is RowState.GONE or self.verdict is not None:
            return Questions(poll=poll)
        if row.state is RowState.ACTIVE and moment.due(row.since + self._rules.late) and not row.silence.polled:
            row.silence, poll = evolve(row.silence, polled=True), True
        when, clock = deadline(row, self._rules, requeue=True, deaf=self.deaf_at)
        if not moment.due(when):
            self._excuse(row, clock, moment.now)
        elif self._polling():
            settle = True
        elif row.state is not RowState.ACTIVE:
            self._give_up(row, clock, attempts)
        elif row.silence.open is None:
            row.silence = evolve(row.silence, open=moment.now)
            return Questions(poll=poll, ask=row.silence)
        return Questions(poll=poll, settle=settle)

    def note_silence(self, row: Row | None, now: float, *, heard_of: bool) -> None:
        """Remember that nobody hears of the workers, if so: their scheduler is late, has ended, or is to start again.

        `heard_of` says that it ever was heard of: until then it is not waited for.
        """
        since = row.since if row is not None and row.state is RowState.ACTIVE else None
        if heard_of if since is None else now > since + self._rules.late:
            self._silent_at = now

    @property
    def deaf_to_workers(self) -> float:
        """When it last could not be heard of workers: for the gateway's reasons, or their scheduler's."""
        return max(self.deaf_at, self._silent_at)

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, unless its row has changed since: a heartbeat, or a job that is back, refutes it."""
        verdict = self._verdict
        stands = verdict is not None and verdict.basis in (None, _basis(verdict.row))
        return verdict if stands else None

    def condemn(self, row: Row, words: str, *, complete: bool = False, final: bool = False) -> None:
        """Come to a verdict (see `Verdict`); a `final` one is not refuted."""
        self._verdict = Verdict(row, words, complete, None if final else _basis(row))

    def _give_up(self, row: Row, clock: Clock, attempts: int) -> None:
        """Patience with a scheduler that has not reported has ended."""
        if clock is Clock.QUEUE:
            limit = f"{self._rules.options.queue_timeout:g} s{because(row.report.reason)}"
            words = f"the scheduler's job waited in the queue for more than {limit}"
            self.condemn(row, words, complete=True)
        elif clock is Clock.START:
            limit = f"{self._rules.options.cluster_start_timeout:g} s"
            self.condemn(row, f"the scheduler did not report within {limit} after its job had started\n")
        elif row.seen or not 0 < attempts < MOST_ATTEMPTS:
            self.condemn(row, JOB_ENDED)
        else:  # so it is with a batch server that crashed before it had stored the job
            told = f"The scheduler's job {row.job} was never in the queue; submitting it again"
            self._tell.append(about([row.job], told))
            row.apply(RowEvent.MISSED, row.missed_since)

    def asked(self, row: Row | None, silence: Silence, answer: Answer, words: str, now: float) -> None:
        """Take what came of the question to a silent scheduler; `words` say it, for the end of a sentence."""
        if row is None or row.silence is not silence or silence.open is None:
            return  # something was heard meanwhile, of it or of its job
        if self.deaf_at >= silence.open and answer is not Answer.HERE:
            answer = Answer.NOT_ASKED  # whatever kept us from hearing others may have kept us from hearing the answer
        row.silence = silence.after(answer, now, self.deaf_at)
        found = f"{self._rules.options.heartbeat_timeout:g} s, {answer}" + (f" ({words})" if words else "")
        if row.silence.proves_end(answer, self._rules, missed=row.missed):
            end = JOB_ENDED if row.missed else f"the scheduler has not been heard of for {found}\n"
            self.condemn(row, end, complete=row.job is None)
        else:
            then = {Answer.SILENT: "it will be asked again", Answer.NOT_ASKED: "trying again"}.get(answer, "waiting")
            self._tell.append(about([row.job], f"No heartbeat of the scheduler for {found}; {then}"))

    def _excuse(self, row: Row, clock: Clock, now: float) -> None:
        """Tell when a heartbeat is missing only because the gateway could not hear everybody."""
        heartbeat, before = self._rules.options.heartbeat_timeout, self._excused
        if clock is Clock.HEARTBEAT and row.silent_since(-inf) + heartbeat <= now < self.deaf_at + heartbeat:
            missed = f"{heartbeat:g} s, in which the gateway may have missed some ({self.deaf_reason})"
            self._excused = row.since, f"No heartbeat of the scheduler for {missed}; waiting"
            self._tell += [self._excused[1]] if self._excused != before else []


def _basis(row: Row) -> tuple[RowState, float, bool]:
    return row.state, row.since, row.missed
