"""The jobs of one server: what requests and events do to them.

Requests are methods that name the asking user; events come from the MoM
(`mom.py`) and from timers. Nothing here knows of sockets. Where a rule looks
odd it is a trap of the real server, seen in the recordings.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from pbssim import errors
from pbssim.errors import Refused
from pbssim.jobs import Job, Request, Resources, Target, parse_id, parse_range
from pbssim.limits import check_array, check_queued
from pbssim.settings import Settings, Timing

RERUN = -11  # the Exit_status of a job that was requeued


class Mom(Protocol):
    """What runs the processes."""

    def start(self, job: Job, ended: Callable[[int], None]) -> int: ...

    def stage_in(self, job: Job) -> bool: ...

    def signal(self, job: Job, number: int) -> None: ...

    def note(self, job: Job, text: str) -> None: ...

    def deliver(self, job: Job) -> bool: ...


class Later(Protocol):
    """Runs something after a delay."""

    def __call__(self, delay: float, call: Callable[[], object], /) -> object: ...


class Server:
    """The state machine."""

    def __init__(self, settings: Settings, timing: Timing, mom: Mom, later: Later) -> None:
        self.settings = settings
        self.timing = timing
        self.jobs: dict[int, Job] = {}
        self._mom = mom
        self._later = later
        self.next = 1
        self._away = False
        self._missed: list[Callable[[], None]] = []

    # Requests ---------------------------------------------------------------

    def submit(self, user: str, request: Request) -> str:
        """qsub. Returns the id."""
        settings = self.settings
        if user == "root" and not settings.root_may_submit:
            raise errors.BAD_UID
        queue = request.option("q").partition("@")[0] or next(iter(settings.queues))
        if queue not in settings.queues:
            raise errors.UNKNOWN_QUEUE
        if queue in settings.disabled:
            raise errors.QUEUE_DISABLED
        if "/" in request.option("P"):
            raise errors.bad_value("project")
        resources = Resources.parse(request.options.get("l", []))
        indices = parse_range(request.option("J").partition("%")[0]) if "J" in request.options else None
        if indices is not None:
            check_array(settings, queue, len(indices))
        waiting = [each for each in self._each() if not each.over]
        check_queued(settings, waiting, user, queue, resources, len(indices or (0,)))
        job = Job(self.next, settings.server, user, request, queue, resources)
        self.next += 1
        if indices is not None:
            job.children = [Job(job.sequence, job.server, user, request, queue, resources, i, job) for i in indices]
        depends = [item.partition("=")[2] for item in request.options.get("W", []) if item.startswith("depend=")]
        if depends:
            self._depend(job, depends[0])
        elif "h" in request.options:
            job.holds = "u"
            job.change("H", 20)
        elif "a" in request.options:
            job.execution_time = _at(request.option("a"))
            job.change("W", 30)
        if self.settings.unstored:
            self.settings.unstored -= 1  # the server crashes before it has written the job down
            return job.id
        self.jobs[job.sequence] = job
        self._later(self.timing.start, self.schedule)
        return job.id

    def status(self, user: str, operand: str, *, history: bool, subjobs: bool, arrays: bool) -> list[Job]:
        """qstat of one operand: an id, a queue, or nothing."""
        if history and not self.settings.history:
            shown = operand
            with contextlib.suppress(Refused):
                shown = parse_id(operand, self.settings.server).text
            raise errors.NO_HISTORY.about(shown)
        if not operand or not operand[0].isdecimal():
            queue, _, server = operand.partition("@")
            if (queue and queue not in self.settings.queues) or server not in ("", self.settings.server):
                raise errors.UNKNOWN_DESTINATION.about(operand)
            found = [job for job in self.jobs.values() if queue in ("", job.queue) and (history or not job.over)]
            if arrays:
                found = [job for job in found if job.children is not None]
        else:
            target = parse_id(operand, self.settings.server)
            found = self._find(target)
            if found[0].state == "F" and not history:
                raise errors.FINISHED_STATUS.about(target.text)
        found = [job for job in found if self._sees(user, job)]
        if not subjobs:
            return found
        return [each for job in found for each in (job, *(job.children or ()))]

    def select(
        self,
        *,
        user: str,
        users: list[str],
        states: str,
        name: str,
        queue: str,
        project: str,
        history: bool,
        subjobs: bool,
        arrays: bool,
    ) -> list[str]:
        """qselect. With `subjobs` an array stands for its subjobs, and the states are theirs."""
        if history and not self.settings.history:
            raise errors.NO_HISTORY.about("")
        found = []
        for job in self.jobs.values():
            if (
                (job.over and not history)
                or not self._sees(user, job)
                or (users and job.owner not in users)
                or (name and job.request.name != name)
                or (queue and job.queue != queue)
                or (project and (job.request.option("P") or "_pbs_project_default") != project)
                or (arrays and job.children is None)
            ):
                continue
            each = job.children if subjobs and job.children is not None else [job]
            found += [one.id for one in each if not states or one.state in states]
        return found

    def operate(self, user: str, action: str, operand: str) -> None:
        """qrerun, qhold, qrls, and qsig -s suspend/resume."""
        jobs = self._find(parse_id(operand, self.settings.server))
        for job in jobs:
            self._authorize(user, job)
            if action == "rerun":
                if user not in self.settings.operators:
                    raise errors.UNAUTHORIZED.about(job.id)
                if not job.rerunnable:
                    raise errors.NOT_RERUNNABLE.about(job.id)
                self._requeue(job)
            elif action in ("hold", "release") and job.parent is not None:
                raise errors.BAD_SUBJOB.about(parse_id(operand, self.settings.server).text)
            elif action == "hold" and not job.running:
                job.holds = "u"
                job.comment = f"Job held by {user} on {time.ctime()}"
                job.change("H", 20)
            elif action == "release" and job.state == "H":
                job.holds = "n"
                begun = job.children is not None and job.started is not None
                job.comment = f"Job Array Began at {_when(job.started)}" if begun and job.started else ""
                job.eligible = None if begun else time.time()
                job.change(*(("B", 70) if begun else ("Q", 10)))
                self._later(self.timing.start, self.schedule)
            elif action == "suspend" and job.state == "R":
                self._mom.signal(job, 19)
                job.change("S", 43)
            elif action == "resume" and job.state == "S":
                self._mom.signal(job, 18)
                job.change("R", 42)

    # Availability -----------------------------------------------------------

    def leave(self) -> None:
        """The server stops; the jobs go on, and what happens to them is not seen."""
        self._away = True

    def crash(self) -> None:
        """As after kill -9: ids go on at the next thousand."""
        self.leave()
        self.next = (self.next // 1000 + 1) * 1000

    def come_back(self) -> None:
        """The server starts again. It learns what happened from the MoM a little later."""
        self._away = False
        for job in self._each():
            if job.state == "R":
                kept, job.comment = job.comment, ""
                job.substate, job.session = 41, None
                self._later(self.timing.back, lambda job=job, kept=kept: self._session(job, comment=kept))
        missed, self._missed = self._missed, []
        for event in missed:
            self._later(self.timing.back * 1.1, event)
        self._later(self.timing.back, self.schedule)

    # Events -----------------------------------------------------------------

    def schedule(self) -> None:
        """Start what may and can run, in order; say in a comment why the others wait."""
        if self._away:
            return
        used = [job for job in self._each() if job.running]
        ncpus = self.settings.ncpus - sum(job.resources.ncpus for job in used)
        memory = self.settings.memory - sum(job.resources.memory for job in used)
        for job in self._waiting():
            if (job.parent or job).comment.startswith("Can Never Run"):
                continue
            if not self.settings.nodes_up:
                self._say(job, "Not Running: Not enough free nodes available")
                continue
            need = job.resources
            for name, asked, free, total in (
                ("ncpus", need.ncpus, ncpus, self.settings.ncpus),
                ("mem", need.memory, memory, self.settings.memory),
            ):
                if asked > total or asked > free:
                    kind = "Can Never Run" if asked > total else "Not Running"
                    self._say(
                        job,
                        f"{kind}: Insufficient amount of resource: {name} "
                        f"({_amount(name, asked, 'R')} {_amount(name, free, 'A')} {_amount(name, total, 'T')})",
                    )
                    break
            else:
                if not self.settings.queues[job.queue]:
                    self._say(job, "Not Running: Queue not started.")
                    continue
                ncpus, memory = ncpus - need.ncpus, memory - need.memory
                self._begin(job)

    def look_at_limits(self) -> None:
        """The MoM's poll: jobs over their walltime; the server's: history too old."""
        now = time.time()
        for job in self._each():
            limit = job.resources.walltime
            if (
                job.state != "R"
                or job.started is None
                or limit is None
                or job.deleted_by
                or job.exit_status is not None
            ):
                continue
            if now - job.started > limit:
                self._mom.note(job, f"=>> PBS: job killed: walltime {int(now - job.started)} exceeded limit {limit}\n")
                job.exit_status = -29
                self._end_process(job)
        oldest = now - self.settings.history_duration
        self.jobs = {sequence: job for sequence, job in self.jobs.items() if not job.history or job.history > oldest}

    def set_history(self, on: bool) -> None:
        """Switching the history off forgets everything that has ended."""
        self.settings.history = on
        if not on:
            self.jobs = {sequence: job for sequence, job in self.jobs.items() if not job.over}

    def force(self, operand: str, **values: object) -> None:
        """Put a job into a state that cannot be brought about here (T, M, U), or give it a comment."""
        for job in self._find(parse_id(operand, self.settings.server)):
            for name, value in values.items():
                setattr(job, name, value)

    def _say(self, job: Job, why: str) -> None:
        """Why a job waits. Of an array that has begun nothing more is said."""
        if job.parent is None or job.parent.state != "B":
            (job.parent or job).comment = why

    def _begin(self, job: Job) -> None:
        now = time.time()
        taken = {other.slot for other in self._each() if other.running}
        job.slot = next(slot for slot in range(len(self.jobs) + 20_000) if slot not in taken)
        job.started, job.session, job.exit_status, job.deleted_by = now, None, None, ""
        job.change("R", 41)
        if job.parent is not None and job.parent.state == "Q":
            job.parent.started = now
            job.parent.comment = f"Job Array Began at {_when(now)}"
            job.parent.change("B", 70)
        if not self._mom.stage_in(job):
            job.change("R", 15)
            self._later(self.timing.stagein, lambda: self._stage_in_failed(job))
            return
        job.run_count += 1
        job.comment = f"Job run at {_when(now)} on ({job.placement})"
        try:
            run = job.run_count
            pid = self._mom.start(job, lambda code: self._ended(job, run, code))
        except FileNotFoundError as error:
            if job.request.command and error.filename == job.request.command[0]:
                self._ended(job, job.run_count, 254)
            else:
                self._will_not_start(job, error)
        except OSError as error:
            self._will_not_start(job, error)
        else:
            self._later(self.timing.session, lambda: self._session(job, pid))

    def _session(self, job: Job, pid: int | None = None, comment: str | None = None) -> None:
        if comment is not None:
            job.comment = comment + job.comment
        if job.state == "R" and job.substate == 41 and not self._away:
            job.session = pid or job.session or 1
            job.substate = 42

    def _stage_in_failed(self, job: Job) -> None:
        if job.state == "R":
            job.execution_time, job.slot, job.started = time.time() + 1800, None, None
            job.change("W", 37)

    def _will_not_start(self, job: Job, error: OSError) -> None:
        """PBS tries a few times, and holds the job. The reason is for whoever reads what a test has printed."""
        print(f"pbssim: job {job.id} cannot be started: {error!r}", file=sys.stderr, flush=True)
        self._later(self.timing.hold, lambda: self._cannot_start(job))

    def _cannot_start(self, job: Job) -> None:
        if job.state == "R":
            job.run_count, job.exit_status, job.holds, job.slot = 21, -3, "s", None
            job.comment = "job held, too many failed attempts to run"
            job.started = None
            job.change("H", 20)

    def _ended(self, job: Job, run: int, code: int) -> None:
        """The MoM says that the job's process has ended."""
        if self._away:
            self._missed.append(lambda: self._ended(job, run, code))
        elif job.running and job.run_count == run:
            delay = self.timing.delete if job.deleted_by else self.timing.end
            self._later(delay, lambda: self._exiting(job, run, code))

    def _exiting(self, job: Job, run: int, code: int) -> None:
        if not job.running or job.run_count != run:
            return
        if job.exit_status is None:
            job.exit_status = code
        if job.parent is not None:
            job.parent.last_exit = (job.exit_status > 0) + 2 * (job.exit_status < 0)
        job.ended = time.time()
        job.change("E", 51)
        delay = self.timing.exit if self._mom.deliver(job) else self.timing.undelivered
        self._later(delay, lambda: self._finish(job))

    def _finish(self, job: Job) -> None:
        code = job.exit_status
        if job.deleted_by or code is None:
            substate, said = 91, " and terminated" if code == RERUN and job.comment else ""
        elif code == 0:
            substate, said = 92, " and finished"
        else:
            substate, said = 93, " and exceeded resource walltime" if code == -29 else " and failed"
        job.comment += said
        job.history = time.time()
        job.change("X" if job.parent is not None else "F", substate)
        if job.parent is not None:
            job.parent.failed_children |= bool(code)
            job.forgotten |= not self.settings.history
            self._finish_array(job.parent)
        elif not self.settings.history or job.deleted_by.endswith("!"):
            self.jobs.pop(job.sequence, None)
        self._later(self.timing.start, self.schedule)

    def _finish_array(self, array: Job) -> None:
        children = array.children or []
        if array.over or not all(child.over for child in children):
            return
        deleted = any(child.substate == 91 for child in children)
        natural = (93, "failed") if array.failed_children else (92, "finished")
        substate, said = (91, "terminated") if deleted else natural
        if array.comment:
            array.comment += f" and {said}"
        array.ended = array.history = time.time()
        array.change("F", substate)
        for child in children:
            child.state = "F"
        if not self.settings.history:
            self.jobs.pop(array.sequence, None)

    # Parts ------------------------------------------------------------------

    def delete(self, user: str, jobs: list[Job], *, purge: bool, force: bool, single: bool) -> None:
        """One operand of qdel (deleting.py): a job, an array, or some of its subjobs; `single`: no more than one."""
        if not purge and jobs[0].state == "F":
            raise errors.FINISHED
        self._authorize(user, jobs[0])
        for job in [each for one in jobs for each in (one.children or [one])]:
            job.forgotten |= job.over and not single  # as recorded: it loses the records of those that ended before
        if all(job.over for job in jobs):
            if purge and jobs[0].parent is None:
                self.jobs.pop(jobs[0].sequence, None)
                return
            raise errors.FINISHED_SUBJOB
        for job in [each for one in jobs for each in (one.children if one.children is not None else [one])]:
            if job.over:
                continue
            if job.state == "E" or job.substate in (50, 51, 52, 53):
                raise errors.BAD_STATE
            job.deleted_by = user + ("!" if purge else "")
            if job.running:
                if " and terminated by " not in job.comment:
                    job.comment += f" and terminated by {user}@{self.settings.host}"
                self._end_process(job, force=force)
            else:
                self._finish(job)

    def _end_process(self, job: Job, *, force: bool = False) -> None:
        if job.state == "S":
            self._mom.signal(job, 18)
        if job.substate == 15:
            job.started = None
            self._finish(job)
            return
        run = job.run_count
        self._mom.signal(job, 9 if force else 15)
        self._later(self.timing.kill, lambda: job.running and job.run_count == run and self._mom.signal(job, 9))

    def _requeue(self, job: Job) -> None:
        if job.running:
            self._mom.signal(job, 9)
            job.slot = job.session = job.started = None
            job.ended, job.exit_status = time.time(), RERUN
            job.change("Q", 10)
            self._later(self.timing.start, self.schedule)

    def _depend(self, job: Job, dependency: str) -> None:
        """`-W depend=afterok:ID`: it is held, and both say so. (Nothing here ever releases it.)"""
        job.holds, job.depends = "s", f"{dependency}@{self.settings.host}"
        job.change("H", 22)
        for other in self.find(parse_id(dependency.partition(":")[2], self.settings.server)) or ():
            other.depends = f"beforeok:{job.id}@{self.settings.host}"

    def _authorize(self, user: str, job: Job) -> None:
        if user != job.owner and user not in self.settings.operators:
            raise errors.UNAUTHORIZED.about(job.id)

    def _sees(self, user: str, job: Job) -> bool:
        return self.settings.query_other_jobs or user == job.owner or user in self.settings.operators

    def _find(self, target: Target) -> list[Job]:
        found = self.find(target)
        if found is None:
            raise errors.UNKNOWN_JOB.about(target.text)
        return found

    def find(self, target: Target) -> list[Job] | None:
        """The job, the array, or the subjobs that an id names; None when there are none."""
        job = self.jobs.get(target.sequence)
        if job is None or (job.children is None) != (target.indices is None):
            return None
        if not target.indices:
            return [job]
        children = [child for child in job.children or () if child.index in target.indices]
        return children or None

    def _each(self) -> Iterator[Job]:
        for job in list(self.jobs.values()):
            yield from job.children if job.children is not None else (job,)

    def _waiting(self) -> Iterator[Job]:
        for job in list(self.jobs.values()):
            if job.holds == "n" and job.state in "QB":
                yield from _next_of(job) if job.children is not None else [job]


def _next_of(array: Job) -> list[Job]:
    """The subjobs that may start now; `-J 0-9%3` is for three at a time."""
    children = array.children or []
    most = int(array.request.option("J").partition("%")[2] or len(children))
    free = most - sum(child.running for child in children)
    return [child for child in children if child.state == "Q"][: max(0, free)]


def _when(now: float) -> str:
    return time.strftime("%a %b %d at %H:%M", time.localtime(now))


def _amount(name: str, value: int, letter: str) -> str:
    return f"{letter}: {value}" if name == "ncpus" else f"{letter}: {value // 1024}kb"


def _at(text: str) -> float:
    """`-a hhmm`: today, else tomorrow."""
    now = time.localtime()
    when = time.mktime((*now[:3], int(text[-4:-2]), int(text[-2:]), 0, 0, 0, -1))
    return when if when > time.time() else when + 86400
