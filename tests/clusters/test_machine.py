"""What the machine of a cluster decides, told as stories without an event loop."""

from math import inf

import pytest

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.clusters.actions import Actions
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.ledger import Ledger
from gateway.clusters.lifecycle import RowState
from gateway.clusters.machine import MOST_ERRORS, Machine
from gateway.clusters.patience import MOST_ATTEMPTS
from gateway.clusters.reasons import BY_GATEWAY, BY_USER
from gateway.clusters.silence import Answer
from gateway.config.limits import Limits, UserLimits
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused, QueueFull
from gateway.models import ClusterStatus, JobReport, JobState, Role, SubmissionRecord
from tests.support.fakes import RULES, adopted, rules_with
from tests.support.houses import record

QUEUED, RUNNING, GONE = (JobReport(state) for state in (JobState.QUEUED, JobState.RUNNING, JobState.GONE))
PRESUMED = JobReport(JobState.GONE, "it has left the queue", presumed=True)
SUSPENDED = JobReport(JobState.RUNNING, "Preempted", suspended=True)


class Story:
    """A machine, and a store that writes whatever it wants to have recorded."""

    def __init__(self, stored=None, submissions=(), *, requeue=False, rules=RULES, most=None, limit=None, **options):
        self.now = 0.0
        self.room, self.polling = None, False
        self.told = []
        config = JobQueueClusterConfig(requeue=requeue, cluster_max_workers=most, **options)
        ledger = Ledger(Limits(users=UserLimits(max_workers=limit)))
        self.account, self.other = adopted(config, ledger), adopted(config, ledger)
        self.machine = Machine(
            stored or record(),
            submissions,
            self.now,
            rules=rules,
            config=config,
            account=self.account,
            room=lambda: self.room,
            polling=lambda: self.polling,
        )

    @property
    def cluster(self):
        return self.machine.records.durable

    @property
    def states(self):
        return self.machine.rows.states

    def next(self, seconds=0.0):
        """What is decided after so many seconds, when all that had to be recorded is."""
        self.now += seconds
        while (actions := self.machine.next(self.now)).record is not None:
            self.machine.records.written(actions.record)
        self.told += actions.tell
        return actions

    def beat(self, count=0, active=(), closing=(), closed=(), host="n1"):
        addresses = f"tls://{host}:8786", f"http://{host}:8787", f"http://{host}:9000"
        return self.machine.heartbeat(
            Heartbeat(*addresses, count, frozenset(active), frozenset(closing), closed), self.now
        )

    def answer(self, action, *jobs):
        self.machine.submitter.submitted(action, jobs, self.now)

    def fail(self, action, error):
        self.machine.submitter.failed(action, error, self.now)

    def report(self, job, report):
        self.machine.report(job, report, self.now)

    def idle(self, seconds=0.0):
        """When the next decision is due; nothing else is decided."""
        actions = self.next(seconds)
        assert actions == Actions(route=actions.route, wake_at=actions.wake_at)
        return actions.wake_at

    def start(self):
        """The scheduler is submitted as job 1, and reports."""
        self.answer(self.next().submit, "1")
        self.report("1", RUNNING)
        self.beat()
        assert self.next().route == ("tls://n1:8786", "http://n1:8787")
        return self

    def scale(self, *jobs):
        """So many workers are wanted and submitted, under these ids."""
        self.machine.scale(len(jobs), self.now)
        self.answer(self.next().submit, *jobs)
        self.next()
        return self


def a_group(group, *jobs, role=Role.WORKER, count=None):
    return SubmissionRecord(
        cluster="c0ffee", group=group, role=role, count=count or len(jobs), jobs=jobs if count is None else None
    )


SCHEDULER = a_group("scheduler", "1", role=Role.SCHEDULER)
RAN = {"scheduler_address": "tls://n1:8786", "dashboard_address": "http://n1:8787", "api_address": "http://n1:9000"}


def taken_back(*submissions, count=0, groups=1, **more):
    """A running cluster of before a restart, with its scheduler's job 1 and these other submissions."""
    stored = record(status=ClusterStatus.RUNNING, count=count, groups=groups, **RAN)
    return Story(stored, (SCHEDULER, *submissions), **more)


