"""The machine of a cluster in a world where anything happens in any order: duplicated, late, contradicting.

The world is a store, a batch system, a scheduler and a user. It is handed what
the machine decides, and answers when and as hypothesis likes: answers are lost
whether or not there are jobs, looks at the queue lie as far as looks may lie,
heartbeats name whom they want, the gateway crashes. After each step holds:

- nothing is done or shown that is not on record,
- no job is without a row, or an intent under whose name it is looked for,
- one submission is under way at most, and for no more workers than are missing,
- no job is cancelled whose worker is needed,
- the ledger has as many workers as there are rows, and no submission exceeds a limit; whoever could have had more is
  woken when another cluster of the same user gives some back,
- silence alone ends nothing, and the clock nothing before its time,
- what is under way is not decided again, and nobody is woken at once for nothing.

At the end of each story the world behaves: then a cluster comes to have the
workers that are wanted, and ends when it is told to.

`python -m tests.fuzz.machine` tells more stories (`make fuzz-machine`).
"""

from math import inf

from attrs import evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.clusters.actions import Actions
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.ledger import Ledger
from gateway.clusters.lifecycle import COMING_STATES, LIVE_STATES, RowState, is_ended
from gateway.clusters.machine import Machine
from gateway.clusters.reasons import BY_GATEWAY, BY_USER
from gateway.clusters.sharing import SharingChange
from gateway.clusters.silence import Answer
from gateway.config.limits import Limits, UserLimits
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused, QueueFull
from gateway.models import ClusterStatus, JobReport, JobState, Role
from tests.support.fakes import adopted, rules_with
from tests.support.houses import record

#: What looks at the queue say of a job. Only of those that have ended it is always true.
REPORTS = (
    JobReport(JobState.QUEUED),
    JobReport(JobState.QUEUED, "Priority"),
    JobReport(JobState.RUNNING),
    JobReport(JobState.RUNNING, "Preempted", suspended=True),
    JobReport(JobState.ENDING),
    JobReport(JobState.UNKNOWN, "no answer"),
    JobReport(JobState.UNKNOWN, "no answer", overdue=True),
    JobReport(JobState.GONE, "it has left the queue", presumed=True),
    JobReport(JobState.GONE, "exit code 1"),
    JobReport(JobState.GONE, "CANCELLED", deleted=True),
)

REFUSED, FULL, AWAY, LOST = JobRefused("no"), QueueFull("full"), BackendUnavailable("away"), AnswerLost("timeout")

#: Seconds: less and more than what is waited for anywhere.
STEPS = (0.05, 1.0, 5.0, 16.0, 31.0, 61.0, 400.0)

picks = st.integers(0, 30)


