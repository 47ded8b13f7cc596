"""As whom the gateway runs, and whether it may act as its users: sudo's rule, or the launcher daemon."""

import os
import pwd
from collections.abc import AsyncGenerator

import trio

from gateway.backends.batch.driver import launcher_of
from gateway.backends.batch.options import JobQueueBackend, JobQueueClusterConfig
from gateway.backends.batch.user_commands import directory_template_of
from gateway.backends.launcher.client import ENVIRONMENT, Launcher, own_account
from gateway.backends.processes import run_command
from gateway.config.finding import Finding, doubt, failure, fine, skipped
from gateway.errors import JobError
from gateway.server.doctor.patient import Patient

#: Seconds for what is looked at.
_TIMEOUT = 20.0


async def own_identity(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Whether this is the gateway's account: root's rights would hide what that lacks."""
    await trio.lowlevel.checkpoint()
    name = own_account()
    if os.geteuid() == 0 and isinstance(patient.config.backend, JobQueueBackend):
        remedy = "sudo -u dask dask-gateway-server doctor ... (as the gateway's account is called)"
        yield doubt("account", "this runs as root, and the gateway should not: what it lacks is not seen", remedy)
    else:
        yield fine("account", f"this runs as {name}")


async def acting_as_users(patient: Patient) -> AsyncGenerator[Finding, None]:
    """The launcher as a user, by the way that the configuration says."""
    backend, config = patient.config.backend, patient.config.cluster_config
    if not isinstance(backend, JobQueueBackend) or not isinstance(config, JobQueueClusterConfig):
        return
    ways = {"sudo": "sudo's rule", "socket": "launcher daemon", "none": "launcher"}
    subject = ways[backend.impersonation]
    launcher = launcher_of(backend)
    if not patient.sample.user:
        if isinstance(launcher, Launcher) and launcher.impersonate:
            yield await _rules(launcher.path)
        else:
            yield skipped(subject, "no user was named, with --user or --submit-as")
        return
    request = {
        "action": "tail",
        "cluster": "doctor",
        "staging_directory": directory_template_of(config),
        "log": "none.log",
    }
    try:
        answer = await launcher.request(patient.sample.user, request, seconds=_TIMEOUT)
    except JobError as error:
        yield failure(subject, str(error), _remedy(backend, launcher, patient.sample.user))
        return
    yield fine(subject, f"the launcher runs as {patient.sample.user}")
    yield _home(patient.sample.user, str(answer.get("path", "")))


async def _rules(path: str) -> Finding:
    """Whether sudo lists a rule for the launcher; as which users is not told there."""
    try:
        with trio.fail_after(_TIMEOUT):
            answer = await run_command(("sudo", "-nl"), environment=ENVIRONMENT)
    except (OSError, trio.TooSlowError) as error:
        return failure("sudo's rule", f"sudo cannot be run: {error or 'it does not answer'}", "apt install sudo")
    if path in answer.stdout and "NOPASSWD" in answer.stdout:
        return fine("sudo's rule", f"there is one for {path}; --user NAME tries it")
    remedy = f"visudo: {own_account()} ALL=(%dask_users,!root) NOPASSWD:{path}"
    return failure("sudo's rule", f"there is none for {path}: {answer.words or 'sudo -l lists nothing'}", remedy)


def _remedy(backend: JobQueueBackend, launcher: object, user: str) -> str:
    if isinstance(launcher, Launcher):
        return f"sudo -nHu {user} {launcher.path} </dev/null" if launcher.impersonate else f"ls -l {launcher.path}"
    return "systemctl status dask-gateway-launcherd.socket; the policy is in /etc/dask-gateway/launcher.conf"


def _home(user: str, log: str) -> Finding:
    """The folder in which the user's clusters get theirs, as far as it can be seen from here."""
    folder = os.path.dirname(os.path.dirname(log))
    try:
        home = pwd.getpwnam(user).pw_dir
    except KeyError:
        return failure("home", f"there is no account {user} here", f"getent passwd {user}")
    if not os.path.isdir(home):
        remedy = "mount the homes here, or c.JobQueueClusterConfig.staging_directory without {home}"
        return failure("home", f"{home} of {user} is not on this host", remedy)
    return fine("home", f"{home}; clusters of {user} have their folders in {folder}")