# ---- recorded first


def test_nothing_is_done_before_it_is_on_record():
    machine = Story().machine
    actions = machine.next(0.0)
    (intent,) = actions.record.records
    assert (intent.group, intent.jobs) == ("scheduler", None)
    assert actions == machine.next(5.0) == Actions(record=actions.record)
    machine.records.written(actions.record)
    assert machine.next(6.0).submit.intent == intent


def test_nothing_is_shown_before_it_is_on_record():
    story = Story()
    story.answer(story.next().submit, "1")
    story.beat()
    story.machine.stop(BY_GATEWAY)
    assert story.machine.next(0.0) == Actions(record=story.machine.records.write())
    actions = story.next()
    assert actions.tell == ("The scheduler is job 1", "The scheduler is running", f"Stopping: {BY_GATEWAY}")
    assert actions.route is None


def test_what_is_under_way_is_not_decided_again():
    story = Story()
    assert story.next().submit is not None
    assert story.idle() == 10.0


# ---- submissions


def test_a_slow_submission_is_told_of_once():
    story = Story()
    story.next()
    assert story.idle(9.0) == 10.0
    assert story.next(1.0).tell == ("The batch system has not answered the submission of scheduler for 10 seconds",)
    assert story.idle(100.0) == inf


def test_a_lost_answer_is_looked_for():
    story = Story()
    action = story.next().submit
    story.fail(action, AnswerLost("no answer."))
    look = story.next().submit
    assert (look.look, look.intent) == (True, action.intent)
    story.fail(look, BackendUnavailable("away"))
    assert story.next().submit is None
    look = story.next(1.0).submit
    story.answer(look, "1")
    assert story.told == [
        "The answer to the submission of scheduler was lost (no answer); looking for its jobs",
        "The batch system does not answer (away); trying again",
    ]
    assert story.next().tell == ("The scheduler is job 1",)
    assert story.machine.records.submissions["scheduler"].jobs == ("1",)


def test_what_is_not_found_is_submitted_again_after_a_while():
    story = Story()
    story.fail(story.next().submit, AnswerLost("timeout"))
    story.answer(story.next().submit)
    assert story.idle() == 1.0
    again = story.next(1.0).submit
    assert (again.look, again.intent.group) == (False, "scheduler")


def test_a_batch_system_that_is_away_is_asked_less_and_less_often():
    story, waits = Story(), []
    for _ in range(6):
        story.fail(story.next().submit, BackendUnavailable("away"))
        waits.append(story.next().wake_at - story.now)
        story.now += waits[-1]
    assert waits == [1, 2, 4, 8, 15, 15]


def test_answers_that_come_twice_or_too_late_are_no_news():
    story = Story()
    action = story.next().submit
    story.fail(action, BackendUnavailable("away"))
    story.fail(action, JobRefused("no"))
    story.answer(action, "1")
    assert story.next().tell == ("The batch system does not answer (away); trying again",)
    assert story.cluster.status is ClusterStatus.PENDING
    assert not story.machine.rows.by_job


def test_one_submission_at_a_time():
    story = Story().start()
    story.machine.scale(3, story.now)
    action = story.next().submit
    assert action.intent.count == 3
    story.machine.scale(5, story.now)
    assert story.next().submit is None
    story.answer(action, "7", "8", "9")
    assert story.next().submit.intent == a_group("w2", count=2)


def test_of_what_does_not_fit_half_is_tried():
    story = Story().start()
    story.machine.scale(4, story.now)
    sizes = []
    for _ in range(3):
        action = story.next().submit
        sizes.append(action.intent.count)
        story.fail(action, QueueFull("full"))
    assert sizes == [4, 2, 1]
    story.machine.scale(4, story.now)
    assert story.machine.shortfall == "4 workers are not submitted yet: full"
    assert story.next().tell == ("Not all workers can be submitted; trying again: full",)
    assert story.idle() == 10.0
    action = story.next(10.0).submit
    assert (action.intent.group, action.intent.count) == ("w4", 1)
    story.room = 0
    story.answer(action, "7")
    assert story.next().submit is None
    assert "as the site allows" in story.told[-1]
    story.room = None
    assert story.next(10.0).submit.intent.count == 1  # until all are submitted


