"""Jobs of a user's that are submitted as those of clusters are, looked for in the queue, read, and cancelled."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib import metadata
from secrets import token_hex

import trio
from attrs import evolve, frozen

from gateway.backends.base import JobSpec
from gateway.backends.batch.dialect import Dialect, StatusFailed
from gateway.backends.batch.driver import launcher_of, refusal_of
from gateway.backends.batch.extra_directives import with_extra_directives
from gateway.backends.batch.option_values import port_range
from gateway.backends.batch.options import JobQueueBackend, JobQueueClusterConfig
from gateway.backends.batch.poller import Queue
from gateway.backends.batch.user_commands import UserCommands, submit_request
from gateway.backends.commands import Answer
from gateway.backends.launcher.settings import Settings
from gateway.backends.tracebacks import STARTED
from gateway.config.load import Config
from gateway.doctor import probe, reach, trial, wishes
from gateway.doctor.api_url import jobs_url, somebody_answers
from gateway.doctor.finding import failed, ok, skipped
from gateway.doctor.site import Say, Site
from gateway.errors import JobError
from gateway.models import JobId, JobReport, JobState, Role
from gateway.user_text import one_line

#: Seconds that a job may take to start and to say its word; that its end may take; and between two looks.
PATIENCE = 90.0
TIDYING = 30.0
PAUSE = 0.5


@frozen(kw_only=True)
class _Seen:
    """What was seen of a job: the end of its log, its last report, and after how many seconds the queue showed it."""

    log: str = ""
    report: JobReport | None = None
    shown_after: float | None = None
    waited: float = 0.0
    looks: int = 0


async def examine(site: Site, user: str, settings: Settings, say: Say, *, patience: float = PATIENCE) -> None:
    """A scheduler's job, then a few workers' in one submission."""
    backend, config = site.config.backend, site.config.cluster_config
    assert isinstance(backend, JobQueueBackend)
    assert isinstance(config, JobQueueClusterConfig)
    dialect = backend.dialect(settings)
    if dialect is None:
        say(skipped("submission", f"{type(backend).__name__} does not say how it is asked (dialect())"))
        return
    trials = _Trials(backend, dialect, settings, say, patience)
    make = partial(
        wishes.job,
        config,
        username=user,
        cluster=f"doctor{token_hex(8)}",
        environment=_environment(site.config, config),
    )
    command = (*config.scheduler_cmd, "--port", "0", "--preload", probe.SOURCE)
    async with somebody_answers(site.config):
        meet = partial(_meet, site.config, say)
        said = _said_by_scheduler(await trials.run(make(Role.SCHEDULER, command=command), meet), say)
    count = wishes.FEW if backend.worker_job_arrays else 1
    log = await trials.run(make(Role.WORKER, command=(*config.worker_cmd, "--version"), count=count))
    if log is None:
        return
    if version := probe.version_of(log):
        say(probe.same_verdict(said, version))
    else:
        evidence = f"`{' '.join(config.worker_cmd)} --version` says nothing of the kind: {_end(log)}"
        say(failed("worker's Python", evidence, "c.ClusterConfig.worker_cmd, worker_setup: what does the job find?"))


def _environment(config: Config, options: JobQueueClusterConfig) -> dict[str, str]:
    """What the site passes on, and where jobs find the API."""
    url, (first, last) = jobs_url(config), port_range(options.scheduler_port)
    probed = {
        "DASK_GATEWAY_DOCTOR_INTERFACE": options.scheduler_interface,
        "DASK_GATEWAY_DOCTOR_PORTS": f"{first}:{last}",
    }
    inherited = {name: os.environ[name] for name in options.pass_environment if name in os.environ}
    return {**inherited, **probed, **({"DASK_GATEWAY_API_URL": url} if url else {})}


async def _meet(config: Config, say: Say, log: str) -> None:
    """Connect to the job while it waits for that."""
    if (said := probe.told(log)) is not None:
        say(await reach.verdict(config, said.get("address", ""), said.get("port", "")))


def _said_by_scheduler(log: str | None, say: Say) -> Mapping[str, str]:
    """What the job has told of its Python, which is judged; nothing when it has not."""
    if log is None:
        return {}
    said = probe.told(log)
    if said is None:
        evidence = f"it has not told what it has: {_end(log)}"
        say(failed("job's Python", evidence, "c.ClusterConfig.scheduler_cmd, scheduler_setup: what does the job find?"))
        return {}
    say(probe.python_verdict(said, _here()))
    say(probe.api_verdict(said))
    return said


def _end(log: str) -> str:
    return one_line("\n".join(log.replace(STARTED, "").splitlines()[-5:]), 400) or "its log is empty"


def _here() -> dict[str, str]:
    """The versions of this Python."""
    found = {}
    for name in probe.PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class _Trials:
    """Submissions, one after the other."""

    def __init__(
        self, backend: JobQueueBackend, dialect: Dialect, settings: Settings, say: Say, patience: float
    ) -> None:
        self._backend = backend
        self._dialect = dialect
        self._queue = Queue(dialect=dialect, command_timeout=backend.command_timeout, environment=settings.environment)
        self._commands = UserCommands(launcher_of(backend), backend.command_timeout)
        self._say = say
        self._patience = patience

    async def run(self, spec: JobSpec, meet: Callable[[str], Awaitable[None]] | None = None) -> str | None:
        """The log of a submission's first job; None when there is none, which is said.

        `meet` is called with what the log has while the job may still be there.
        """
        check, submit = f"{spec.role}: submission", self._dialect.rules.submit
        remedy = f"try it by hand: sudo -nHu {spec.cluster.username} {submit} --help; then the option that is named"
        try:
            spec = await with_extra_directives(spec, self._backend)
            request = submit_request(self._dialect, self._backend.submit_command, self._dialect.submission(spec))
            answer = await self._commands.run(spec.cluster, request)
        except JobError as error:
            self._say(failed(check, str(error), remedy))
            return None
        if answer.returncode != 0:
            self._say(failed(check, str(refusal_of(self._dialect, answer)), remedy))
            return None
        ours: Sequence[JobId] = ()
        try:
            jobs = self._parsed(spec, answer, check)
            name = await self._name(jobs[0]) if jobs else ""
            ours = jobs if name == spec.submission else await self._found(spec)
            log = await self._followed(spec, ours[0]) if ours else await self._left_behind(spec)
            if log is not None and meet is not None:
                await meet(log)
            if jobs and (name or log is None):  # else it was too fast for us
                self._say(trial.name_verdict(submit, jobs[0], name, spec.submission))
            return log
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + TIDYING):
                await self._tidy(spec, ours)

    def _parsed(self, spec: JobSpec, answer: Answer, check: str) -> Sequence[JobId]:
        try:
            jobs = self._dialect.parse_submitted(spec, answer.stdout)
        except ValueError as error:
            remedy = f"{self._dialect.rules.submit} is a wrapper: let it print the id in a line of its own"
            self._say(failed(check, str(error), remedy))
            return ()
        self._say(trial.answer_verdict(check, self._dialect.rules.submit, answer))
        return jobs

    async def _name(self, job: JobId) -> str:
        """The name of the job that was answered; empty when it is not known. What bears another name is left alone."""
        whole = self._dialect.array_of(job) or job
        try:
            answers = await self._queue.answers(self._dialect.name_commands([whole]))
            return self._dialect.parse_names([whole], answers)[whole]
        except StatusFailed:
            return ""

    async def _left_behind(self, spec: JobSpec) -> str | None:
        """The log of a job that has ended before anybody knew it; None when there is none."""
        await trio.sleep(PAUSE)
        return await self._tail(spec) or None

    async def _found(self, spec: JobSpec) -> Sequence[JobId]:
        """Our submission by its name, wherever it is."""
        try:
            commands = self._dialect.find_commands(spec.cluster, spec.role, spec.group, thorough=True)
            answers = await self._queue.answers(commands)
            return self._dialect.parse_found(spec.cluster, spec.role, spec.group, spec.count, answers)
        except StatusFailed:
            return ()

    async def _followed(self, spec: JobSpec, job: JobId) -> str | None:
        """The job's log, when it has ended; None when it does not start in time, which is said."""
        seen = await self._watched(spec, job)
        has_run = bool(seen.log) or (seen.report is not None and seen.report.state is JobState.GONE)
        self._say(trial.freshness_verdict(seen.shown_after, seen.waited, seen.looks, has_run=has_run))
        if not has_run:
            reason = seen.report.reason if seen.report else ""
            evidence = f"the job has not run within {self._patience:g} s{f': {reason}' if reason else ''}"
            self._say(skipped(f"{spec.role}: job", evidence, "look again when the queue is shorter"))
            return None
        where = spec.names[0]
        if not seen.log:
            end = seen.report.reason if seen.report else ""
            evidence = f"the job has run, and {self._dialect.log_name(where)} is empty or not there: {end}"
            remedy = "is the directory of logs on the compute nodes? c.JobQueueClusterConfig.staging_directory"
            self._say(failed(f"{spec.role}: log", evidence, remedy))
            return None
        self._say(ok(f"{spec.role}: log", f"{self._dialect.log_name(where)} was written, and read back"))
        return seen.log

    async def _watched(self, spec: JobSpec, job: JobId) -> _Seen:
        """Look at the queue and the log until the job has ended, or there is no patience left."""
        begin, seen = trio.current_time(), _Seen()
        while True:
            report = await self._report(spec, job)
            passed = trio.current_time() - begin
            if report is not None and seen.shown_after is None:
                seen = evolve(seen, shown_after=passed)
            seen = evolve(seen, report=report or seen.report, waited=passed, looks=seen.looks + 1)
            ended = seen.report is not None and seen.report.state is JobState.GONE
            vanished = report is None and seen.report is not None
            seen = evolve(seen, log=await self._tail(spec))
            if ended or (vanished and seen.log) or self._is_enough(seen) or passed > self._patience:
                return seen
            await trio.sleep(PAUSE)

    def _is_enough(self, seen: _Seen) -> bool:
        """Whether the job has said its word, and no more is to be learnt of the queue."""
        if (said := probe.told(seen.log)) is None:
            return bool(probe.version_of(seen.log))
        waits = bool(said.get("port"))  # for a connection, and so it is in the queue
        return not waits or seen.shown_after is not None or seen.looks >= trial.MANY

    async def _report(self, spec: JobSpec, job: JobId) -> JobReport | None:
        try:
            return (await self._queue.status({job: spec.cluster.username})).reports.get(job)
        except StatusFailed:
            return None

    async def _tail(self, spec: JobSpec) -> str:
        request = {"action": "tail", "log": self._dialect.log_name(spec.names[0]), "size": 16384}
        try:
            return str((await self._commands.request(spec.cluster, request)).get("text", ""))
        except JobError:
            return ""

    async def _tidy(self, spec: JobSpec, jobs: Sequence[JobId]) -> None:
        """Nothing stays: no job, no directory."""
        base = {"action": "cancel", "rules": self._dialect.rules.name, "path": self._backend.cancel_command}
        try:
            for arguments in self._dialect.cancel_arguments(jobs):
                answer = await self._commands.run(spec.cluster, {**base, "arguments": arguments})
                if self._dialect.cancel_failed(answer):
                    evidence = f"job {jobs[0]} cannot be cancelled: {answer.words}"
                    remedy = f"{self._dialect.rules.cancel} {jobs[0]}, as {spec.cluster.username}"
                    self._say(failed(f"{spec.role}: cancellation", evidence, remedy))
            await self._commands.request(spec.cluster, {"action": "clean", "keep_logs": False})
        except JobError as error:
            remedy = f"{self._dialect.rules.cancel} as {spec.cluster.username}; rm the directory of cluster doctor..."
            self._say(failed(f"{spec.role}: tidying", str(error), remedy))
