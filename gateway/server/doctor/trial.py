"""A job of a user's, from its submission to its end: with --submit-as.

It is submitted as the gateway submits schedulers: the same launcher, directory,
options and set-up text. In it a small program says which Python and Dask it
finds where a scheduler would, and asks for the gateway's API.
"""

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import trio

from gateway.backends.base import ClusterRef, Driver, JobSpec
from gateway.backends.commands import with_fallback
from gateway.config.finding import Finding, doubt, failure, fine, skipped
from gateway.errors import BackendUnavailable, JobError
from gateway.models import JobId, JobState, Role
from gateway.server.doctor.patient import Patient
from gateway.server.own_names import expected_api_url
from gateway.user_text import one_line, readable

_MARK = "dask-gateway-doctor: "
_PACKAGES = ("dask", "distributed", "dask-gateway")

_PROGRAM = """
import importlib.metadata as metadata, json, platform, sys, urllib.error, urllib.request
found = {"python": platform.python_version(), "executable": sys.executable, "host": platform.node(), "versions": {}}
for name in sys.argv[2:]:
    try:
        found["versions"][name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found["versions"][name] = ""
if sys.argv[1]:
    # A heartbeat, without the token of a cluster: all else is sent to HTTPS, where the gateway has that.
    url = sys.argv[1] + "/v1/clusters/doctor/heartbeat"
    headers = {"Authorization": "token doctor", "Content-Type": "application/json"}
    try:
        urllib.request.urlopen(urllib.request.Request(url, b"{}", headers), timeout=10)
        found["api"] = "answers as no gateway does"
    except urllib.error.HTTPError as error:
        said = b"not the token of cluster doctor" in error.read(4096)
        found["api"] = "answers" if said else "answers as no gateway does: %s" % error
    except Exception as error:
        found["api"] = "cannot be reached: %s" % error
print("\\n" + "MARK" + json.dumps(found))
""".replace("MARK", _MARK)

#: Finds the Python of the command that starts schedulers: its own, or the one in its first line.
_SHELL = """
command=$(command -v "$1" || command -v "$2") || { echo "MARK{\\"missing\\": true}"; exit 0; }
case "${command##*/}" in
    python*) python=$command ;;
    *) IFS= read -r line < "$command"; python=${line#??} ;;
esac
exec $python -c "$3" "$4" PACKAGES
""".replace("MARK", _MARK).replace("PACKAGES", " ".join(_PACKAGES))


