"""What `qmgr -c "print server"` prints, judged (pure)."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import frozen

from gateway.backends.batch.option_values import walltime_seconds
from gateway.doctor.finding import Finding, failed, ok, warning
from gateway.doctor.pbs_nodes import Host, host_verdicts

Settings = Mapping[str, str]


@frozen(kw_only=True)
class Server:
    """The server's settings and those of each queue; lists have their values with commas between them."""

    settings: Settings
    queues: Mapping[str, Settings]


def server_of(text: str) -> Server:
    """Read the commands that would make the server what it is."""
    server: dict[str, str] = {}
    queues: dict[str, dict[str, str]] = {name: {} for name in re.findall(r"^create queue (\S+)", text, re.MULTILINE)}
    pattern = r"^set (server|queue (\S+)) ([\w.]+) (\+?)= (.*)$"
    for _, queue, name, more, value in re.findall(pattern, text, re.MULTILINE):
        into = queues.setdefault(queue, {}) if queue else server
        into[name] = f"{into[name]},{value.strip()}" if more and name in into else value.strip()
    return Server(settings=server, queues=queues)


def server_verdicts(
    server: Server, *, account: str, is_us: Callable[[str], bool], arrays: bool, group: int
) -> Iterator[Finding]:
    """Arrays, history, and whether the gateway's `account` sees the jobs of others."""
    if not server.settings:
        evidence = "qmgr does not say how the server is set"
        yield failed("PBS's limits", evidence, 'qmgr -c "print server", as the gateway\'s account')
        return
    yield _arrays(server.settings.get("max_array_size", ""), arrays, group)
    yield _visibility(server.settings, account, is_us)
    if server.settings.get("job_history_enable") == "True":
        yield ok("ends of jobs", "there is a history")
    else:
        evidence = "there is no history: why a job has ended is known from its log alone"
        yield warning("ends of jobs", evidence, 'qmgr -c "set server job_history_enable = True"')
    if server.settings.get("scheduling") == "False":
        yield failed("scheduling", "it is off: no job starts", 'qmgr -c "set server scheduling = True"')


def _arrays(size: str, arrays: bool, group: int) -> Finding:
    if not arrays:
        return ok("job arrays", "not used (worker_job_arrays)")
    if size.isdecimal() and int(size) < 2:
        evidence = f"max_array_size = {size} forbids them, and each group of workers is one"
        remedy = 'c.JobQueueBackend.worker_job_arrays = False, or qmgr -c "set server max_array_size = 10000"'
        return failed("job arrays", evidence, remedy)
    most = min(int(size), group) if size.isdecimal() else group
    return ok("job arrays", f"groups of {most} workers (max_array_size {size or 'is not set'})")


def _visibility(settings: Settings, account: str, is_us: Callable[[str], bool]) -> Finding:
    if settings.get("query_other_jobs") == "True":
        return ok("jobs of others", "every account sees them (query_other_jobs)")
    entries = f"{settings.get('operators', '')},{settings.get('managers', '')}".split(",")
    if any(is_us(entry.strip()) for entry in entries if entry.strip()):
        return ok("jobs of others", f"{account} is an operator")
    evidence = f"query_other_jobs is off, and {account} is no operator: no end of a job would be noticed"
    return failed("jobs of others", evidence, f'qmgr -c "set server operators += {account}@*"')


def options(arguments: Sequence[str]) -> Mapping[str, str]:
    """The queue and the resources that arguments of qsub ask for."""
    found: dict[str, str] = {}
    for argument in arguments:
        if argument.startswith("-q"):
            found["queue"] = argument[2:]
        elif argument.startswith("-l"):
            name, _, value = argument[2:].partition("=")
            found[name] = value
    return found


def job_verdicts(role: str, asked: Mapping[str, str], server: Server, hosts: Sequence[Host]) -> Iterator[Finding]:
    """Whether jobs of a role could run at all: their queue, their time, their cores and memory."""
    check = f"{role}'s job"
    name = asked.get("queue") or server.settings.get("default_queue", "")
    if not name:
        yield failed(check, "it names no queue, and PBS has no default one", "c.PBSClusterConfig.queue")
        return
    if name not in server.queues:
        evidence = f"there is no queue {name}; there are {', '.join(server.queues) or 'none'}"
        yield failed(check, evidence, f"c.PBSClusterConfig.{role}_queue, or queue")
        return
    found = [*_queue(check, name, server.queues[name], asked), *host_verdicts(check, asked.get("select", ""), hosts)]
    yield from found or [ok(check, f"queue {name} is open and takes it ({_shown(asked)})")]


def _shown(asked: Mapping[str, str]) -> str:
    return " ".join(f"-l{name}={value}" for name, value in asked.items() if name != "queue") or "no resources"


def _queue(check: str, name: str, settings: Settings, asked: Mapping[str, str]) -> Iterator[Finding]:
    if settings.get("enabled") != "True":
        evidence = f"queue {name} takes no jobs (enabled = {settings.get('enabled', 'False')})"
        yield failed(check, evidence, f'qmgr -c "set queue {name} enabled = True"')
    if settings.get("started") != "True":
        evidence = f"queue {name} starts no jobs (started = {settings.get('started', 'False')})"
        yield failed(check, evidence, f'qmgr -c "set queue {name} started = True"')
    most, limit = settings.get("resources_max.walltime", ""), asked.get("walltime", "")
    try:
        too_long = bool(most and limit) and int(limit) > (int(most) if most.isdecimal() else walltime_seconds(most))
    except ValueError:  # a value of a site's own, which qsub may know better
        return
    if too_long:
        evidence = f"it asks for {limit} seconds, and queue {name} allows {most}"
        yield failed(check, evidence, "c.PBSClusterConfig.time, or resources_max.walltime of the queue")
