"""What sudo says, by its own catalogue (1.9) and from the real one, and what is made of it."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.backends.commands import Answer
from gateway.backends.launcher.client import ENVIRONMENT, parse_answer
from gateway.backends.launcher.sudo import MAX_WORDS, Who, verdict
from gateway.errors import BackendUnavailable, JobRefused

PATH = "/opt/gateway/bin/dask-gateway-jobqueue-launcher"
WHO = Who(username="alice", gateway_user="dask", path=PATH)
PASSWORD = "sudo: a password is required"
AUDIT = "sudo: error initializing audit plugin sudoers_audit"


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (f"sudo: unknown user alice\n{AUDIT}", "the user alice is unknown on the gateway's host"),
        (f"sudo: unknown user: alice\n{AUDIT}", "is unknown on"),
        (f"sudo: account validation failure, is your account locked?\n{PASSWORD}", "PAM refuses its account"),
        (f"{PASSWORD}\nsudo: account validation failure, is your account locked?", "PAM refuses its account"),
        (
            'sudo: Account expired or PAM config lacks an "account" section for sudo, contact your system'
            " administrator",
            "PAM refuses its account",
        ),
        ("sudo: Account or password is expired, reset your password and try again", "PAM refuses its account"),
        ("sudo: Password expired, contact your system administrator", "PAM refuses its account"),
        ("sudo: unable to change expired password: Authentication token manipulation error", "PAM refuses"),
        (f"Your account has expired; please contact your system administrator.\n{PASSWORD}", "PAM refuses"),
        ("sudo: PAM account management error: Permission denied", "PAM refuses its account"),
        ("sudo: PAM authentication error: User account has expired", "PAM refuses its account"),
        ("sudo: sorry, you must have a tty to run sudo", "Defaults:dask !requiretty"),
        (
            'sudo: The "no new privileges" flag is set, which prevents sudo from running as root.\n'
            "sudo: If sudo is running in a container, you may need to adjust the container configuration to disable the"
            " flag.",
            "NoNewPrivileges",
        ),
        (
            "sudo: effective uid is not 0, is /usr/bin/sudo on a file system with the 'nosuid' option set or an NFS"
            " file system without root privileges?",
            "mounted without nosuid",
        ),
        ("sudo: effective uid is not 0, is sudo installed setuid root?", "be setuid"),
        ("sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set", "must belong to root"),
        (f"sudo: /etc/sudoers is owned by uid 1004, should be 0\n{AUDIT}", "visudo -c"),
        (f"sudo: no valid sudoers sources found, quitting\n{AUDIT}", "visudo -c"),
        (f"sudo: /etc/sudoers.d/gateway is world writable\n{PASSWORD}", "visudo -c"),
        (f"sudo: /etc/sudoers is mode 0666, should be mode 0440\n{AUDIT}", "visudo -c"),
        (f"/etc/sudoers.d/gateway:2:11: syntax error\nrsgw ALL=(\n          ^\n{PASSWORD}", "visudo -c"),
        (">>> /etc/sudoers: syntax error near line 3 <<<\nsudo: parse error in /etc/sudoers near line 3", "visudo -c"),
        ("sudo: unable to open /etc/sudoers: Permission denied", "visudo -c"),
        ("sudo: unable to stat /etc/sudoers: No such file or directory", "visudo -c"),
        ("sudo: invalid shell for user alice: /usr/sbin/nologin", "the login shell of alice"),
        ("sudo: unable to change root to /nonexistent: No such file or directory", "runchroot"),
        (f"sudo: {PATH}: command not found", "set dask_gateway_jobqueue_launcher"),
        (f"sudo: unable to execute {PATH}: No such file or directory", "set dask_gateway_jobqueue_launcher"),
        (f"sudo: unable to execute {PATH}: Permission denied", "set dask_gateway_jobqueue_launcher"),
        (PASSWORD, "sudo has no rule that lets dask run"),
        ("sudo: a terminal is required to read the password; either use the -S option", "sudo has no rule"),
        ("sudo: no askpass program specified, try setting SUDO_ASKPASS", "sudo has no rule"),
        (f"Sorry, user dask is not allowed to execute '{PATH}' as alice on edge.", "sudo has no rule"),
        ("Sorry, user dask may not run sudo on edge.", "sudo has no rule"),
        ("dask is not in the sudoers file.", "sudo has no rule"),
        ("dask is not in the sudoers file.  This incident will be reported.", "sudo has no rule"),
        ("dask is not allowed to run sudo on edge.", "sudo has no rule"),
        ("sudo: command rejected by approver", "sudo has no rule"),
        ("sudo: sudoers specifies that root is not allowed to sudo", "sudo has no rule"),
        (f"sudo: unable to resolve host edge: Name or service not known\n{PASSWORD}", "sudo has no rule"),
    ],
)
def test_final(stderr, words):
    found = verdict(stderr, WHO)
    assert found.final
    assert found.sentence.startswith("The gateway may not run jobs as alice: ")
    assert words in found.sentence
    assert stderr.splitlines()[-1] in found.sentence.partition("sudo says: ")[2]
    with pytest.raises(JobRefused):
        parse_answer(Answer(1, "", stderr), "alice", PATH, "dask")


@pytest.mark.parametrize(
    "stderr",
    [
        "sudo: unable to fork: Resource temporarily unavailable",
        "sudo: unable to allocate memory",
        "sudo: unable to open /etc/sudoers: Too many open files in system",
        "sudo: unable to stat /etc/sudoers: Stale file handle",
        "sudo: unable to change to runas uid (1000, 1000): Resource temporarily unavailable",
        f"sudo: unable to execute {PATH}: Input/output error",
        f"sudo: unable to execute {PATH}: Text file busy",
        f"sudo: ldap_sasl_bind_s(): Can't contact LDAP server\n{PASSWORD}",
        f"{PASSWORD}\nsudo: unable to initialize SSS source. Is SSSD installed on your machine?",
        f"sudo: PAM account management error: Authentication service cannot retrieve authentication info\n{PASSWORD}",
        "sudo: PAM account management error: System error",
        "sudo: unable to connect to log server",
        "sudo: a message that nobody has seen before",
        AUDIT,
    ],
)
def test_may_pass(stderr):
    found = verdict(stderr, WHO)
    assert not found.final
    assert stderr.splitlines()[0] in found.sentence
    with pytest.raises(BackendUnavailable):
        parse_answer(Answer(1, "", stderr), "alice", PATH, "dask")


@pytest.mark.parametrize(
    "stderr",
    [
        "",
        "sudo: unable to resolve host edge: Name or service not known",
        "sudo: setrlimit(RLIMIT_CORE): Operation not permitted\nTraceback (most recent call last):\nMemoryError",
        "Traceback (most recent call last):\nMemoryError",
        "/usr/bin/python3: can't open file '/x': [Errno 2] No such file or directory",
    ],
)
def test_not_sudo_s_words(stderr):
    assert verdict(stderr, WHO) is None
    with pytest.raises(BackendUnavailable, match="The launcher failed for alice"):
        parse_answer(Answer(1, "", stderr), "alice", PATH, "dask")


@pytest.mark.parametrize("name", ["LDAP", "sssd", "setuid", "timed"])
def test_names_mean_nothing(name):
    found = verdict(f"sudo: unknown user {name}\n{AUDIT}", Who(username=name, gateway_user="dask", path=PATH))
    assert found.final
    assert f"the user {name} is unknown" in found.sentence


def test_words_are_bounded_and_clean():
    sentence = verdict("sudo: \x1b[2J" + "x" * 100_000, WHO).sentence
    assert len(sentence) < MAX_WORDS + 200
    assert "\x1b" not in sentence


@pytest.mark.parametrize("before", ["", "Last login: today\n"])
def test_warnings_beside_a_good_answer_are_no_failure(before):
    stderr = f"sudo: unable to resolve host edge: Name or service not known\n{PASSWORD}"
    answer = Answer(0, before + '{"ok": true, "text": ""}', stderr)
    assert parse_answer(answer, "alice", PATH, "dask")["ok"] is True


# ---- the real one

GATEWAY, TARGET = "dgt-sudo-gateway", "dgt-sudo-user"
RULES = Path("/etc/sudoers.d/dgt-sudo-test")


def command(*argv):
    return subprocess.run(argv, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def accounts():
    """Two accounts of the test's own; the rule that lets one run a program as the other is removed at the end."""
    if os.geteuid() != 0 or not shutil.which("sudo") or not shutil.which("visudo") or not RULES.parent.is_dir():
        pytest.skip("needs root and sudo")
    try:
        for name in (GATEWAY, TARGET):
            assert command("useradd", "--no-create-home", "--shell", "/bin/bash", name).returncode in (0, 9)
        yield
    finally:
        RULES.unlink(missing_ok=True)
        for name in (GATEWAY, TARGET):
            command("userdel", name)