def test_refused_workers_end_a_cluster_that_has_none():
    story, rules = Story().start(), RULES
    story.machine.scale(1, story.now)
    for wait in (1.0, 2.0):
        story.fail(story.next().submit, JobRefused("no such partition"))
        assert story.next().wake_at == story.now + wait
        story.now += wait
    story.fail(story.next().submit, JobRefused("no such partition"))
    assert story.next().route is None
    assert story.cluster.reason == "workers could not be submitted: no such partition"
    assert rules.options.worker_start_failure_limit == 3


def test_a_worker_that_connects_clears_refusals():
    story = Story().start().scale("7")
    story.machine.scale(2, story.now)
    for _ in range(2):
        story.fail(story.next().submit, JobRefused("no"))
        story.now += 2
    story.beat(2, active=["w1-0"])
    assert story.machine.submitter.refusals.failures == 0
    assert story.next().submit is not None


# ---- workers


def test_the_end_of_a_worker_s_job():
    for happened, told in (
        ([], "failed to start"),
        ([RUNNING], "failed to start"),
        (["beat"], "Worker w1-0 was lost: exit code 1"),
    ):
        story = Story().start().scale("7")
        for what in happened:
            story.beat(1, active=["w1-0"]) if what == "beat" else story.report("7", what)
        story.report("7", JobReport(JobState.GONE, "exit code 1"))
        actions = story.next()
        if told == "failed to start":
            (row,) = actions.explain
            story.machine.explained(row, "no module named dask", story.now)
            assert story.next().tell == ("Worker w1-0 failed to start: no module named dask",)
            assert actions.wake_at == story.now + 0.1
        else:
            assert actions.tell[-1] == told
            assert actions.submit.intent == a_group("w2", count=1)
        assert "w1" not in story.machine.records.submissions


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (JobReport(JobState.GONE, "CANCELLED", deleted=True), "was deleted before it had started: CANCELLED"),
        (PRESUMED, "was never in the queue: it has left the queue"),
    ],
)
def test_what_nobody_is_to_blame_for_is_replaced_after_a_second(report, told):
    story = Story().start().scale("7")
    story.report("7", report)
    actions = story.next()
    assert actions.tell == (f"The job of worker w1-0 {told}",)
    assert actions.explain == ()
    assert [[row.job for row in cancel.rows] for cancel in actions.cancel] == ([["7"]] if report.presumed else [])
    assert story.next(1.0).submit.intent.group == "w2"


def test_failures_in_a_row_end_the_cluster_when_all_are_explained():
    story = Story().start().scale("7", "8", "9", "10")
    for job in ("7", "8", "9", "10"):
        story.report(job, JobReport(JobState.GONE, "exit code 1"))
    rows = story.next().explain
    assert [row.name for row in rows] == ["w1-0", "w1-1", "w1-2"]  # they fail alike
    for row in rows:
        assert story.machine.active
        story.machine.explained(row, f"because of {row.name}", story.now)
        story.machine.explained(row, "said twice", story.now)
    story.next()
    assert story.cluster.reason == "4 workers in a row failed to start; the last one: because of w1-2"


def test_a_worker_that_does_not_connect_is_given_up_and_replaced():
    story = Story().start().scale("7")
    story.report("7", RUNNING)
    assert story.next().wake_at == RULES.late
    for _ in range(4):
        story.next(12.0)
        story.beat(1)
    actions = story.next(12.0)
    assert story.states["w1-0"] is RowState.ENDING
    assert [row.name for row in actions.explain] == ["w1-0"]
    (cancel,) = actions.cancel
    story.machine.cancelled(cancel, BackendUnavailable("away"), story.now)
    assert story.states["w1-0"] is RowState.FAILED
    assert story.next(0.1).submit.intent.group == "w2"
    assert story.told[-1] == "Workers could not be cancelled: away"
    story.beat(1, active=["w1-0"])  # after all
    assert story.next(2.0).cancel == ()
    assert story.states["w1-0"] is RowState.ACTIVE


