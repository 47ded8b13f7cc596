"""A look at a site's PBS: whether it is as the gateway needs it, and as the configuration wants it (pure).

Everybody may read `print server`, which has the server's settings, and those of
all queues.
"""

import re
from collections.abc import Iterator, Mapping

from attrs import frozen

from gateway.backends.batch.dialect import Command
from gateway.backends.batch.examination import Wishes
from gateway.backends.commands import Answer
from gateway.backends.pbs.dialect import PBS
from gateway.backends.pbs.options import PBSClusterConfig
from gateway.config.finding import Finding, doubt, failure, fine
from gateway.models import Role

_SERVER = "server"
_SETTING = re.compile(r"^set server ([\w.]+) \+?= (.*?)\s*$", re.MULTILINE)
_QUEUE = re.compile(r"^set queue (\S+) ([\w.]+) \+?= (.*?)\s*$", re.MULTILINE)


@frozen
class PBSExamination:
    """Asks by the commands of a dialect."""

    dialect: PBS

    def questions(self, wishes: Wishes) -> Mapping[str, Command]:
        """The server's settings."""
        return {_SERVER: self.dialect.limits_command()}

    def findings(self, wishes: Wishes, answers: Mapping[str, Answer]) -> Iterator[Finding]:
        """What sites have configured otherwise."""
        answer = answers[_SERVER]
        server = dict(_SETTING.findall(answer.stdout))
        queues: dict[str, dict[str, str]] = {}
        for name, setting, value in _QUEUE.findall(answer.stdout):
            queues.setdefault(name, {})[setting] = value
        limits = self.dialect.parse_limits(answer)
        yield _arrays(wishes, limits.max_array_size)
        yield (
            failure("jobs of others", limits.hides_jobs, "qmgr -c 'set server query_other_jobs = True'")
            if limits.hides_jobs
            else fine("jobs of others", "PBS shows them to the gateway's account")
        )
        yield _history(server)
        if server.get("scheduling") == "False":
            yield failure(
                "scheduler of PBS", "is switched off: no job begins", "qmgr -c 'set server scheduling = True'"
            )
        if isinstance(wishes.config, PBSClusterConfig) and queues:
            for role in Role:
                yield _queue(wishes.config, role, server.get("default_queue", ""), queues)


def _arrays(wishes: Wishes, size: int | None) -> Finding:
    if not wishes.backend.worker_job_arrays:
        return fine("job arrays", "are not used (worker_job_arrays)")
    if size is not None and size < 2:
        return failure(
            "job arrays",
            f"PBS takes none (max_array_size = {size})",
            "c.JobQueueBackend.worker_job_arrays = False, or qmgr -c 'set server max_array_size = 10000'",
        )
    return fine("job arrays", f"may have {size or 'as many as PBS takes by itself:'} workers (max_array_size)")


def _history(server: Mapping[str, str]) -> Finding:
    if server.get("job_history_enable") == "True":
        return fine("ended jobs", "PBS remembers them (job_history_enable)")
    return doubt(
        "ended jobs",
        "PBS forgets them at once (job_history_enable), so that users are not told how their jobs ended",
        "qmgr -c 'set server job_history_enable = True'",
    )


def _queue(config: PBSClusterConfig, role: Role, default: str, queues: Mapping[str, Mapping[str, str]]) -> Finding:
    """Whether the queue of a role's jobs takes them, and starts them."""
    subject = f"queue of {'schedulers' if role is Role.SCHEDULER else 'workers'}"
    name = str(config.for_role(role, "queue")) or default
    if not name:
        return failure(
            subject,
            "there is no default queue",
            "c.PBSClusterConfig.queue, or qmgr -c 'set server default_queue = NAME'",
        )
    if name not in queues:
        reserved = re.fullmatch(r"[RSM]\d+", name)
        known = ", ".join(sorted(queues))
        remedy = "c.PBSClusterConfig.queue = one of these"
        return (
            doubt(subject, f"{name} is a reservation's, of which nothing is told")
            if reserved
            else failure(subject, f"there is no queue {name!r}: there are {known}", remedy)
        )
    for setting, trouble in (("enabled", "takes no jobs"), ("started", "starts no jobs")):
        if queues[name].get(setting) != "True":
            return failure(subject, f"{name} {trouble}", f"qmgr -c 'set queue {name} {setting} = True'")
    return fine(subject, f"{name} takes jobs and starts them")
