"""The launcher's daemon, as root: whom it obeys, what it becomes, and what is left when a conversation is over."""

import grp
import json
import os
import pwd
import socket
import time
from pathlib import Path

import pytest

from gateway.backends.launcher.program import MAX_REQUEST
from tests.support.launcher_daemon import converse, folder_of_root, open_daemon, start_daemon, write_settings
from tests.support.users import ensure_dask, ensure_users, is_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(not is_root(), reason="becomes other users")]

POLICY = "gateway = dask\ngroups = dask_users"
CANCEL = {"action": "cancel", "rules": "slurm", "arguments": ["12"]}
SUBMIT = {
    "action": "submit",
    "cluster": "launcherd",
    "staging_directory": "{home}/.dask-gateway-launcherd",
    "rules": "slurm",
    "arguments": ["--parsable"],
    "script": "#!/bin/sh\ntrue\n",
    "log": "w1-0.log",
}


@pytest.fixture(scope="module", autouse=True)
def users():
    ensure_dask()
    return ensure_users()


@pytest.fixture
def daemon():
    with open_daemon(POLICY) as daemon:
        yield daemon


def wait_until(true, seconds=20):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def is_there(pid):
    """Whether a process has not ended; one that nobody has reaped yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- becoming a user --------------------------------------------------------------------------------------------------


def test_what_runs_is_the_user_and_has_nothing_of_root_s(daemon):
    daemon.command("scancel", "cat /proc/self/status; umask; pwd; env; ls -l /proc/$$/fd")
    answer = daemon.ask("alice", **CANCEL)
    assert (answer["ok"], answer["returncode"], answer["stderr"]) == (True, 0, "")
    said = answer["stdout"]
    status = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    alice = pwd.getpwnam("alice")
    assert status["Uid"].split() == [str(alice.pw_uid)] * 4
    assert status["Gid"].split() == [str(alice.pw_gid)] * 4
    groups = set(os.getgrouplist("alice", alice.pw_gid))
    assert {int(group) for group in status["Groups"].split()} == groups
    assert grp.getgrnam("dask_users").gr_gid in groups
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert "HOME=/home/alice\n" in said
    assert not [name for name in ("LISTEN_", "NOTIFY_", "SUDO_", "JOURNAL_") if name in said]
    descriptors = [line for line in said.splitlines() if " -> " in line]
    assert len(descriptors) <= 4, descriptors  # its three streams, and the shell's own script
    assert not [line for line in descriptors if "socket:" in line]


def test_files_are_the_users(daemon):
    daemon.command("sbatch", "cat >/dev/null; echo 4711")
    try:
        assert daemon.ask("bob", **SUBMIT)["stdout"] == "4711\n"
        made = Path("/home/bob/.dask-gateway-launcherd/launcherd")
        assert made.stat().st_uid == pwd.getpwnam("bob").pw_uid
        assert daemon.ask("alice", **{**SUBMIT, "action": "tail"})["found"] is False
    finally:
        where = {"cluster": "launcherd", "staging_directory": "{home}/.dask-gateway-launcherd"}
        for user in ("alice", "bob"):
            assert daemon.ask(user, action="clean", **where)["ok"]
            Path(f"/home/{user}/.dask-gateway-launcherd").rmdir() if user == "bob" else None
    assert not made.exists()


def test_rights_are_only_left_to_setuid_programs_where_root_says_so():
    with open_daemon(f"{POLICY}\nno_new_privileges = no") as daemon:
        daemon.command("scancel", "grep NoNewPrivs /proc/self/status")
        assert daemon.ask("alice", **CANCEL)["stdout"].split() == ["NoNewPrivs:", "0"]


def test_the_users_own_process_shows_its_user_nothing(daemon):
    """It is a copy of the daemon until it has ended: memory, environment and descriptors are not alice's to see."""
    daemon.command("scancel", "for part in mem environ fd maps; do cat /proc/$PPID/$part; done; ls /proc/$PPID/fd")
    answer = daemon.ask("alice", **CANCEL)
    assert answer["stdout"] == ""
    assert answer["stderr"].count("Permission denied") == 5, answer