def test_a_worker_is_not_given_up_while_its_scheduler_is_silent():
    """Who has connected is not known: it may be the worker, and the scheduler too busy to say so."""
    story = Story().start().scale("7")
    story.report("7", RUNNING)
    for _ in range(10):
        for silence in [action.ask for action in [story.next(20.0).questions] if action.ask]:
            story.machine.asked(silence, Answer.HERE, "", story.now)
    assert story.states == {"w1-0": RowState.STARTING}
    story.beat(1)  # and now it says so, or the worker has some more time
    assert story.next().cancel == ()
    story.next(15.0)
    story.beat(1)
    assert story.next(14.0).cancel == ()
    (cancel,) = story.next(1.0).cancel
    assert [row.name for row in cancel.rows] == ["w1-0"]


def test_a_worker_is_not_given_up_while_its_scheduler_s_job_is_requeued():
    """It has nobody to connect to."""
    story = Story().start().scale("7")
    story.report("7", RUNNING)
    story.report("1", QUEUED)
    for _ in range(10):
        story.next(20.0)
    story.report("1", RUNNING)
    assert story.next(20.0).cancel == ()
    assert story.states == {"w1-0": RowState.STARTING}
    story.beat(1)
    story.next(15.0)
    story.beat(1)
    assert story.next(14.0).cancel == ()
    (cancel,) = story.next(1.0).cancel
    assert [row.name for row in cancel.rows] == ["w1-0"]


def test_a_cancel_that_is_answered_twice():
    story = Story().start().scale("7", "8")
    story.beat(0)
    story.next(21.0)
    story.beat(0)
    (cancel,) = story.next().cancel
    assert cancel.what == "Workers"
    for _ in range(2):
        story.machine.cancelled(cancel, None, story.now)
    assert set(story.states.values()) == {RowState.ENDING}
    story.machine.cancelled(cancel, JobRefused("no"), story.now)
    assert set(story.states.values()) == {RowState.ENDING}
    story.report("7", PRESUMED)  # of what was cancelled absence is enough
    story.report("8", GONE)
    assert story.states == {}
    assert story.next().tell == ()


def test_a_connected_worker_s_job_is_not_gone_because_it_is_missed():
    story = Story().start().scale("7")
    story.beat(1, active=["w1-0"])
    story.report("7", PRESUMED)
    assert story.next().cancel == ()
    assert story.states == {"w1-0": RowState.ACTIVE}
    story.beat(1)
    (cancel,) = story.next().cancel
    assert cancel.what == "Jobs that are not in the queue any more"
    story.machine.cancelled(cancel, AnswerLost("timeout"), story.now)
    (again,) = story.next(2.0).cancel
    story.machine.cancelled(again, JobRefused("no such job"), story.now)
    assert "w1-0" not in story.states


def test_a_requeued_worker_is_waited_for():
    story = Story(requeue=True).start().scale("7")
    story.report("7", RUNNING)
    story.beat(1, active=["w1-0"])
    story.beat(1)
    assert story.next().questions.poll  # perhaps its job waits again
    assert story.states == {"w1-0": RowState.LOST}
    story.report("7", QUEUED)
    assert story.states == {"w1-0": RowState.QUEUED}
    story.beat(1, active=["w1-0"])
    story.report("7", QUEUED)
    story.beat(1)
    assert story.states == {"w1-0": RowState.QUEUED}  # as was known before


def test_suspension_is_told_once():
    story = Story().start().scale("7")
    for job in ("1", "7"):
        for _ in range(2):
            story.report(job, SUSPENDED)
    assert story.next().tell == (
        "The batch system has suspended the scheduler: Preempted",
        "The batch system has suspended workers: Preempted",
    )


# ---- after a restart


def test_workers_of_before_are_taken_back_and_their_number_is_completed():
    story = taken_back(a_group("w1", "7", "8"), count=3)
    actions = story.next()
    assert actions.submit.intent == a_group("w2", count=1)
    assert actions.route is not None
    assert set(story.machine.rows.by_job) == {"1", "7", "8"}


