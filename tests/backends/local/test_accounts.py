import grp
import os
import pwd

import pytest

from gateway.backends.local import accounts
from gateway.backends.local.accounts import account_of, own_account, smallest_uid
from gateway.backends.local.backend import LocalBackend, UnsafeLocalBackend
from gateway.errors import JobRefused
from tests.support.users import ensure_users, is_root


@pytest.mark.parametrize("name", ["no-such-user-here", "a\0b", ""])
def test_a_name_without_account_is_refused(name):
    with pytest.raises(JobRefused, match="has no account on this machine"):
        account_of(name)


def test_root_is_refused():
    with pytest.raises(JobRefused, match="not started as root"):
        account_of("root")


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="creates users")
def test_an_account_has_its_groups():
    ensure_users()
    entry = pwd.getpwnam("alice")
    account = account_of("alice")
    assert (account.name, account.uid, account.gid, account.home) == ("alice", entry.pw_uid, entry.pw_gid, entry.pw_dir)
    assert account.gid in account.groups
    assert len(account.groups) == 2


def play_accounts(monkeypatch, **uids):
    """Accounts of these names and numbers; alice is in group 7 as well, which is called dask."""

    def getpwnam(name):
        if name not in uids:
            raise KeyError(name)
        return pwd.struct_passwd((name, "x", uids[name], uids[name], "", f"/home/{name}", "/bin/sh"))

    def getgrnam(name):
        if name != "dask":
            raise KeyError(name)
        return grp.struct_group((name, "x", 7, []))

    monkeypatch.setattr(accounts.pwd, "getpwnam", getpwnam)
    monkeypatch.setattr(accounts.grp, "getgrnam", getgrnam)
    monkeypatch.setattr(accounts.os, "getgrouplist", lambda name, gid: [gid, 7] if name == "alice" else [gid])


def test_services_are_refused(monkeypatch):
    play_accounts(monkeypatch, slurm=64030, munge=110, alice=1000, people=2_000_000_000)
    assert account_of("munge").uid == 110
    with pytest.raises(JobRefused, match=r"'munge' is a service .* 110\).*minimum_uid, which is 1000"):
        account_of("munge", minimum_uid=1000)
    with pytest.raises(JobRefused, match="'slurm' is a service"):
        account_of("slurm", minimum_uid=100_000)
    assert account_of("alice", minimum_uid=1000).uid == 1000
    assert account_of("people", minimum_uid=1000).uid == 2_000_000_000


@pytest.mark.parametrize("uid", [65534, 65535, 2**32 - 2, 2**32 - 1])
def test_nobody_is_refused_whatever_the_smallest_number(monkeypatch, uid):
    play_accounts(monkeypatch, nobody=uid)
    with pytest.raises(JobRefused, match="'nobody' is a service"):
        account_of("nobody")


def test_only_members_of_the_groups(monkeypatch):
    play_accounts(monkeypatch, alice=1000, bob=1001)
    assert account_of("alice", groups=("dask",)).groups == (1000, 7)
    assert account_of("alice", groups=("other", "dask")).uid == 1000
    for groups in (("dask",), ("other",), ("a\0b",)):
        with pytest.raises(JobRefused, match=r"'bob' is in no group that may have clusters .*allowed_groups"):
            account_of("bob", groups=groups)


@pytest.mark.parametrize(
    ("text", "uid"),
    [
        ("UID_MIN\t\t\t 500\nSYS_UID_MIN 100\n#UID_MIN 1\nUID_MAX 60000\n", 500),
        ("UID_MIN 500\n UID_MIN 2000 \n", 2000),
        ("UID_MIN 0\n", 1),
        ("UID_MIN\n", 1000),
        ("", 1000),
        (None, 1000),
    ],
)
def test_the_smallest_number_of_people(tmp_path, text, uid):
    file = tmp_path / "login.defs"
    if text is not None:
        file.write_text(text)
    assert smallest_uid(str(file)) == uid


def test_the_backend_serves_people_of_its_groups(monkeypatch):
    play_accounts(monkeypatch, daemon=1, alice=60_000, bob=60_001)
    monkeypatch.setattr("gateway.backends.local.backend.smallest_uid", lambda: 50_000)
    assert LocalBackend(minimum_uid=1).account_of("daemon").uid == 1
    with pytest.raises(JobRefused, match="which is 50000"):
        LocalBackend().account_of("daemon")
    assert LocalBackend().account_of("bob").uid == 60_001
    with pytest.raises(JobRefused, match="in no group"):
        LocalBackend(allowed_groups=("dask",)).account_of("bob")
    assert UnsafeLocalBackend(allowed_groups=("dask",)).account_of("bob") == own_account()


def test_our_own_account():
    account = own_account()
    assert (account.uid, account.gid) == (os.geteuid(), os.getegid())
    assert account.home.startswith("/")


def test_our_own_account_may_have_no_name(monkeypatch):
    def getpwuid(uid):
        raise KeyError(uid)

    monkeypatch.setattr(accounts.pwd, "getpwuid", getpwuid)
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    account = own_account()
    assert (account.name, account.home) == (str(os.geteuid()), "/somewhere")
