import os
import pwd

import pytest

from gateway.backends import accounts
from gateway.backends.accounts import account_of, own_account
from gateway.errors import JobRefused
from tests.users import ensure_users, is_root


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
