"""Whom sudo lets the gateway's account act as, by the words of `sudo -nl` (pure)."""

import re
from collections.abc import Sequence

from attrs import frozen

from gateway.doctor.finding import Finding, failed, ok, warning

#: `(%dask_users, !root) NOPASSWD: /a/program, /another`, with tags such as SETENV: beside the one that counts.
_RULE = re.compile(r"^\s+\((?P<whom>[^)]*)\) (?:[A-Z]+: )*NOPASSWD: (?:[A-Z]+: )*(?P<commands>.*)$", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9_][\w.@-]*")


@frozen
class Allowed:
    """The users and groups for whom a command may be run without a password; `rest` are the commands of those rules."""

    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    everybody: bool = False
    any_command: bool = False
    except_root: bool = False


def allowed(text: str, launcher: str) -> Allowed | None:
    """What rules say of the launcher; None when none is about it."""
    rules = [(match["whom"], [word.strip() for word in match["commands"].split(",")]) for match in _RULE.finditer(text)]
    about = [(whom, commands) for whom, commands in rules if {launcher, "ALL"} & {*commands}]
    if not about:
        return None
    return _about([whom for whom, _ in about], any_command=any("ALL" in commands for _, commands in about))


def _about(texts: Sequence[str], *, any_command: bool) -> Allowed:
    """Whom rules name, such as `%dask_users, !root`; what follows a colon are groups to run as."""
    words = (name.strip() for text in texts for name in text.partition(":")[0].split(","))
    whom = list(dict.fromkeys(words))
    return Allowed(
        users=tuple(name for name in whom if _NAME.fullmatch(name) and name not in ("ALL", "root")),
        groups=tuple(name[1:] for name in whom if name.startswith("%") and _NAME.fullmatch(name[1:])),
        everybody="ALL" in whom,
        any_command=any_command,
        except_root="!root" in whom or not {"ALL", "root"} & {*whom},
    )


def rule_verdict(rule: Allowed | None, account: str, launcher: str, said: str = "") -> Finding:
    """Whether the rule is there, and no wider than it has to be; `said` is what sudo said beside it."""
    line = f"{account} ALL=(%dask_users,!root) NOPASSWD:{launcher}"
    if rule is None:
        words = f". sudo says: {said}" if said.strip() else ""
        evidence = f"sudo lists no rule by which {account} may run {launcher} without a password{words}"
        return failed("sudo rule", evidence, f"visudo -f /etc/sudoers.d/dask-gateway: {line}")
    if rule.any_command:
        evidence = f"{account} may run any command as others, far more than the launcher"
        return warning("sudo rule", evidence, f"visudo -f /etc/sudoers.d/dask-gateway: {line}")
    if not rule.except_root:
        evidence = f"{account} may run {launcher} as root, which it refuses, but need not be tried"
        return warning("sudo rule", evidence, f"visudo -f /etc/sudoers.d/dask-gateway: {line}")
    whom = [f"the group {group}" for group in rule.groups] + list(rule.users) + ["everybody"] * rule.everybody
    return ok("sudo rule", f"{account} may run {launcher} as {', '.join(whom) or 'some'}")
