"""Homes, and the directories in which logs are: theirs, writable, reachable."""

import os
import pwd

import pytest

from gateway.doctor.homes import may_write, verdicts
from tests.support.users import is_root


def account(home, uid=None):
    """An account that is not in the system's database but for its name."""
    own = pwd.getpwuid(os.geteuid())
    return pwd.struct_passwd(
        (own.pw_name, "x", own.pw_uid if uid is None else uid, own.pw_gid, "", str(home), "/bin/sh")
    )


def statuses(home, template="{home}/.dask-gateway", uid=None):
    return {one.check.partition("'s ")[2]: one for one in verdicts(account(home, uid), template)}


@pytest.mark.parametrize(
    ("mode", "uid", "gids", "may"),
    [
        (0o700, 1, (), True),
        (0o500, 1, (), False),
        (0o070, 2, (5,), True),
        (0o707, 2, (5,), False),
        (0o003, 2, (), True),
        (0o002, 2, (), False),
    ],
)
def test_who_may_write(mode, uid, gids, may):
    assert may_write(os.stat_result((0o40000 | mode, 0, 0, 0, 1, 5, 0, 0, 0, 0)), uid, gids) is may


def test_a_home_as_it_should_be(tmp_path):
    tmp_path.chmod(0o700)
    found = statuses(tmp_path)
    assert {one.status for one in found.values()} == {"ok"}
    (tmp_path / ".dask-gateway").mkdir()
    assert "can be written" in statuses(tmp_path)["logs"].evidence


def test_homes_that_are_of_no_use(tmp_path):
    home = tmp_path / "home"
    assert "cannot be reached" in statuses(home)["home"].evidence
    home.write_text("")
    assert "no directory" in statuses(home)["home"].evidence
    home.unlink()
    home.mkdir(mode=0o500)
    assert "mode 500" in statuses(home)["home"].evidence
    home.chmod(0o777)
    assert statuses(home)["home"].status == "warning"
    home.chmod(0o755)
    found = statuses(home, uid=os.geteuid() + 12345)
    assert (found["home"].status, list(found)) == ("failed", ["home"])


def test_logs_elsewhere(tmp_path):
    name = pwd.getpwuid(os.geteuid()).pw_name
    scratch = tmp_path / "scratch"
    scratch.mkdir(mode=0o500)
    found = statuses(tmp_path, f"{scratch}/{{username}}/dask")
    assert f"{name} cannot make {scratch}/{name}/dask" in found["logs"].evidence
    (tmp_path / "file").write_text("")
    assert "Not a directory" in statuses(tmp_path, f"{tmp_path}/file/dask")["logs"].evidence


@pytest.mark.skipif(is_root(), reason="root is kept out of nowhere")
def test_logs_that_cannot_be_seen_from_here(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert statuses(tmp_path, f"{tmp_path}/closed/a/b")["logs"].status == "skipped"
