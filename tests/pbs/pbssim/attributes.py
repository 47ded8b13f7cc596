"""A job as the attributes that PBS prints, in its order.

An attribute is `[name, resource or None, value]`; the value of Variable_List
is a list of `[name, value]`.
"""

import time
from typing import Any
from xml.sax.saxutils import escape

from pbssim.jobs import Job

Attribute = list[Any]
#: What is not in the record of a subjob that is made up from its array's.
_OF_ARRAYS = ("project", "Submit_Host", "history_timestamp")


def _element(kind: str, text: str) -> str:
    quoted = escape(text, {'"': "&quot;", "'": "&apos;"})
    return f"<jsdl-hpcpa:{kind}>{quoted}</jsdl-hpcpa:{kind}>"


def attributes_of(job: Job, host: str) -> list[Attribute]:
    """All attributes of a job that PBS would print now."""
    if job.parent is not None and not job.recorded:
        return _made_up(job, job.parent, host)
    found: list[Attribute] = []
    request, array, subjob = job.request, job.children is not None, job.parent is not None

    def add(name: str, value: object, resource: str | None = None) -> None:
        if value not in (None, ""):
            found.append([name, resource, value if isinstance(value, list) else str(value)])

    def date(name: str, when: float | None) -> None:
        add(name, when and time.ctime(when))

    add("Job_Name", request.name)
    add("Job_Owner", f"{job.owner}@{host}")
    if job.session is not None or (job.over and job.started is not None and not array):
        for resource, value in _used(job).items():
            add("resources_used", value, resource)
    add("job_state", job.state)
    add("queue", job.queue)
    add("server", job.server)
    add("Account_Name", request.option("A"))
    add("Checkpoint", None if subjob else "u")
    date("ctime", job.created)
    add("depend", job.depends)
    add("Error_Path", job.output_path("e"))
    if job.slot is not None:
        add("exec_host", f"{host}/{job.slot}")
        add("exec_vnode", f"({job.placement})")
    date("Execution_Time", job.execution_time)
    add("Hold_Types", None if subjob else job.holds)
    add("Join_Path", request.joined)
    add("Keep_Files", request.option("k", "n"))
    add("Mail_Points", request.option("m", "a"))
    date("mtime", job.changed)
    add("Output_Path", job.output_path("o"))
    add("Priority", request.option("p", "0"))
    date("qtime", job.created)
    add("Remove_Files", request.option("R"))
    add("Rerunable", str(job.rerunnable))
    for resource, value in job.resources.printed.items():
        add("Resource_List", value, resource)
    wide = dict(item.partition("=")[::2] for item in request.options.get("W", []))
    add("sandbox", wide.get("sandbox"))
    add("stagein", wide.get("stagein"))
    date("stime", job.started if job.substate != 15 else None)
    date("obittime", job.ended)
    add("session_id", job.session)
    if not array and job.started and (job.session or job.over):
        add("jobdir", job.directory or dict(request.variables).get("PBS_O_HOME", "/"))
    add("substate", job.substate)
    variables = [*request.variables, ("PBS_O_QUEUE", job.queue), ("PBS_O_HOST", host)]
    add("Variable_List", [list(pair) for pair in variables])
    add("comment", job.comment)
    date("etime", job.eligible if job.holds == "n" and job.state not in "HW" else None)
    add("run_count", job.run_count or None)
    if array and job.last_exit is not None:
        add("Stageout_status", 1)
        add("Exit_status", job.last_exit)
    elif not array and job.exit_status is not None:
        add("Stageout_status", 1 if job.over else None)
        add("Exit_status", job.exit_status)
    add("Submit_arguments", None if subjob else request.arguments)
    if request.command:
        add("executable", _element("Executable", request.command[0]))
        add("argument_list", "".join(_element("Argument", text) for text in request.command[1:]))
    if job.children is not None:
        add("array", "True")
        add("array_state_count", _count(job.children))
        add("array_indices_submitted", request.option("J").partition("%")[0])
        add("array_indices_remaining", _remaining(job.children))
    if job.parent is not None:
        add("array_id", job.parent.id)
        add("array_index", job.index)
    add("history_timestamp", job.history and int(job.history))
    add("project", request.option("P") or "_pbs_project_default")
    add("Submit_Host", host)
    return found


def _made_up(job: Job, array: Job, host: str) -> list[Attribute]:
    """The array's record with the subjob's state; the Exit_status is that of whichever subjob changed last."""
    found = []
    if job.over and not array.comment:
        array.comment = "Subjob finished"  # a trap: an array without a comment keeps the one of the made-up record
    for name, resource, value in attributes_of(array, host):
        if name.startswith("array") or name in _OF_ARRAYS:
            continue
        if name == "comment" and job.over:
            continue
        found.append([name, resource, job.state if name == "job_state" else value])
        if name == "Variable_List" and job.over:
            found.append(["comment", None, "Subjob finished"])
    return found


def _used(job: Job) -> dict[str, str]:
    wall = int((job.ended if job.over and job.ended else time.time()) - (job.started or 0))
    clock = f"{wall // 3600:02}:{wall // 60 % 60:02}:{wall % 60:02}"
    return {
        "cpupercent": "0",
        "cput": "00:00:00",
        "mem": "0kb",
        "ncpus": str(job.resources.ncpus),
        "vmem": "0kb",
        "walltime": clock,
    }


def _count(children: list[Job]) -> str:
    states = [child.state for child in children]
    return (
        f"Queued:{sum(s in 'QHW' for s in states)} Running:{sum(s in 'RSU' for s in states)} "
        f"Exiting:{states.count('E')} Expired:{states.count('X')}"
    )


def _remaining(children: list[Job]) -> str:
    waiting = [child.index for child in children if child.state == "Q"]
    if not waiting:
        return "-"
    return f"{waiting[0]}-{waiting[-1]}" if len(waiting) > 1 else str(waiting[0])