def test_nobody_is_cancelled_before_it_is_known_who_is_connected():
    story = taken_back(a_group("w1", "7", "8", "9"), count=1)
    story.report("7", RUNNING)
    story.report("8", PRESUMED)
    assert story.next().cancel == ()
    assert story.next(100.0).cancel == ()
    story.beat(1, active=["w1-0"])
    cancels = {cancel.what: [row.name for row in cancel.rows] for cancel in story.next().cancel}
    assert cancels == {"Workers": ["w1-2"], "Jobs that are not in the queue any more": ["w1-1"]}
    assert story.told == []


def test_an_intent_of_before_is_looked_for_and_dropped_if_there_is_nothing():
    story = taken_back(a_group("w1", count=2), a_group("w2", count=1), count=1, groups=2)
    look = story.next().submit
    assert (look.look, look.intent.group) == (True, "w1")
    story.answer(look)
    look = story.next().submit
    assert (look.look, look.intent.group) == (True, "w2")
    story.answer(look, "7")
    assert story.next().submit is None
    assert story.states == {"w2-0": RowState.ADOPTED}
    assert story.told == []


def test_the_first_heartbeat_is_news_and_the_next_is_not():
    story = taken_back()
    story.next()
    assert story.beat()
    assert not story.beat()


def test_a_cluster_that_has_ended_does_nothing():
    story = Story(record(status=ClusterStatus.STOPPED), [a_group("w1", count=2)])
    assert story.next() == Actions()


# ---- the scheduler's end


def ask(story):
    """The question to the scheduler when its heartbeats are missing."""
    story.now += RULES.options.heartbeat_timeout
    actions = story.next()
    assert actions.questions.poll
    return actions.questions.ask


def test_a_late_heartbeat_is_a_reason_to_poll_once():
    story = Story().start()
    assert story.next().wake_at == RULES.late
    assert story.next(RULES.late).questions.poll
    assert not story.next(1.0).questions.poll
    assert story.beat()  # somebody was worried
    assert not story.beat()


def test_a_deadline_waits_for_the_answer_to_an_open_question():
    story = Story().start()
    story.polling = True
    questions = story.next(RULES.options.heartbeat_timeout).questions
    assert (questions.settle, questions.ask) == (True, None)
    story.polling = False
    assert story.next().questions.ask is not None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer.HERE, "but it answers when it is asked; waiting"),
        (Answer.SILENT, "and it does not answer (timeout); it will be asked again"),
        (Answer.NOT_ASKED, "and it cannot be asked (timeout); trying again"),
    ],
)
def test_silence_alone_ends_nothing(answer, told):
    story = Story().start()
    words = "" if answer is Answer.HERE else "timeout"
    story.machine.asked(ask(story), answer, words, story.now)
    assert story.next().tell == (f"No heartbeat of the scheduler for 30 s, {told}",)
    assert story.machine.active


def test_a_port_that_refuses_ends_the_cluster_once_it_is_explained():
    story = Story().start()
    story.machine.asked(ask(story), Answer.REFUSED, "", story.now)
    (row,) = story.next().explain
    assert story.idle() == inf
    story.machine.explained(row, "out of memory", story.now)
    story.next()
    assert story.cluster.reason == ("the scheduler has not been heard of for 30 s, and its port refuses\nout of memory")


def test_a_heartbeat_refutes_what_was_believed():
    story = Story().start()
    story.machine.asked(ask(story), Answer.REFUSED, "", story.now)
    (row,) = story.next().explain
    assert story.beat()
    story.machine.explained(row, "out of memory", story.now)
    story.next()
    assert story.cluster.status is ClusterStatus.RUNNING


def test_nor_does_the_end_of_its_job_wait_for_anything():
    story = Story().start()
    story.report("1", JobReport(JobState.GONE, "exit code 1"))
    story.beat()
    (row,) = story.next().explain
    story.machine.explained(row, "exit code 1", story.now)
    story.next()
    assert story.cluster.reason == "the scheduler's job ended: exit code 1"
    assert "scheduler" in story.machine.records.submissions  # that there was one is not forgotten before the end


