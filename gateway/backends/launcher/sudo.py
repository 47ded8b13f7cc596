"""What sudo says when it does not run a program, sorted: final, or worth another try (pure).

sudo is asked without a terminal and without a password (`-n`), in the locale
C.UTF-8, so its words are those of its source (1.9). Often it says several
things at once, of which the last is the least telling: an account that PAM
refuses ends with "a password is required". So the table below is in the order
in which lines count, whatever their order on stderr:

1. what may pass (a directory service that does not answer, no memory, no more
   processes): whoever waits may be served, even if sudo then went on to say
   that there is no rule, since rules come from that service, too;
2. what only an administrator can change: said at once, with the next step.

A warning (`unable to resolve host`) is no reason for anything. Words that are
not known are taken for something that may pass: the request is tried again,
and its user sees them in the cluster's events.
"""

import re

from attrs import frozen

from gateway.user_text import bounded

#: Characters of sudo's words that are shown.
MAX_WORDS = 500


@frozen
class Who:
    """Whom a refusal is about: the gateway's account asked to run `path` as `username`."""

    username: str
    gateway_user: str
    path: str


@frozen
class Verdict:
    """What a refusal means, in a sentence with sudo's own words. `final`: waiting is no help."""

    final: bool
    sentence: str


_TRANSIENT = re.compile(
    r"Resource temporarily unavailable|Cannot allocate memory|unable to allocate memory|unable to fork|Try again"
    r"|Too many open files|Too many users|Input/output error|Stale file handle|Transport endpoint|resource busy"
    r"|Text file busy|Interrupted system call|Connection (?:refused|reset|timed out)|timed out|Host is down"
    r"|No route to host|Network is unreachable|unable to connect to log server|No space left on device"
    r"|\bldap_\w|\bLDAP\b|\bSSSD?\b|\bsssd?\b|cannot retrieve authentication info|System error|Critical error"
    r"|Failure setting user credentials"
)
_WARNING = re.compile(
    r"unable to resolve host |problem with defaults entries|setrlimit"
    r"|unable to (?:send audit message|open audit system)"
)
#: PAM's modules speak through sudo, too, so one line of its own is enough.
_BY_SUDO = re.compile(r"^(?:sudo: |Sorry, |>>> |\S*sudoers\S*:\d+)|is not (?:in the sudoers|allowed to run sudo)")

_ACCOUNT = (
    "sudo does not let {gateway_user} do anything at present: PAM refuses its account, or that of {username} where"
    " sudoers asks for the target's password. It is locked or has expired (chage -l shows that), or a rule of PAM's for"
    " sudo keeps it out. An administrator can change that."
)
_RULE = (
    "sudo has no rule that lets {gateway_user} run {path} as that user without a password. An administrator can add it,"
    " or add {username} to the group that it names."
)
_FINAL: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (r"unknown user:? ", "the user {username} is unknown on the gateway's host."),
        (
            r"no new privileges",
            "the gateway was started without the right to use sudo: remove NoNewPrivileges (and what implies it) from"
            " its systemd unit, or change its container's settings.",
        ),
        (
            r"effective uid is not|must be owned by uid|setuid",
            "sudo itself does not work on the gateway's host: its file must belong to root, be setuid, and lie on a"
            " file system that is mounted without nosuid.",
        ),
        (
            r"account validation failure|is your account locked|[Aa]ccount expired|[Aa]ccount or password is expired"
            r"|[Pp]assword expired|change expired password|[Aa]ccount has expired|[Pp]assword has expired"
            r"|required to change your password|[Aa]ccount (?:is |has been )?(?:locked|disabled)"
            r"|PAM account management error|PAM authentication error: (?:Permission denied|User)",
            _ACCOUNT,
        ),
        (
            r"you must have a tty",
            "sudo wants a terminal (requiretty), which a service has not. An administrator can add the line"
            " `Defaults:{gateway_user} !requiretty` to sudoers.",
        ),
        (
            r"is owned by [ug]id|is (?:world|group) writable|should be mode|no valid sudoers|(?:syntax|parse) error"
            r"|sudoers\S* is not a regular file|unable to (?:open|stat|read) \S*sudoers",
            "sudo's own configuration is broken on the gateway's host; visudo -c shows where, for an administrator.",
        ),
        (
            r"invalid shell for user",
            "the login shell of {username} is none that sudo accepts (runas_check_shell). An administrator can change"
            " the shell, or that setting.",
        ),
        (
            r"unable to (?:change root|change directory|chdir)|invalid (?:working|chroot) directory",
            "sudoers names a directory for {gateway_user}'s commands (runcwd, runchroot) that is not there.",
        ),
        (
            r"command not found|unable to execute .*(?:No such file|not found|Permission denied|Exec format|Not a dir)",
            "{path} does not exist there, or {username} may not run it; set dask_gateway_jobqueue_launcher to the path"
            " of dask-gateway-jobqueue-launcher.",
        ),
        (
            r"password is required|terminal is required|no askpass|no password was provided|incorrect password"
            r"|not allowed|not in the sudoers|may not run sudo|command rejected|no authentication methods"
            r"|authentication failure",
            _RULE,
        ),
    )
)


def verdict(stderr: str, who: Who) -> Verdict | None:
    """What sudo's words on stderr mean; None when none of them are sudo's (the program that it ran has failed)."""
    said = [line.strip() for line in bounded(stderr).split("\n") if line.strip()]
    serious = [line for line in said if not _WARNING.search(line)]
    if not any(map(_is_sudos, serious)):
        return None
    quoted = " ".join(serious)[-MAX_WORDS:]
    # Somebody may be called "ldap".
    names = "|".join(re.escape(name) for name in (who.path, who.username, who.gateway_user) if name)
    serious = [re.sub(rf"(?<![\w/])(?:{names})(?![\w/])", "…", line) for line in serious]
    begin = f"The gateway may not run jobs as {who.username}"
    if any(map(_TRANSIENT.search, serious)):
        return Verdict(False, f"sudo cannot run jobs as {who.username} at the moment. sudo says: {quoted}")
    for pattern, sentence in _FINAL:
        if any(map(pattern.search, serious)):
            reason = sentence.format(username=who.username, gateway_user=who.gateway_user, path=who.path)
            return Verdict(True, f"{begin}: {reason} sudo says: {quoted}")
    return Verdict(False, f"sudo did not run the launcher as {who.username}. sudo says: {quoted}")


def _is_sudos(line: str) -> bool:
    return _BY_SUDO.search(line) is not None
