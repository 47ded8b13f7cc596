"""The way to users: the launcher's file, and sudo's rule or the daemon, tried with a request that changes nothing."""

import grp
import os
import pwd
from collections.abc import Collection
from contextlib import suppress

import trio

from gateway.backends.batch.driver import launcher_of
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.launcher.client import ENVIRONMENT, Launcher, own_account
from gateway.backends.launcher.settings import SETTINGS, Settings
from gateway.backends.processes import run_command
from gateway.doctor.finding import Finding, failed, ok, skipped, warning
from gateway.doctor.site import Say, is_root, looked_at
from gateway.doctor.sudo_rules import Allowed, allowed, rule_verdict
from gateway.errors import JobError
from gateway.trusted_files import unsafe

#: Seconds in which sudo has to list its rules, and the launcher to answer; then those after which it is slow.
PATIENCE = 20.0
SLOW = 3.0
#: What is asked for: the end of a log of a cluster that has never been.
_QUESTION = {"action": "tail", "cluster": "dask-gateway-doctor", "log": "scheduler.log", "size": 1}


async def sample_user(backend: JobQueueBackend, settings: Settings, say: Say) -> str:
    """Somebody whom the gateway may act as, by the rules that there are; empty when nobody is known."""
    if backend.impersonation == "none":
        return own_account()
    if backend.impersonation == "socket":
        say(_policy_verdict(settings, own_account()))
        return await looked_at(_somebody, settings.policy.users, settings.policy.groups)
    launcher = launcher_of(backend)
    assert isinstance(launcher, Launcher)
    if is_root():
        say(skipped("sudo rule", "root needs none: ask as the gateway's account"))
        return ""
    rule, said = await _rule(launcher.path)
    say(rule_verdict(rule, own_account(), launcher.path, said))
    return await looked_at(_somebody, rule.users, rule.groups) if rule else ""


def _policy_verdict(settings: Settings, account: str) -> Finding:
    policy = settings.policy
    if account != "root" and policy.gateway not in (account, str(os.geteuid())):
        named = f"names {policy.gateway}" if policy.gateway else "names nobody"
        evidence = f"[policy] in {SETTINGS} {named} as the gateway's account, and this is {account}"
        return failed("launcher's policy", evidence, f"gateway = {account} in [policy] of {SETTINGS}")
    if not policy.users and not policy.groups:
        evidence = f"[policy] in {SETTINGS} names nobody who may have jobs"
        return failed("launcher's policy", evidence, f"groups = dask_users in [policy] of {SETTINGS}")
    whom = [f"the group {group}" for group in policy.groups] + list(policy.users)
    return ok("launcher's policy", f"{policy.gateway} may act as {', '.join(whom)}")


async def _rule(launcher: str) -> tuple[Allowed | None, str]:
    """What sudo's rules say of the launcher, and what sudo says beside them."""
    try:
        with trio.fail_after(PATIENCE):
            answer = await run_command(("sudo", "-nl"), environment={**ENVIRONMENT, "COLUMNS": "10000"})
    except trio.TooSlowError:
        return None, f"sudo does not answer within {PATIENCE:g} seconds"
    except OSError as error:
        return None, f"sudo cannot be run: {error.strerror}"
    return allowed(answer.stdout, launcher), answer.stderr


def _somebody(users: Collection[str], groups: Collection[str]) -> str:
    """The first of these users, or members of these groups, who has an account here, and is not root."""
    members = list(users)
    for group in groups:
        with suppress(KeyError):
            members += grp.getgrnam(group).gr_mem
    for name in members:
        with suppress(KeyError):
            if pwd.getpwnam(name).pw_uid:
                return name
    return ""


async def try_as(user: str, backend: JobQueueBackend, template: str, say: Say) -> bool:
    """Whether the launcher answers as this user, which is said."""
    launcher = launcher_of(backend)
    if isinstance(launcher, Launcher) and (why := await looked_at(_unsafe_program, launcher.path)):
        evidence = f"{launcher.path} would run as users, but {why}"
        say(failed("launcher", evidence, "install the gateway where root alone can write, and all can read"))
        return False
    begin = trio.current_time()
    try:
        await launcher.request(user, {**_QUESTION, "staging_directory": template}, seconds=PATIENCE)
    except JobError as error:
        say(failed("launcher", str(error), _remedy(backend, user)))
        return False
    took = trio.current_time() - begin
    evidence = f"it answers as {user} after {took:.1f} s"
    if took > SLOW:
        say(warning("launcher", evidence, f"time sudo -nHu {user} true: is it PAM, or the directory service?"))
    else:
        say(ok("launcher", evidence))
    return True


def _unsafe_program(path: str) -> str:
    return unsafe(path, program=True)


def _remedy(backend: JobQueueBackend, user: str) -> str:
    if backend.impersonation == "socket":
        return "systemctl status dask-gateway-launcherd.socket; journalctl -u dask-gateway-launcherd"
    if backend.impersonation == "none":
        return "c.JobQueueBackend.dask_gateway_jobqueue_launcher"
    return f"sudo -nHu {user} {getattr(launcher_of(backend), 'path', '')} </dev/null, as the gateway's account"