# --- whom it obeys, and as whom it acts -------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["root", "alice", "nobody"])
def test_nobody_but_the_gateway_is_obeyed(daemon, account):
    daemon.command("scancel", "echo ran")
    answer = daemon.ask("alice", account=account, **CANCEL)
    assert (answer["ok"], answer["lost"], answer["away"]) == (False, False, False)
    uids = pwd.getpwnam("dask").pw_uid, pwd.getpwnam(account).pw_uid
    assert answer["error"] == "the launcher daemon obeys uid {} only, not {}".format(*uids)
    assert daemon.ask("alice", **CANCEL)["stdout"] == "ran\n"


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ("root", "jobs are not run as root"),
        ("#0", "is no name of a user"),
        ("0", "is unknown on the gateway's host"),
        ("", "is no name of a user"),
        ("-alice", "is no name of a user"),
        ("alice ", "is no name of a user"),
        ("alice\0", "is no name of a user"),
        ("\udcff", "is no name of a user"),
        ("x" * 5000, "is no name of a user"),
        ("nosuchuser", "the user nosuchuser is unknown on the gateway's host"),
        ("daemon", "the uid 1 is below the minimum_uid 1000"),
        ("dask", "dask may not have jobs: an administrator can add dask to the group dask_users"),
    ],
)
def test_as_whom_it_does_not_act(daemon, user, words):
    daemon.command("scancel", "echo ran")
    answer = daemon.ask(user, **CANCEL)
    assert answer["ok"] is False
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("", "nobody may have jobs until [policy]"),
        ("users = bob carol", "an administrator can add alice to the users that root has listed"),
        ("users = bob\ngroups = nosuchgroup", "the group nosuchgroup, or to the users that root has listed"),
        ("groups = dask_users\nminimum_uid = 60000", "is below the minimum_uid 60000"),
        ("groups = dask_users\ncommands = sbatch", "names the commands that may be run, and scancel is not among them"),
        ("users = alice\nusers = bob, carol\ncommands = scancel", ""),
        ("groups = alice", ""),  # a user's own group, which no list of members has
        ("groups = dask_users\nminimum = 1", ":4: there is no 'minimum' in [policy]"),
    ],
)
def test_the_policy_is_root_s_and_is_obeyed_at_once(daemon, policy, words):
    daemon.command("scancel", "echo ran")
    assert daemon.ask("alice", **CANCEL)["ok"]
    daemon.allow(f"gateway = dask\n{policy}")
    answer = daemon.ask("alice", **CANCEL)
    assert answer["ok"] is not bool(words), answer
    assert words in answer.get("error", "")


def test_a_policy_that_others_could_change_allows_nothing(daemon):
    daemon.command("scancel", "echo ran")
    assert daemon.ask("alice", **CANCEL)["ok"]
    (daemon.folder / "launcher.conf").chmod(0o666)
    assert "can be changed by others than root" in daemon.ask("alice", **CANCEL)["error"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": "run"}, "knows the actions submit, cancel, tail, clean"),
        ({"rules": "bash"}, "knows no batch system 'bash'"),
        ({"rules": "/tmp/launcher_rules.py"}, "are not obeyed"),
        ({"path": "/bin/bash"}, "only runs an absolute path that ends in /scancel"),
        ({"path": "/tmp/scancel"}, "is not run as a user"),
        ({"path": "/home/alice/scancel"}, "is not run as a user"),
        ({"arguments": ["--help"]}, "does not pass the argument"),
        ({**SUBMIT, "arguments": ["--uid=root"]}, "does not pass the argument"),
        ({**SUBMIT, "environment": {"LD_PRELOAD": "/tmp/x.so"}}, "does not pass the variable"),
        ({**SUBMIT, "environment": {"SLURM_CONF": "/tmp/x"}}, "does not pass the variable"),
        ({**SUBMIT, "cluster": "../.ssh"}, "bad value of 'cluster'"),
        ({**SUBMIT, "log": "../../.bashrc"}, "bad value of 'log'"),
        ({**SUBMIT, "staging_directory": "/root"}, "Permission denied"),
        ({**SUBMIT, "staging_directory": "/etc/dask-gateway"}, "cannot be made"),
    ],
)
def test_the_gateway_gets_no_other_command(daemon, change, words):
    for name in ("sbatch", "scancel"):
        daemon.command(name, f"echo ran > {daemon.folder}/ran; echo ran")
    answer = daemon.ask("alice", **{**CANCEL, **change})
    assert answer["ok"] is False, answer
    assert words in answer["error"]


def test_more_than_a_request_may_have_is_refused(daemon):
    answered = converse(daemon.connect(), "alice", b" " * (MAX_REQUEST + 1000))
    assert f"more than {MAX_REQUEST} bytes" in json.loads(answered)["error"]


# --- processes --------------------------------------------------------------------------------------------------------

#: Leaves a child that has left its session and its parents, and says who that is in a file.
LEAVE = """
setsid sh -c 'sh -c "echo \\$\\$ > $1.tmp; mv $1.tmp $1; exec sleep 600" - "$1" >/dev/null 2>&1 &' - "{note}"
while ! [ -e "{note}" ]; do sleep 0.01; done
"""
STAY = LEAVE + "exec sleep 600"


@pytest.fixture
def note(tmp_path_factory):
    """A file that alice can write."""
    with folder_of_root() as folder:
        os.chown(folder, pwd.getpwnam("alice").pw_uid, -1)
        yield folder / "note"