@pytest.fixture
def sudo(accounts, tmp_path):
    """Runs a program as the target through sudo, under these rules."""

    def run(rules, *, user=TARGET, program="/usr/bin/env", prefix=()):
        new = tmp_path / "rules"
        new.write_text(rules)
        new.chmod(0o440)
        assert command("visudo", "-cqf", str(new)).returncode == 0
        command("install", "-m", "440", str(new), str(RULES))
        try:
            account = pwd.getpwnam(GATEWAY)
            done = subprocess.run(
                [*prefix, "sudo", "-nHu", user, program],
                check=False,
                capture_output=True,
                text=True,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                start_new_session=True,
                timeout=60,
            )
        finally:
            RULES.unlink()
        return done.returncode, verdict(done.stderr, Who(username=user, gateway_user=GATEWAY, path=program))

    return run


RULE = f"{GATEWAY} ALL=({TARGET}) NOPASSWD: /usr/bin/env\n"


@pytest.mark.root
def test_the_real_sudo_runs_what_a_rule_allows(sudo):
    assert sudo(RULE) == (0, None)


@pytest.mark.root
@pytest.mark.parametrize(
    ("rules", "call", "words"),
    [
        ("", {}, "sudo has no rule"),
        (RULE, {"program": "/usr/bin/id"}, "sudo has no rule"),
        (RULE, {"user": "nobody"}, "sudo has no rule"),
        (RULE, {"user": "dgt-no-such-user"}, "is unknown on"),
        (RULE.replace("env", "no-such-program"), {"program": "/usr/bin/no-such-program"}, "does not exist"),
        (f"Defaults:{GATEWAY} requiretty\n{RULE}", {}, "!requiretty"),
        (RULE, {"prefix": ("setpriv", "--no-new-privs")}, "NoNewPrivileges"),
    ],
)
def test_the_real_sudo_refuses(sudo, rules, call, words):
    code, found = sudo(rules or "# nothing\n", **call)
    assert code == 1
    assert found.final
    assert words in found.sentence


@pytest.mark.root
def test_the_real_sudo_and_an_account_that_has_expired(sudo):
    assert command("chage", "-E", "0", GATEWAY).returncode == 0
    try:
        code, found = sudo(RULE)
    finally:
        command("chage", "-E", "-1", GATEWAY)
    assert (code, found.final) == (1, True)
    assert "PAM refuses its account" in found.sentence
    assert "account validation failure" in found.sentence
