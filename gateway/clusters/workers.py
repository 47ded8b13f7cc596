"""What becomes of a cluster's workers, and how many there should be (pure).

Their rows are moved on by heartbeats, which say who is connected, and by
clocks that run out (rows.py). A job that ended before its worker had connected
is a failed start: it is explained, it slows down what is submitted next, and
too many in a row end the cluster. One that was connected is lost, and replaced.
"""

from attrs import define, field

from gateway.clusters.demand import Demand, Plan, plan
from gateway.clusters.explanations import Explanations
from gateway.clusters.heartbeat import Heartbeat, worker_events
from gateway.clusters.lifecycle import RowEvent, RowState
from gateway.clusters.news import because
from gateway.clusters.patience import Patience
from gateway.clusters.rows import Clock, Row, Table, deadline
from gateway.clusters.rules import Rules
from gateway.clusters.submitter import Fail, Submitter
from gateway.clusters.timing import Moment
from gateway.clusters.told import about
from gateway.config.cluster import ClusterConfig

#: Seconds that a scheduler has, beyond its heartbeat period, to confirm what a user has asked for.
CONFIRMATION = 5.0


@define(eq=False, kw_only=True)
class Workers:
    """Those of one cluster. Sentences for the user are added to `tell`; `fail` ends the cluster with a reason."""

    demand: Demand
    explanations: Explanations = field(factory=Explanations)
    _rules: Rules
    _config: ClusterConfig
    _rows: Table
    _submitter: Submitter
    _patience: Patience
    _tell: list[str]
    _fail: Fail

    def scale(self, count: int, now: float) -> None:
        """A user wants `count` workers."""
        until = now + self._rules.options.cluster_heartbeat_period + CONFIRMATION
        self.demand = self.demand.requested(count, until)

    def hear(self, heartbeat: Heartbeat, now: float) -> bool:
        """The scheduler says how many it wants and who is connected; return whether that is news of anything."""
        before, self.demand = self.demand, self.demand.confirmed(heartbeat.count, now)
        events, rows = worker_events(self._rows.states, heartbeat), self._rows.by_name
        changed = [rows[name] for name, event in events if rows[name].apply(event, now)]
        for row in changed:
            if row.state is RowState.ACTIVE:
                self._submitter.failed_starts.succeeded()
                self._submitter.refusals.succeeded()
            elif row.state is RowState.LOST and self._config.jobs_may_run_again:
                self._patience.poll = True
                if row.waits:
                    row.apply(RowEvent.JOB_QUEUED, now)
        return bool(changed) or self.demand != before

    def job_ended(self, row: Row, now: float) -> None:
        """The job of a worker is gone, as far as anybody knows: judge what that means."""
        vanished = "was never in the queue" if row.report.presumed and not row.seen else ""
        never_ran = vanished or ("was deleted before it had started" if row.report.deleted else "")
        coming = row.shown in (RowState.QUEUED, RowState.STARTING)
        if row.shown is RowState.ACTIVE:
            self._tell.append(about([row.job], f"Worker {row.name} was lost{because(row.report.reason)}"))
        elif coming and never_ran:
            told = f"The job of worker {row.name} {never_ran}{because(row.report.reason)}"
            self._tell.append(about([row.job], told))
            # Not a failure, but whatever deletes jobs must not become a loop.
            self._submitter.wait(max(1.0, self._rules.options.backoff_base_delay), now)
        elif coming:
            self._failed_to_start(row, now)

    def _failed_to_start(self, row: Row, now: float) -> None:
        self._submitter.failed_starts.failed(now)
        self.explanations.add(row)

    def explained(self, row: Row, text: str) -> None:
        """This is why a worker failed to start."""
        failures = self._submitter.failed_starts.failures
        self._tell.append(about([row.job], f"Worker {row.name} failed to start: {text}"))
        hopeless = RowState.ACTIVE not in self._rows.states.values() and not self.explanations.pending
        if hopeless and failures >= self._rules.options.worker_start_failure_limit:
            self._fail(f"{failures} workers in a row failed to start; the last one: {text}")

    def plan(self, moment: Moment, *, heard_of: bool, running: bool) -> Plan:
        """Give up workers with which patience has ended; return what to do about the others while the cluster runs.

        Before the first heartbeat after a restart nobody knows who is connected: none is given up, lost, or too many.
        """
        states = {}
        for row in self._rows.workers:
            deaf, requeue = self._patience.deaf_to_workers, self._config.jobs_may_run_again
            when, clock = deadline(row, self._rules, requeue=requeue, deaf=deaf)
            due = moment.due(when)
            if due and heard_of:
                self._give_up(row, clock, moment.now)
            states[row.name] = RowState.FAILED if row.shown is RowState.LOST and due else row.shown
        if not running:
            return Plan()
        wanted = plan(self.demand.count, states, self._config.max_workers)
        return wanted if heard_of else Plan(wanted.start)

    def _give_up(self, row: Row, clock: Clock, now: float) -> None:
        """Patience with a worker has ended."""
        if clock is Clock.MISSED:
            if row.state is not RowState.GONE:
                self.job_ended(row, now)
            row.apply(RowEvent.MISSED, now)
        elif row.shown is RowState.STARTING:
            row.apply(RowEvent.GIVEN_UP, now)
            self._failed_to_start(row, now)