class MachineRules(RuleBasedStateMachine):
    """The world."""

    steps = 0

    @initialize(
        requeue=st.booleans(),
        most=st.sampled_from([None, 0, 2, 4]),
        queue=st.sampled_from([0.0, 50.0]),
        running=picks,
        limit=st.sampled_from([None, None, 0, 1, 3, 5]),
        lifetime=st.sampled_from([0.0, 0.0, 0.0, 1000.0]),
        alone=st.sampled_from([0.0, 0.0, 0.0, 300.0]),
    )
    def begin(self, requeue, most, queue, running, limit, lifetime, alone):
        self.now = 1000.0
        self.room, self.polling = None, False
        self.living = {}  # the jobs that really exist, each with its group
        self.jobs = {}  # all that ever did
        self.tried = set()  # jobs whose cancel was answered
        self.connected = set()  # the workers of the last heartbeat
        self.stored, self.stored_submissions = record(), {}
        self.config = JobQueueClusterConfig(
            requeue=requeue, cluster_max_workers=most, max_lifetime=lifetime, client_disconnect_timeout=alone
        )
        self.limit, self.others = limit, 0  # workers of the user: so many may be, so many are another cluster's
        self.rules = rules_with(queue_timeout=queue)
        self.evidence, self.judged = set(), ""
        self.start()
        if running % 3:
            self.behave(3)

    def start(self):
        """The gateway starts, with what is on record."""
        ledger = Ledger(Limits(users=UserLimits(max_workers=self.limit)))
        self.other = adopted(self.config, ledger)
        self.other.add_workers(self.others)
        self.account = adopted(self.config, ledger)
        self.account.wake = self.wake_up
        if is_ended(self.stored.status):
            self.account.close()
        self.woken, self.alone_since = False, self.now
        self.machine = Machine(
            self.stored,
            tuple(self.stored_submissions.values()),
            self.now,
            rules=self.rules,
            config=self.config,
            account=self.account,
            room=lambda: self.room,
            polling=lambda: self.polling,
        )
        self.writing, self.cleaning = None, False
        self.submits, self.cancels, self.explains, self.asks, self.said = [], [], [], [], []
        self.wake_at = inf
        self.heard = self.stored.status is ClusterStatus.RUNNING  # and its silence counts from now
        self.last_beat = self.now

    @property
    def cluster(self):
        return self.machine.records.cluster

    @property
    def wanted(self):
        """How many workers there should be."""
        most = self.config.max_workers
        return self.cluster.count if most is None else min(self.cluster.count, most)

    @property
    def possible(self):
        """How many there may be, with no other cluster."""
        return self.wanted if self.limit is None else min(self.wanted, self.limit)

    def wake_up(self):
        self.woken = True

    @property
    def failed_workers(self):
        return {row.name for row in self.machine.rows.workers if row.state is RowState.FAILED}

    def say(self, event, *about):
        """Tell the machine something, which may be said again later."""
        self.said.append((event, about))
        event(*about, self.now)

    # ---- decisions ----

    @rule()
    def decide(self):
        before, states = set(self.machine.records.submissions), dict(self.machine.rows.states)
        failed = self.failed_workers
        active = self.machine.active
        actions = self.machine.next(self.now)
        again = self.machine.next(self.now)
        if self.now > self.last_beat + self.rules.late:
            assert self.failed_workers <= failed, "given up while nobody could hear of it"
        if actions.record is not None:
            assert actions == Actions(record=actions.record)
            assert again == actions
            self.check_new_groups(set(self.machine.records.submissions) - before)
            self.writing = actions.record
            return
        assert self.cluster == self.stored
        assert self.machine.records.durable == self.stored
        assert self.machine.records.submissions == self.stored_submissions
        questions = evolve(again.questions, ask=None, poll=False)
        idle = Actions(route=again.route, wake_at=again.wake_at, questions=questions)
        assert again == idle, "what is under way is decided again"
        assert again.wake_at > self.now
        self.check_waits()
        self.wake_at = again.wake_at
        self.check_cancels(actions, states, active)
        self.submits += [actions.submit] if actions.submit else []
        assert len(self.submits) <= 1
        if actions.submit and not actions.submit.look:
            assert self.machine.active
            assert self.stored_submissions[actions.submit.intent.group].jobs is None
        self.cancels += actions.cancel
        self.explains += actions.explain
        if actions.questions.ask is not None:
            assert self.heard, "who was never heard of cannot be asked"
            self.asks.append(actions.questions.ask)
        self.cleaning = self.cleaning or actions.clean
        assert (actions.route is not None) == (self.stored.status is ClusterStatus.RUNNING)
        if actions.clean:
            assert not self.living.keys() - self.tried

    def check_new_groups(self, groups):
        """Submissions are for what is missing, and one at a time."""
        groups = [self.machine.records.submissions[group] for group in groups]
        assert len(groups) <= 1
        for intent in groups:
            if intent.role is Role.WORKER:
                live = [state for state in self.machine.rows.states.values() if state in LIVE_STATES]
                assert len(live) <= self.wanted
                assert self.limit is None or self.account.workers + self.others <= self.limit
                assert self.room is None or intent.count <= self.room

    def check_waits(self):
        """Whoever would have submitted more is going to be woken."""
        if self.waits_for_room:
            waiting = [account for each in self.account._allowances for account in each.waiting]
            assert self.woken or self.account in waiting or self.account.grant(1)
        self.woken = False

    @property
    def waits_for_room(self):
        """True when nothing but limits keeps workers from being submitted."""
        submitter = self.machine.submitter
        later = max(submitter._wait_until, submitter.refusals.at, submitter._away.at, submitter.failed_starts.at)
        asks = self.machine.active and submitter.slot is None and self.machine._patience.verdict is None
        return asks and submitter._short and later <= self.now < self.wake_at

    def check_cancels(self, actions, states, active):
        """While a cluster lives, jobs are cancelled that are of no more use, or not of use yet and too many."""
        rows = [row for cancel in actions.cancel for row in cancel.rows]
        assert len({row.job for row in rows}) == len(rows)
        if not active:
            return
        for row in rows:
            assert row.name not in self.connected
            assert row.role is Role.WORKER or row.state is RowState.GONE
            assert row.state in COMING_STATES | {RowState.LOST, RowState.FAILED, RowState.GONE}
        left = [row for row in self.machine.rows.workers if row.shown in LIVE_STATES]
        spared = [row.name for row in rows if row.state in COMING_STATES]
        assert len(left) >= self.wanted or not spared, "cancelled although it is wanted"

    @rule(seconds=st.sampled_from(STEPS))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def wake(self):
        """The task that acts is woken at its time, and does what it should."""
        self.now = self.wake_at if self.now < self.wake_at < inf else self.now
        self.act()

    @rule()
    def act(self):
        self.decide()
        while self.writing is not None:
            self.write()
            self.decide()

    @rule(rounds=st.integers(1, 3))
    def behave_for_a_while(self, rounds):
        if self.machine.active:
            self.behave(rounds)

    @rule(room=st.sampled_from([None, 0, 1, 3]), polling=st.booleans(), deaf=picks)
    def conditions(self, room, polling, deaf):
        self.room, self.polling = room, polling
        if deaf % 5 == 0:
            self.machine.deaf(self.now, "busy")

    # ---- the store ----

    @precondition(lambda self: self.writing is not None)
    @rule()
    def write(self):
        for saved in self.writing.records:
            if saved is self.cluster or not hasattr(saved, "group"):
                self.stored = saved
            else:
                self.stored_submissions[saved.group] = saved
        for group in self.writing.groups:
            self.stored_submissions.pop(group, None)
        self.machine.records.written(self.writing)
        self.writing = None

    @rule(created=st.booleans(), known=st.booleans(), limit=st.sampled_from([None, 1, 3, "the same"]))
    def crash(self, created, known, limit):
        """And another start. What was being submitted may exist, and its ids may be on record. Limits may be others."""
        self.limit = self.limit if limit == "the same" else limit
        for action in self.submits:
            if created and not action.look:
                jobs = self.create(action.intent)
                if known:
                    self.stored_submissions[action.intent.group] = evolve(action.intent, jobs=jobs)
        self.start()

    @rule(more=st.integers(-4, 4))
    def change_other(self, more):
        """The user's other cluster starts workers, or some of it end."""
        short = self.account.missing(self.account.workers + 1)[0]
        more = self.other.grant(more) if more > 0 else max(more, -self.others)
        self.other.add_workers(more)
        self.others += more
        if short and self.waits_for_room and not self.account.missing(self.account.workers + 1)[0]:
            assert self.woken

    @rule(connected=st.booleans())
    def client(self, connected):
        if self.machine.active:
            self.alone_since = inf if connected else self.now
        self.machine.client(connected, self.now)

    # ---- the batch system ----

    def create(self, intent):
        jobs = tuple(f"{len(self.jobs) + index}" for index in range(intent.count))
        self.jobs |= dict.fromkeys(jobs, intent.group)
        self.living |= dict.fromkeys(jobs, intent.group)
        return jobs

    def find(self, intent):
        jobs = [job for job, group in self.jobs.items() if group == intent.group][-intent.count :]
        return tuple(jobs) if self.living.keys() & jobs else ()

    @precondition(lambda self: self.submits)
    @rule(outcome=st.sampled_from(["done", "done", "done", REFUSED, FULL, AWAY, "lost", LOST, "vanished"]))
    def answer_submission(self, outcome):
        self.answer(self.submits.pop(), outcome)

    def answer(self, action, outcome):
        submitter = self.machine.submitter
        if outcome is AWAY or (action.look and outcome == "lost"):
            self.say(submitter.failed, action, AWAY)
        elif outcome in ("done", "vanished") or action.look:
            jobs = self.find(action.intent) if action.look else self.create(action.intent)
            if jobs:
                self.stored_submissions[action.intent.group] = evolve(action.intent, jobs=jobs)
            self.say(submitter.submitted, action, jobs)
            for job in jobs if outcome == "vanished" else ():  # a server that crashes before it has stored them
                self.living.pop(job, None)
                self.learn(job, JobReport(JobState.GONE, "it has left the queue", presumed=True))
        elif outcome == "lost":
            self.create(action.intent)
            self.say(submitter.failed, action, LOST)
        else:
            if outcome is REFUSED:
                self.evidence.add(f"{action.intent.role} refused")
            self.say(submitter.failed, action, outcome)

    @precondition(lambda self: self.cancels)
    @rule(pick=picks, error=st.sampled_from([None, None, REFUSED, AWAY, LOST]))
    def answer_cancel(self, pick, error):
        cancel = self.cancels.pop(pick % len(self.cancels))
        if error in (None, REFUSED):
            self.tried |= {row.job for row in cancel.rows}
        self.say(self.machine.cancelled, cancel, error)

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, report=st.sampled_from(REPORTS))
    def report(self, pick, report):
        known = list(self.machine.rows.by_job) or list(self.jobs)
        self.learn(known[pick % len(known)], report)

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, report=st.sampled_from(REPORTS))
    def report_of_any(self, pick, report):
        self.learn(list(self.jobs)[pick % len(self.jobs)], report)

    def learn(self, job, report):
        if report.state is JobState.GONE and not report.presumed:
            self.living.pop(job, None)
        scheduler = self.machine.rows.scheduler
        if scheduler is not None and scheduler.job == job:
            if report.state is JobState.GONE:
                self.evidence.add("missed" if report.presumed else "ended")
            elif report.state is not JobState.UNKNOWN:
                self.evidence.discard("missed")
            if report.state is JobState.QUEUED:
                self.heard = False
        self.machine.report(job, report, self.now)

    @precondition(lambda self: self.explains)
    @rule(pick=picks)
    def explain(self, pick):
        self.say(self.machine.explained, self.explains.pop(pick % len(self.explains)), "it went wrong")

    @precondition(lambda self: self.cleaning)
    @rule()
    def clean(self):
        self.cleaning = False
        self.machine.cleaned(5)

    # ---- the scheduler and the user ----

    @rule(
        count=st.integers(0, 6),
        active=st.sets(picks, max_size=5),
        closing=st.sets(picks, max_size=2),
        closed=st.sets(picks, max_size=2),
        host=st.sampled_from(["n1", "n1", "n1", "n2"]),
    )
    def heartbeat(self, count, active, closing, closed, host):
        names = [*self.machine.rows.states, "else-0", "else-1"]
        active, closing, closed = (
            {names[pick % len(names)] for pick in chosen} for chosen in (active, closing, closed)
        )
        self.beat(count, active, closing, closed, host)

    def beat(self, count, active, closing=(), closed=(), host="n1"):
        addresses = f"tls://{host}:8786", f"http://{host}:8787", f"http://{host}:9000"
        if self.machine.active:
            self.connected = set(active)
            self.heard, self.last_beat = True, self.now
            self.evidence -= {"missed", Answer.REFUSED, Answer.SILENT, "silent thrice", "silent twice"}
        self.machine.heartbeat(Heartbeat(*addresses, count, frozenset(active), frozenset(closing), closed), self.now)

    @precondition(lambda self: self.asks)
    @rule(pick=picks, answer=st.sampled_from(Answer))
    def answer_question(self, pick, answer):
        silence = self.asks.pop(pick % len(self.asks))
        if answer is Answer.SILENT and "silent twice" in self.evidence:
            self.evidence.add("silent thrice")
        elif answer is Answer.SILENT and Answer.SILENT in self.evidence:
            self.evidence.add("silent twice")
        self.evidence.add(answer)
        self.say(self.machine.asked, silence, answer, "because")

    @rule(count=st.integers(0, 6))
    def scale(self, count):
        if self.cluster.status is ClusterStatus.RUNNING:
            self.machine.scale(count, self.now)

    @rule(names=st.sampled_from([(), ("bob",), ("bob", "@physics")]))
    def share(self, names):
        """Its owner shares it: nothing is different but that."""
        if self.machine.active:
            self.machine.share(SharingChange({"share_view": names}, "shared"))
            assert self.machine.records.cluster.share_view == names

    @precondition(lambda self: self.said)
    @rule(pick=picks)
    def say_again(self, pick):
        """Something is said twice, or comes late."""
        event, about = self.said[pick % len(self.said)]
        event(*about, self.now)

    @rule(pick=st.integers(0, 40), why=st.sampled_from([BY_USER, BY_GATEWAY]))
    def end(self, pick, why):
        if pick == 0:
            self.machine.stop(why)
        elif pick == 1:
            self.evidence.add("broken")
            self.machine.failed("somebody says so")
        elif pick == 2:
            self.evidence.add("broken")
            self.machine.broken("a bug", self.now)
        elif pick == 3:
            self.machine.adapt()
        elif pick == 4:
            self.machine.cleaned(5)

    # ---- what always holds ----

    @invariant()
    def count_steps(self):
        MachineRules.steps += 1

    @invariant()
    def no_job_is_forgotten(self):
        under_way = {action.intent.group for action in self.submits}
        for job, group in self.living.items():
            intent = self.machine.records.submissions.get(group)
            looked_for = group in under_way or (intent is not None and intent.jobs is None)
            assert job in self.machine.rows.by_job or looked_for or job in self.tried, f"job {job} of {group}"

    @invariant()
    def rows_are_consistent(self):
        rows = self.machine.rows
        assert {row.name: row for row in rows.by_job.values()}.items() <= rows.by_name.items()
        groups = {row.group for row in rows.by_name.values()}
        assert groups <= set(self.machine.records.submissions)

    @invariant()
    def the_books_are_right(self):
        rows = self.machine.rows.workers
        assert self.account.workers == len(rows)
        assert self.account.is_open or is_ended(self.stored.status)

    @invariant()
    def the_clock_ends_nothing_before_its_time(self):
        if "max_lifetime" in self.cluster.stopped:
            assert self.now >= self.cluster.running_since / 1000 + self.config.max_lifetime
        if "client_disconnect_timeout" in self.cluster.stopped:
            assert self.alone_since < inf

    @invariant()
    def silence_alone_ends_nothing(self):
        reason, evidence = self.cluster.reason, self.evidence
        if not reason or reason == self.judged:
            return
        self.judged = reason
        if reason.startswith("the scheduler has not been heard of"):
            assert Answer.REFUSED in evidence or "silent thrice" in evidence
        elif reason.startswith("the scheduler's job ended"):
            assert "ended" in evidence or "missed" in evidence
            assert "ended" in evidence or not self.heard or evidence & {Answer.REFUSED, Answer.SILENT}
        elif reason.startswith("the scheduler did not report"):
            assert not self.heard
        elif reason.startswith("the scheduler's job waited in the queue"):
            assert self.rules.options.queue_timeout
        elif "could not be submitted" in reason:
            assert f"{Role.SCHEDULER if 'scheduler' in reason else Role.WORKER} refused" in evidence
        else:
            assert "workers in a row failed to start" in reason or "broken" in evidence

    # ---- the end of the story ----

    def behave(self, rounds, until=lambda: False):
        """The world behaves, for so many rounds of at most 15 s or until: all answer, jobs run, workers connect."""
        for _ in range(rounds):
            if until():
                return
            self.room, self.polling = None, False
            for _ in range(3):
                self.act()
                self.answer_all()
            if self.machine.active and self.machine.rows.scheduler is not None:
                workers = [row for row in self.machine.rows.workers if row.job in self.living and not row.cancelled]
                kept, retired = workers[: self.wanted], workers[self.wanted :]
                self.beat(self.cluster.count, {row.name for row in kept}, {row.name for row in retired})
                for row in retired:
                    self.learn(row.job, JobReport(JobState.GONE, "retired"))
            self.now = min(self.now + 15, max(self.wake_at, self.now + 1))

    def answer_all(self):
        while self.submits:
            self.answer(self.submits.pop(), "done")
        for cancel in self.cancels:
            self.tried |= {row.job for row in cancel.rows}
            self.machine.cancelled(cancel, None, self.now)
            for row in cancel.rows:
                self.learn(row.job, JobReport(JobState.GONE, "cancelled", deleted=True))
        self.cancels.clear()
        for row in self.explains:
            self.machine.explained(row, "so it was", self.now)
        for silence in self.asks:
            self.machine.asked(silence, Answer.HERE, "", self.now)
        self.explains.clear()
        self.asks.clear()
        if self.cleaning:
            self.clean()
        for row in tuple(self.machine.rows.by_job.values()):
            if row.cancelled_at < inf:  # what was cancelled ends at last
                self.learn(row.job, JobReport(JobState.GONE, "cancelled", deleted=True))
        for job in tuple(self.machine.rows.by_job):
            runs = JobReport(JobState.RUNNING) if job in self.living else JobReport(JobState.GONE, "no such job")
            self.learn(job, runs)

    def teardown(self):
        if not hasattr(self, "machine"):
            return
        self.other.close()
        self.others = 0
        self.behave(250, self.is_complete)
        assert self.is_complete(), self.machine.rows.states
        self.machine.stop(BY_USER)
        self.behave(60, lambda: is_ended(self.stored.status))
        assert is_ended(self.stored.status)
        self.behave(1)
        assert not self.living.keys() - self.tried
        assert not self.stored_submissions
        assert not self.account.is_open

    def is_complete(self):
        """There are as many connected workers as are wanted, or the cluster is at its end."""
        connected = list(self.machine.rows.states.values()).count(RowState.ACTIVE)
        enough = self.possible <= connected <= self.wanted  # more than possible where the limit was lowered
        return not self.machine.active or (self.cluster.status is ClusterStatus.RUNNING and enough)


MachineRules.TestCase.settings = settings(
    max_examples=60, stateful_step_count=50, suppress_health_check=list(HealthCheck)
)
TestMachine = MachineRules.TestCase
