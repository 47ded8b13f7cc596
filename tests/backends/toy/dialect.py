"""The toy's language."""

import os.path
import re

from attrs import frozen
from toy.launcher_rules import RULES

from gateway.backends.base import submission_name
from gateway.backends.batch.dialect import LogWords, Refusal, SiteLimits, Status, StatusFailed, Submission
from gateway.backends.batch.script import JobScript, render_script
from gateway.backends.launcher.rules import Rules
from gateway.models import JobId, JobReport, JobState, Role

STATES = {"waiting": JobState.QUEUED, "running": JobState.RUNNING, "ended": JobState.GONE}
WORDS = LogWords(killed="toy: killed", not_begun="toy: ")


@frozen(kw_only=True)
class Toy:
    """The dialect. `folder` is where toystat is."""

    folder: str
    name: str = "The toy"
    rules: Rules = RULES
    log_words: LogWords = WORDS

    def submission(self, spec):
        config = spec.cluster.config
        array = spec.count > 1
        script = JobScript(
            shebang=config.shebang,
            setup=config.setup(spec.role),
            environment=spec.environment,
            command=(*spec.command, "--name") if array else spec.argv(spec.names[0]),
            name=spec.group,
            job_variable="TOY_JOB",
            index_variable="TOY_INDEX" if array else "",
            ports=config.scheduler_ports if spec.role is Role.SCHEDULER else None,
        )
        own = (f"--queue={config.queue}",) if config.queue else ()
        return Submission(
            arguments=(f"--name={spec.submission}", f"--count={spec.count}", *config.submit_options(spec.role, own)),
            script=render_script(script),
            environment=spec.secrets,
            log=f"{spec.group}-%i.log" if array else self.log_name(spec.names[0]),
        )

    def parse_submitted(self, spec, stdout):
        if not re.fullmatch(r"\d+\n", stdout):
            raise ValueError(f"toysub printed no id but {stdout!r:.100}")
        return tuple(JobId(f"{stdout.strip()}.{index}") for index in range(spec.count))

    def refusal(self, answer):
        return Refusal.REFUSED

    def advice(self, answer):
        return ""

    def cancel_arguments(self, jobs):
        return (tuple(sorted(jobs)),) if jobs else ()

    def cancel_failed(self, answer):
        return answer.returncode != 0

    def name_commands(self, jobs):
        return (self._stat(*sorted(jobs)),) if jobs else ()

    def parse_names(self, jobs, answers):
        names = {line[0]: line[2] for answer in answers for line in lines(answer)}
        return {job: names.get(job, "") for job in jobs}

    def status_commands(self, jobs):
        return (self._stat(),)

    def parse_status(self, jobs, answers):
        (answer,) = answers
        found = {line[0]: JobReport(STATES[line[3]], told(line)) for line in lines(answer)}
        return Status(
            reports={job: report for job, report in found.items() if job in jobs},
            nonexistent=frozenset(jobs) - found.keys(),
        )

    def follow_up(self, status, known, turn):
        return ()

    def parse_follow_up(self, status, known, answers):
        return status

    def array_of(self, job):
        return JobId(job.partition(".")[0]) if "." in job else None

    def find_commands(self, cluster, role, group, *, thorough=False):
        return (self._stat(),)

    def parse_found(self, cluster, role, group, count, answers):
        wanted = [cluster.username, submission_name(cluster.name, group)]
        return tuple(JobId(line[0]) for answer in answers for line in lines(answer) if line[1:3] == wanted)

    def explain_commands(self, job):
        return (self._stat(job),)

    def parse_explanation(self, job, answer):
        return next((told(line) for line in lines(answer) if line[0] == job), "")

    def log_name(self, name):
        return f"{name}.log"

    def limits_command(self):
        return self._stat("--limits")

    def parse_limits(self, answer):
        return SiteLimits(max_array_size=int(answer.stdout.split()[1]))

    def _stat(self, *arguments):
        return (os.path.join(self.folder, "toystat"), *arguments)


def lines(answer):
    if answer.returncode != 0:
        raise StatusFailed(answer.words)
    return [line.split("|") for line in answer.stdout.splitlines()]


def told(line):
    word, _, number = line[4].partition(" ")
    if word == "signal":
        return f"killed by signal {number}" + (" (SIGKILL)" if number == "9" else "")
    return {"exit": f"exit code {number}", "deleted": "deleted by its user"}.get(word, line[3])