def test_a_look_refutes_an_absence():
    story = Story()
    story.answer(story.next().submit, "1")
    story.report("1", QUEUED)
    story.report("1", PRESUMED)
    (row,) = story.next().explain
    story.report("1", QUEUED)
    story.machine.explained(row, "gone", story.now)
    story.next()
    assert story.cluster.status is ClusterStatus.PENDING


def test_one_question_at_a_time():
    story = Story().start()
    assert ask(story) is not None
    assert story.next(5.0).questions.ask is None
    story.report("1", JobReport(JobState.RUNNING, "on n1"))  # of which nobody has to be told
    actions = story.next()
    assert (actions.tell, actions.questions.ask is None) == ((), False)  # what was asked before is outdated


def test_an_answer_that_is_outdated_says_nothing():
    story = Story().start()
    silence = ask(story)
    story.report("1", RUNNING)
    story.machine.asked(silence, Answer.REFUSED, "", story.now)
    assert story.next().questions.ask is not None
    story.machine.stop(BY_USER)
    story.machine.asked(silence, Answer.REFUSED, "", story.now)
    assert story.cluster.reason == ""


def test_an_answer_that_may_have_been_missed_says_nothing():
    story = Story().start()
    silence = ask(story)
    story.machine.deaf(story.now, "busy")
    story.machine.asked(silence, Answer.REFUSED, "", story.now + 1)
    assert "cannot be asked" in story.next(1.0).tell[0]
    story.next(5.0)
    story.next(5.0)
    assert [told for told in story.told if "(busy)" in told] == [
        "No heartbeat of the scheduler for 30 s, in which the gateway may have missed some (busy); waiting"
    ]


def test_who_was_heard_before_its_id_is_known_fails_without_explanation():
    story = Story()
    action = story.next().submit
    story.beat()
    story.next()
    story.machine.asked(ask(story), Answer.REFUSED, "", story.now)
    story.next()
    assert story.cluster.reason == "the scheduler has not been heard of for 30 s, and its port refuses"
    story.answer(action, "1")
    (cancel,) = story.next().cancel
    assert [row.job for row in cancel.rows] == ["1"]


def test_a_scheduler_that_was_never_in_the_queue_is_submitted_again_after_its_cancel():
    story = Story()
    for number in range(1, MOST_ATTEMPTS):
        story.answer(story.next().submit, str(number))
        story.report(str(number), PRESUMED)
        actions = story.next()
        assert actions.submit is None
        assert actions.tell[-1] == f"The scheduler's job {number} was never in the queue; submitting it again"
        assert story.next().cancel == ()
        (cancel,) = actions.cancel
        story.machine.cancelled(cancel, None, story.now)
    story.answer(story.next().submit, "3")
    story.report("3", PRESUMED)
    (row,) = story.next().explain
    story.machine.explained(row, "nobody knows", story.now)
    story.next()
    assert story.cluster.reason == "the scheduler's job ended: nobody knows"


def test_a_heartbeat_while_it_is_being_submitted_again_is_as_good_as_any():
    story = Story()
    story.answer(story.next().submit, "1")
    story.report("1", PRESUMED)
    (cancel,) = story.next().cancel
    story.machine.cancelled(cancel, None, story.now)
    assert story.machine.rows.scheduler is None
    assert story.beat()
    assert story.next().submit.intent.role is Role.SCHEDULER
    assert story.cluster.status is ClusterStatus.RUNNING


def test_its_job_ends_for_certain_while_it_is_being_given_up():
    story = Story()
    story.answer(story.next().submit, "1")
    story.report("1", PRESUMED)
    (cancel,) = story.next().cancel
    story.report("1", GONE)
    story.machine.cancelled(cancel, None, story.now)
    assert story.next().submit.intent.role is Role.SCHEDULER


# ---- the cluster's end