async def trial(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Submit, compare the job's id with what the queue has under its name, wait for its end, read its log."""
    if not patient.sample.submits:
        yield skipped("a job", "none was submitted: --submit-as NAME does that")
        return
    config = patient.config
    program = config.cluster_config.scheduler_cmd[0]
    (instead, *_) = with_fallback((program,), lambda _: None)
    name = f"doctor-{secrets.token_hex(6)}"
    cluster = ClusterRef(name=name, username=patient.sample.user, config=config.cluster_config)
    spec = JobSpec(
        cluster=cluster,
        role=Role.SCHEDULER,
        group="scheduler",
        count=1,
        command=("/bin/sh", "-c", _SHELL, "sh", program, instead, _PROGRAM, expected_api_url(config)),
        environment=dict(config.cluster_config.environment),
        secrets={},
    )
    async with config.backend.open_driver() as driver:
        try:
            (job,) = await driver.submit(spec)
        except JobError as error:
            yield failure(
                "a job", f"cannot be submitted as {patient.sample.user}: {error}", "the batch system says what it wants"
            )
            return
        yield fine("a job", f"{job} was submitted as {patient.sample.user}")
        try:
            async for finding in _follow(driver, cluster, job, patient.sample.patience):
                yield finding
        finally:
            with trio.move_on_after(30, shield=True):
                await _clean(driver, cluster, job)


async def _follow(driver: Driver, cluster: ClusterRef, job: JobId, patience: float) -> AsyncIterator[Finding]:
    yield await _name_in_queue(driver, cluster, job)
    began, seen, last = trio.current_time(), 0.0, ""
    with driver.watch(cluster) as watch:
        watch.eager = True
        watch.add(job)
        with trio.move_on_after(patience) as waiting:
            while (report := watch.jobs[job]).state is not JobState.GONE:
                await watch.wait_changes()
                if not seen and watch.jobs[job].state is not JobState.UNKNOWN:
                    seen = trio.current_time() - began
                last = report.reason or last
        state = watch.jobs[job].state
    if waiting.cancelled_caught:
        why = f" {last}" if last else " Nothing is told of it" if state is JobState.UNKNOWN else ""
        evidence = f"{job} has not ended within {patience:g} s; it is {state.value.lower()}.{why}"
        yield failure("the job's end", evidence, "a partition or queue with room, or one that the gateway may see")
        return
    yield fine("the queue", f"showed the job after {seen:.1f} s")
    async for finding in _read(driver, cluster, job):
        yield finding


async def _name_in_queue(driver: Driver, cluster: ClusterRef, job: JobId) -> Finding:
    try:
        found = await driver.find(cluster, Role.SCHEDULER, "scheduler", 1)
    except BackendUnavailable as error:
        return failure("the job's name", f"the queue cannot be asked for it: {error}")
    if found == (job,):
        return fine("the job's name", f"the queue has {job} under it")
    if not found:
        return doubt("the job's name", f"the queue does not show {job} under it: it ended at once, or is hidden")
    evidence = f"the submit command answered {job}, and the queue has {found[0]} under its name"
    return failure("the job's name", evidence, "a wrapper of the submit command prints what looks like an id")


async def _read(driver: Driver, cluster: ClusterRef, job: JobId) -> AsyncIterator[Finding]:
    """What the job's log says."""
    try:
        log = await driver.read_log(cluster, "scheduler", 64 * 1024)
    except JobError as error:
        yield failure("the job's log", str(error))
        return
    told = [line.removeprefix(_MARK) for line in (log.text if log else "").splitlines() if line.startswith(_MARK)]
    if not told:
        why = await driver.explain(cluster, job, "scheduler")
        evidence = "there is no log" if log is None else "does not have what the job writes"
        yield failure("the job's log", f"{evidence}. {one_line(readable(why), 500)}", "see the directory of logs")
        return
    yield fine("the job's log", "is written, and read as the user")
    for finding in verdicts(cluster, json.loads(told[-1])):
        yield finding


def verdicts(cluster: ClusterRef, told: Mapping[str, Any]) -> list[Finding]:
    """What the program in the job has found, beside what is here; pure but for the versions here."""
    command = cluster.config.scheduler_cmd[0]
    if told.get("missing"):
        remedy = "c.ClusterConfig.scheduler_cmd with the whole path, or c.JobQueueClusterConfig.scheduler_setup"
        return [failure("Dask in jobs", f"there is no command {command!r} in a job of {cluster.username}", remedy)]
    found: list[Finding] = []
    versions: Mapping[str, str] = told["versions"]
    if lacking := [name for name in _PACKAGES if not versions.get(name)]:
        evidence = f"{told['executable']} (Python {told['python']}) on {told['host']} has no {', '.join(lacking)}"
        found.append(failure("Dask in jobs", evidence, f"{told['executable']} -m pip install {' '.join(lacking)}"))
    else:
        shown = ", ".join(f"{name} {versions[name]}" for name in _PACKAGES)
        found.append(fine("Dask in jobs", f"{told['executable']} (Python {told['python']}): {shown}"))
        found += [
            doubt(f"version of {name}", f"{versions[name]} in jobs, {here} here", "clients need what jobs have")
            for name in _PACKAGES
            if (here := _here(name)) and here != versions[name]
        ]
    api = str(told.get("api", ""))
    if api == "answers":
        found.append(fine("API from a node", f"{told['host']} reaches the gateway"))
    elif api:
        remedy = "c.Backend.api_url, or the firewall; does the gateway run?"
        found.append(failure("API from a node", f"{told['host']}: {api}", remedy))
    return found


def _here(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


async def _clean(driver: Driver, cluster: ClusterRef, job: JobId) -> None:
    with driver.watch(cluster) as watch:
        watch.add(job)
        try:
            await driver.cancel(cluster, [job])
        except JobError:
            return  # the batch system has said so before
        while watch.jobs[job].state is not JobState.GONE:
            await watch.wait_changes()
    await driver.clean(cluster, keep_logs=False)
