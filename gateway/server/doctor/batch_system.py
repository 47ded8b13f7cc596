"""The batch system as the gateway's account sees it: its commands, what they answer, and its settings."""

import os
import re
from collections.abc import AsyncGenerator, Iterator

from gateway.backends.batch.dialect import Command, StatusFailed
from gateway.backends.batch.examination import Examination, Wishes
from gateway.backends.batch.options import JobQueueBackend, JobQueueClusterConfig
from gateway.backends.batch.poller import Queue
from gateway.backends.commands import Answer
from gateway.backends.launcher.client import own_account
from gateway.backends.launcher.commands import find_command
from gateway.backends.launcher.request import Refused
from gateway.backends.launcher.site_commands import site_settings
from gateway.config.finding import Finding, doubt, failure, fine
from gateway.models import Role
from gateway.server.doctor.patient import Patient
from gateway.user_text import one_line

_SOURCED = re.compile(r"^\s*(?:source|\.)\s+(/[^\s;&|$`]+)", re.MULTILINE)


async def batch_system(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Commands that submit and cancel, then the questions of the batch system's own examination."""
    backend = patient.config.backend
    if not isinstance(backend, JobQueueBackend) or (examination := backend.examination()) is None:
        return
    for finding in _commands(backend, examination):
        yield finding
    for finding in _scripts(patient):
        yield finding
    wishes = Wishes(backend=backend, config=patient.config.cluster_config, account=own_account())
    settings = site_settings()
    queue = Queue(
        dialect=examination.dialect, command_timeout=backend.command_timeout, environment=settings.environment
    )
    answers: dict[str, Answer] = {}
    for name, command in examination.questions(wishes).items():
        first = not answers
        try:
            answer = await queue.answer(command)
        except StatusFailed as error:
            answer = Answer(127, "", str(error))
        if first and answer.returncode:
            evidence = f"does not answer: {answer.words}"
            yield failure(examination.dialect.name, evidence, f"{' '.join(command)}; c.JobQueueBackend.status_command")
            return
        answers[name] = answer
        if remark := _remark(command, answer):
            yield remark
    yield fine(examination.dialect.name, "answers")
    for finding in examination.findings(wishes, answers):
        yield finding


def _remark(command: Command, answer: Answer) -> Finding | None:
    """What a command says beside an answer; why there is no answer is for the examination to judge."""
    said = "" if answer.returncode else one_line(answer.stderr, 200)
    evidence = f"{os.path.basename(command[0])} says beside its answer: {said}"
    return doubt("remarks of the batch system", evidence, f"{' '.join(command)} >/dev/null") if said else None


def _commands(backend: JobQueueBackend, examination: Examination) -> Iterator[Finding]:
    """The commands that the launcher would run; found, and nobody's but root's."""
    rules, settings = examination.dialect.rules, site_settings()
    for option, command, path in (
        ("submit_command", rules.submit, backend.submit_command),
        ("cancel_command", rules.cancel, backend.cancel_command),
    ):
        try:
            yield fine(f"{command}", f"{find_command(rules, command, path, settings)} is root's alone")
        except Refused as refusal:
            yield failure(f"{command}", str(refusal), f"c.JobQueueBackend.{option}")


def _scripts(patient: Patient) -> Iterator[Finding]:
    """The shell that begins jobs, and files that set-up texts read, as far as this host has the nodes' files."""
    config = patient.config.cluster_config
    if not isinstance(config, JobQueueClusterConfig):
        return
    shell = config.shebang.removeprefix("#!").split()[0]
    if not os.access(shell, os.X_OK):
        yield failure("shell of jobs", f"there is no {shell} on this host", "c.JobQueueClusterConfig.shebang")
    for path in dict.fromkeys(path for role in Role for path in _SOURCED.findall(config.setup(role))):
        if not os.path.exists(path):
            evidence = f"a set-up text reads {path}, which is not on this host"
            yield doubt("profiles", evidence, "c.JobQueueClusterConfig.scheduler_setup, worker_setup")