def test_one_cancel_for_all_then_nothing_is_left():
    story = Story().start().scale("7", "8")
    story.machine.stop(BY_USER)
    story.machine.stop(BY_GATEWAY)
    actions = story.next()
    assert (actions.tell, actions.route) == (("Stopping",), None)
    (cancel,) = actions.cancel
    assert (cancel.what, {row.job for row in cancel.rows}) == ("Jobs", {"1", "7", "8"})
    story.machine.cancelled(cancel, None, story.now)
    assert story.next().wake_at == 30.0
    story.report("1", GONE)
    story.report("7", GONE)
    (again,) = story.next(30.0).cancel
    assert [row.job for row in again.rows] == ["8"]
    story.machine.cancelled(again, None, story.now)
    story.report("8", PRESUMED)
    assert story.next().clean
    assert not story.next().clean
    story.machine.cleaned(5)
    story.machine.cleaned(6)
    assert story.next().tell == ("Ended",)
    assert (story.cluster.status, story.cluster.stopped, story.cluster.stop_time) == (ClusterStatus.STOPPED, BY_USER, 5)
    assert story.machine.records.submissions == {}
    assert story.next() == Actions()


def test_what_is_not_submitted_yet_is_not_submitted_any_more():
    story = Story()
    assert story.machine.next(0.0).record is not None
    story.machine.stop(BY_USER)
    actions = story.next()
    assert (actions.submit, actions.clean) == (None, True)


def test_what_is_being_submitted_is_waited_for_and_cancelled():
    story = Story().start()
    story.machine.scale(1, story.now)
    action = story.next().submit
    story.machine.stop(BY_USER)
    (cancel,) = story.next().cancel
    assert [row.job for row in cancel.rows] == ["1"]
    story.machine.cancelled(cancel, None, story.now)
    story.report("1", GONE)
    assert not story.next().clean
    story.fail(action, AnswerLost("timeout"))
    look = story.next().submit
    story.answer(look, "7")
    (cancel,) = story.next().cancel
    assert [row.job for row in cancel.rows] == ["7"]
    story.machine.cancelled(cancel, JobRefused("no permission"), story.now)
    assert story.next().tell[-1] == "Jobs could not be cancelled: no permission"
    assert story.next(2.0).cancel != ()


def test_what_is_missed_at_the_end_is_cancelled_once_in_case_it_is_there():
    story = Story().start()
    story.report("1", PRESUMED)
    story.machine.stop(BY_USER)
    (cancel,) = story.next().cancel
    story.machine.cancelled(cancel, JobRefused("no such job"), story.now)
    assert story.next().clean


def test_late_words_to_a_cluster_at_its_end():
    story = Story().start().scale("7")
    story.report("7", GONE)
    (row,) = story.next().explain
    story.machine.stop(BY_USER)
    story.next()
    assert not story.beat(5)
    story.machine.scale(9, story.now)
    assert story.machine.shortfall == ""
    story.machine.failed("too late")
    story.machine.explained(row, "too late", story.now)
    story.machine.cleaned(5)
    story.report("1", SUSPENDED)
    story.report("77", RUNNING)
    assert story.next().tell == ()
    assert (story.cluster.count, story.cluster.reason) == (1, "")
    assert not story.machine.active


def test_errors_of_the_gateway_are_borne_for_a_while():
    story = Story().start()
    for _ in range(MOST_ERRORS - 1):
        story.machine.broken("a bug", story.now)
    story.now += 61
    for _ in range(MOST_ERRORS - 1):
        story.machine.broken("a bug", story.now)
    story.next()
    assert story.machine.active
    story.machine.broken("a bug", story.now)
    story.next()
    assert story.cluster.reason == "an error inside the gateway: a bug"


def test_a_queue_limit_tells_the_reason():
    story = Story(rules=rules_with(queue_timeout=100))
    story.answer(story.next().submit, "1")
    story.report("1", JobReport(JobState.QUEUED, "PartitionDown"))
    assert story.next().wake_at == 100.0
    story.next(100.0)
    assert story.cluster.reason == "the scheduler's job waited in the queue for more than 100 s: PartitionDown"


# ---- limits

FULL_OF_WORKERS = "user alice may have 4 workers (c.UserLimits.max_workers) and has 4"