def begin(daemon, user, **request):
    """A conversation whose answer is not awaited."""
    connection = daemon.connect()
    connection.sendall(user.encode() + b"\n" + json.dumps(request).encode())
    connection.shutdown(socket.SHUT_WR)
    return connection


def test_a_gateway_that_goes_away_takes_its_conversations_with_it(daemon, note):
    daemon.command("scancel", STAY.format(note=note))
    with begin(daemon, "alice", **CANCEL):
        wait_until(note.exists)
        left = int(note.read_text())
        (keeper,) = daemon.conversations()
        assert is_there(left)
    wait_until(lambda: not daemon.conversations())
    assert not is_there(left)
    assert not is_there(keeper)


def test_nothing_is_left_of_a_conversation_that_is_over(daemon, note):
    daemon.command("scancel", LEAVE.format(note=note))
    assert daemon.ask("alice", **CANCEL)["ok"]
    assert not is_there(int(note.read_text()))


def test_a_command_has_a_deadline(daemon, note):
    daemon.command("scancel", STAY.format(note=note))
    answer = daemon.ask("alice", **CANCEL, seconds=1)
    assert answer["error"] == "scancel did not answer within 1 seconds"
    assert answer["lost"] is True
    wait_until(lambda: not daemon.conversations())
    assert not is_there(int(note.read_text()))


@pytest.mark.parametrize(("number", "how"), [("KILL", "by signal 9"), ("TERM", "by signal 15")])
def test_a_launcher_that_its_user_ends_may_have_submitted(daemon, number, how):
    daemon.command("scancel", f"kill -{number} $PPID; sleep 600")
    answer = daemon.ask("alice", **CANCEL)
    assert answer == {"ok": False, "error": f"the launcher was ended {how}", "lost": True, "away": False}


def test_children_are_reaped_and_no_conversation_is_left(daemon):
    daemon.command("scancel", "exit 3")
    for _ in range(20):
        assert daemon.ask("alice", **CANCEL)["returncode"] == 3
    wait_until(lambda: not daemon.conversations())
    assert len(os.listdir(f"/proc/{daemon.pid}/fd")) < 10


def test_who_hangs_up_at_once_or_says_nothing_is_no_trouble(daemon):
    daemon.command("scancel", "echo ran")
    silent = [daemon.connect() for _ in range(10)]
    for _ in range(20):
        daemon.connect().close()
    assert daemon.ask("alice", **CANCEL)["stdout"] == "ran\n"
    for connection in silent:
        connection.close()
    wait_until(lambda: not daemon.conversations())


def test_it_waits_for_conversations_when_it_is_stopped(daemon, note):
    daemon.command("scancel", f"touch {note}; while [ -e {note} ]; do sleep 0.01; done; echo done")
    with begin(daemon, "alice", **CANCEL) as connection:
        wait_until(note.exists)
        daemon.process.terminate()
        late = daemon.connect()  # it stays in the queue for the next daemon
        note.unlink()
        assert json.loads(connection.recv(65536))["stdout"] == "done\n"
        late.close()
    assert daemon.process.wait(20) == 0


# --- as a program -----------------------------------------------------------------------------------------------------


def starts(settings, *listeners, **changes):
    """Why it does not start."""
    process = start_daemon(settings, *listeners, **changes)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    return said


def test_what_it_needs_is_said_at_the_start():
    with folder_of_root() as folder, socket.socket(socket.AF_UNIX) as listener, socket.socket() as other:
        listener.bind(str(folder / "launcher.sock"))
        settings = write_settings(folder, POLICY, ())
        assert "systemctl start dask-gateway-launcherd.socket" in starts(settings)
        assert "is no listening Unix stream socket" in starts(settings, listener)
        listener.listen()
        other.listen()
        assert "is no listening Unix stream socket" in starts(settings, other)
        assert "systemd has to hand over one socket" in starts(settings, listener, other)
        assert "has to be root" in starts(settings, listener, user="nobody")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("groups = dask_users", "[policy] in root's settings does not name the gateway's account"),
        ("gateway = nosuchuser", "the gateway's account nosuchuser is unknown"),
        ("gateway = root", "the gateway's account must not be root"),
        ("gateway = 0", "the gateway's account must not be root"),
        ("gateway = -x", ":2: gateway must be the name or the number of an account"),
    ],
)
def test_until_it_is_known_whom_to_obey_it_says_why_and_then_goes_on(policy, words):
    with open_daemon(policy) as daemon:
        daemon.command("scancel", "echo ran")
        for _ in range(3):
            answer = daemon.ask("alice", **CANCEL)
            assert (answer["ok"], answer["away"], answer["lost"]) == (False, True, False)
            assert words in answer["error"]
        daemon.allow(POLICY)
        assert daemon.ask("alice", **CANCEL)["stdout"] == "ran\n"
