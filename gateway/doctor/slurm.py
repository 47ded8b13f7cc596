"""What Slurm's commands print of its configuration, judged (pure)."""

import re
from collections.abc import Iterator, Mapping

from attrs import frozen

from gateway.backends.commands import Answer
from gateway.doctor.finding import Finding, failed, ok, skipped, warning


@frozen(kw_only=True)
class Needs:
    """What the gateway's options make of Slurm's limits. Periods are seconds."""

    account: str
    arrays: bool
    group: int
    eager_period: float


def ping_verdict(answer: Answer) -> Finding:
    """Whether a controller answers, by `scontrol ping`."""
    up = [line for line in answer.stdout.splitlines() if line.rstrip().endswith("is UP")]
    if up:
        return ok("Slurm's controller", up[0])
    evidence = f"no controller answers: {answer.words}"
    return failed("Slurm's controller", evidence, "systemctl status slurmctld, on the controller; scontrol ping, here")


def settings_of(text: str) -> Mapping[str, str]:
    """Name → value of `scontrol show config`."""
    return {name: value.strip() for name, value in re.findall(r"^(\w+)\s*=\s*(.*)$", text, re.MULTILINE)}


def config_verdicts(settings: Mapping[str, str], needs: Needs, admin_level: str) -> Iterator[Finding]:
    """The limits; `admin_level` is what accounting says of the gateway's account (empty: nothing)."""
    if not settings:
        evidence = "scontrol show config tells nothing"
        yield failed("Slurm's limits", evidence, "scontrol show config, as the gateway's account")
        return
    yield _arrays(settings.get("MaxArraySize", ""), needs)
    yield _visibility(settings.get("PrivateData", ""), needs.account, admin_level)
    yield from _memory_of_jobs(settings, needs)
    if settings.get("JobSubmitPlugins", "(null)") not in ("(null)", ""):
        evidence = f"job_submit plugins may change or refuse jobs: {settings['JobSubmitPlugins']}"
        yield ok("job_submit", evidence)


def _arrays(size: str, needs: Needs) -> Finding:
    if not size.isdecimal():
        return skipped("job arrays", "Slurm does not say MaxArraySize")
    if not needs.arrays:
        return ok("job arrays", f"not used (worker_job_arrays); MaxArraySize={size}")
    if int(size) < 2:
        evidence = f"MaxArraySize={size} forbids them, and each group of workers is one"
        return failed(
            "job arrays", evidence, "c.JobQueueBackend.worker_job_arrays = False, or MaxArraySize in slurm.conf"
        )
    return ok("job arrays", f"MaxArraySize={size}: groups of {min(int(size), needs.group)} workers")


def _visibility(private: str, account: str, admin_level: str) -> Finding:
    if "jobs" not in private.split(","):
        return ok("jobs of others", "every account sees them")
    if account == "root":
        return skipped("jobs of others", f"PrivateData={private}: root sees them, and other accounts may not")
    if admin_level.lower() in ("operator", "administrator"):
        return ok("jobs of others", f"PrivateData={private}, and {account} is an {admin_level}")
    told = f" ({account} has the level {admin_level})" if admin_level else ""
    evidence = f"PrivateData={private} hides the jobs of users from {account}{told}: no end of a job would be noticed"
    return failed("jobs of others", evidence, f"sacctmgr modify user {account} set adminlevel=operator")


def _memory_of_jobs(settings: Mapping[str, str], needs: Needs) -> Iterator[Finding]:
    """How long ended jobs are remembered, without and with accounting."""
    accounting = settings.get("AccountingStorageType", "")
    kept = re.match(r"\d+", settings.get("MinJobAge", ""))
    has_accounting = accounting.endswith("slurmdbd")
    shown = f"MinJobAge={settings.get('MinJobAge', '?')}, {'' if has_accounting else 'no '}accounting database"
    if kept and 0 < int(kept[0]) < 2 * needs.eager_period and not has_accounting:
        evidence = f"{shown}: jobs are forgotten before the gateway has asked how they ended"
        yield warning("ends of jobs", evidence, "MinJobAge=300 in slurm.conf, then scontrol reconfigure")
    else:
        yield ok("ends of jobs", shown)


def noise_verdict(command: str, answer: Answer, *, remedy: str = "") -> Finding:
    """Whether a command that has answered prints more than its answer."""
    if answer.returncode != 0:
        return failed(command, f"it fails: {answer.words}", remedy or f"run {command} as the gateway's account")
    if said := answer.stderr.strip():
        evidence = f"it prints more than its answer: {said}"
        return warning(command, evidence, remedy or f"run {command}, and see which wrapper or plugin says that")
    return ok(command, "it answers, and prints nothing else")


def association_verdict(user: str, text: str) -> Finding:
    """Whether a user may submit, by lines `ACCOUNT|MAXSUBMIT|MAXJOBS` of `sacctmgr show assoc`."""
    rows = [line.split("|") for line in text.splitlines() if line.count("|") >= 2]
    if not rows:
        evidence = f"{user} has no account there, and may not submit where associations are enforced"
        return warning("accounting", evidence, f"sacctmgr add user {user} account=...")
    few = [row for row in rows if row[1].isdecimal() and int(row[1]) < 2]
    if len(few) == len(rows):
        evidence = f"{user} may have {few[0][1]} jobs (MaxSubmitJobs), and a cluster with one worker takes two"
        return failed("accounting", evidence, f"sacctmgr modify user {user} set MaxSubmitJobs=-1")
    shown = ", ".join(f"{row[0]}{f' (MaxSubmitJobs={row[1]})' if row[1] else ''}" for row in rows)
    return ok("accounting", f"{user} is in {shown}")