def test_no_more_workers_than_limits_leave_room_for():
    story = Story(limit=4).start()
    story.other.add_workers(1)
    story.machine.scale(5, story.now)
    action = story.next().submit
    assert action.intent.count == 3
    assert story.machine.shortfall == f"2 workers wait until there is room: {FULL_OF_WORKERS}"
    story.answer(action, "7", "8", "9")
    assert story.next().submit is None
    assert story.idle() < inf  # for the scheduler's next heartbeat
    assert story.told.count(f"2 workers wait until there is room: {FULL_OF_WORKERS}") == 1


def test_who_waits_for_room_is_woken_and_takes_what_there_is():
    story = Story(limit=4).start()
    story.other.add_workers(3)
    woken = []
    story.account.wake = lambda: woken.append(story.now)
    story.scale("7")
    story.machine.scale(3, story.now)
    story.beat(3, active=["w1-0"])
    assert story.next().submit is None
    assert woken == []
    story.other.add_workers(-1)
    assert woken == [story.now]
    story.answer(story.next().submit, "8")
    assert story.next().submit is None
    story.other.close()
    assert len(woken) == 2
    assert story.next().submit.intent == a_group("w3", count=1)


def test_an_adaptive_cluster_gets_no_more_either():
    story = Story(limit=4).start()
    story.machine.adapt()
    story.beat(50)
    assert story.next().submit.intent.count == 4
    assert story.told[-1] == f"46 workers wait until there is room: {FULL_OF_WORKERS}"


def test_a_worker_counts_until_its_job_is_gone():
    story = Story(limit=1).start().scale("7")
    story.report("7", RUNNING)
    story.beat(1, active=["w1-0"])
    story.machine.scale(0, story.now)
    story.beat(0, closing=["w1-0"])
    story.machine.scale(1, story.now)
    story.beat(1)
    assert story.next().submit is None  # the one that is closing
    story.report("7", GONE)
    assert story.account.workers == 0
    assert story.next().submit.intent.count == 1


def test_what_is_looked_for_after_a_restart_is_counted_whatever_the_limits_are():
    story = taken_back(a_group("w1", "7", "8", "9"), a_group("w2", count=2), count=6, limit=4)
    assert story.account.workers == 5
    action = story.next().submit
    assert action.look
    story.answer(action)
    assert story.account.workers == 3
    story.beat(6, active=["w1-0", "w1-1", "w1-2"])
    assert story.next().submit.intent.count == 1
    assert story.account.held["workers"] == 4


def test_at_the_end_nothing_is_held():
    story = Story(limit=4).start().scale("7", "8")
    story.machine.stop(BY_USER)
    assert story.account.ending
    (cancel,) = story.next().cancel
    story.machine.cancelled(cancel, None, story.now)
    for job in ("1", "7", "8"):
        story.report(job, GONE)
        assert story.account.is_open
    assert story.next().clean
    story.machine.cleaned(5)
    assert story.machine.next(story.now).record is not None
    assert story.account.is_open  # until that is durable
    story.next()
    assert not story.account.is_open
    assert set(story.account.held.values()) == {0}


# ---- ended by the clock


def test_a_cluster_that_has_run_for_too_long_is_stopped():
    story = Story(max_lifetime=1000.0)
    story.next(500.0)
    story.start()
    assert story.cluster.running_since == 500_000
    for _ in range(60):
        story.beat()
        story.next(15.0)
    assert story.told[-1] == "The cluster is stopped in 1 min 40 s: it may run for 16 min 40 s (max_lifetime)"
    for _ in range(7):
        story.beat()
        story.next(15.0)
    assert story.cluster.stopped == "it has run for 16 min 40 s, as long as it may (max_lifetime)"
    assert story.told[-1] == f"Stopping: {story.cluster.stopped}"


def test_a_cluster_without_a_client_is_stopped():
    story = Story(client_disconnect_timeout=100.0).start()
    story.machine.client(True, story.now)
    for _ in range(20):
        story.beat()
        story.next(15.0)
    story.machine.client(False, story.now)
    for _ in range(7):
        assert story.machine.active
        story.beat()
        story.next(15.0)
    assert story.cluster.stopped == "no client was connected to it for 1 min 40 s (client_disconnect_timeout)"
    assert [told for told in story.told if "unless a client connects" in told]
