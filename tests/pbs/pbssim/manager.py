"""qmgr: what `print server` prints, and the commands that were recorded; whatever else is refused.

Printed are the settings that exist here, among those that a real server has.
"""

import re

from pbssim.errors import Refused
from pbssim.limits import is_known
from pbssim.server import Server
from pbssim.settings import Settings

_QUEUE = """\
#
# Create and define queue {name}
#
create queue {name}
set queue {name} queue_type = Execution
set queue {name} enabled = {enabled}
set queue {name} started = {started}
"""
_SERVER = """\
#
# Set server attributes.
#
set server scheduling = True
{operators}set server default_queue = {default}
set server log_events = 2047
set server mailer = /usr/sbin/sendmail
set server mail_from = adm
set server query_other_jobs = {query_other_jobs}
set server resources_default.ncpus = 1
set server default_chunk.ncpus = 1
set server scheduler_iteration = 600
set server flatuid = True
set server resv_enable = True
set server node_fail_requeue = 310
set server max_array_size = {max_array_size}
set server resend_term_delay = 5
set server pbs_license_min = 0
set server pbs_license_max = 2147483647
set server pbs_license_linger_time = 31536000
set server eligible_time_enable = False
set server job_history_enable = {history}
set server max_concurrent_provision = 5
set server clear_topjob_estimates_enable = False
set server max_job_sequence_id = 9999999
"""


def print_server(settings: Settings) -> str:
    """All settings, as commands of qmgr."""
    queues = "".join(
        _QUEUE.format(name=name, started=started, enabled=name not in settings.disabled)
        for name, started in settings.queues.items()
    )
    operators = [f"{name}@*" for name in settings.operators if name != "root"]
    lines = [f"set server operators {'+' if number else ''}= {name}\n" for number, name in enumerate(operators)]
    return f"#\n# Create queues and set their attributes.\n#\n{queues}" + _SERVER.format(
        operators="".join(lines),
        default=next(iter(settings.queues)),
        query_other_jobs=settings.query_other_jobs,
        max_array_size=settings.max_array_size,
        history=settings.history,
    )


_COMMAND = re.compile(
    r"(?P<verb>set|unset) (?P<owner>server|queue (?P<queue>\w+)) (?P<name>[\w.]+)(?:\s*\+?=\s*(?P<value>.*))?"
)
_CREATE = re.compile(
    r"create queue (\w+) queue_type\s*=\s*execution,\s*enabled\s*=\s*true,\s*started\s*=\s*(true|false)"
)


def manage(server: Server, command: str) -> str:
    """Do what a command of qmgr says; returns what is wrong with it."""
    settings = server.settings
    if match := _CREATE.fullmatch(command):
        settings.queues[match[1]] = match[2] == "true"
        return ""
    if match := re.fullmatch(r"delete queue (\w+)", command):
        if any(job.queue == match[1] and not job.over for job in server.jobs.values()):
            raise Refused("Cannot delete busy object", 179)
        del settings.queues[match[1]]
        return ""
    match = _COMMAND.fullmatch(command)
    unknown = f"the simulation does not know the command {command!r}"
    if match is None or match["queue"] not in (None, *settings.queues):
        return unknown
    owner, name, value = match["owner"], match["name"], match["value"] or ""
    if match["verb"] == "unset":
        return "" if settings.limits.pop(f"{owner} {name}", None) else unknown
    if match["queue"]:
        return _set_queue(settings, match["queue"], name, value) or ""
    return _set_server(server, name, value)


def _set_queue(settings: Settings, queue: str, name: str, value: str) -> str:
    if name == "started":
        settings.queues[queue] = value == "True"
    elif name == "enabled":
        settings.disabled = [other for other in settings.disabled if other != queue]
        settings.disabled += [queue] if value == "False" else []
    elif is_known(f"queue {queue}", name, value):
        settings.limits[f"queue {queue} {name}"] = value
    else:
        return f"the simulation does not know this setting of a queue: {name} = {value}"
    return ""


def _set_server(server: Server, name: str, value: str) -> str:
    settings = server.settings
    if name == "job_history_enable":
        server.set_history(value == "True")
    elif name == "operators":  # += only
        settings.operators.append(value.partition("@")[0])
    elif name == "query_other_jobs":
        settings.query_other_jobs = value == "True"
    elif name == "job_history_duration":
        hours, minutes, seconds = map(int, value.split(":"))
        settings.history_duration = hours * 3600 + minutes * 60 + seconds
    elif is_known("server", name, value):
        settings.limits[f"server {name}"] = value
    else:
        return f"the simulation does not know this setting of the server: {name} = {value}"
    return ""
