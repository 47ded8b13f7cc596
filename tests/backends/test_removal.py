"""Removing what jobs leave: all of it, nothing beyond, and never without end."""

import errno
import os
import time
from pathlib import Path

import pytest

from gateway.backends import removal
from gateway.backends.removal import BATCH, MAX_DEPTH, MAX_PROBLEMS, empty
from tests.support.trees import make_chain, run_as_nobody
from tests.support.users import is_root

as_root = pytest.mark.skipif(not is_root(), reason="acts as two users")


@pytest.fixture
def top(tmp_path):
    path = tmp_path / "top"
    path.mkdir()
    return path


def emptied(path, *, keep=(), seconds=600.0):
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return empty(descriptor, keep=keep, deadline=time.monotonic() + seconds)
    finally:
        os.close(descriptor)


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1, 2 * MAX_DEPTH + 3, 5000])
def test_a_chain_of_any_length(top, depth):
    make_chain(top, depth)
    before = descriptors()
    assert emptied(top) == []
    assert os.listdir(top) == []
    assert descriptors() == before


def test_a_tree_with_everything(top, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis").write_text("x")
    (outside / "thesis").chmod(0o444)
    for folder in (top, top / "a", top / "a" / "b", top / "empty"):
        folder.mkdir(exist_ok=True)
        (folder / "file").write_text("x")
        (folder / "link").symlink_to(outside)
        (folder / "dangling").symlink_to("/nowhere")
        os.mkfifo(folder / "pipe")
        (folder / "newline\n").write_text("")
        os.link(outside / "thesis", folder / "hard")
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe")).write_text("")
    assert emptied(top) == []
    assert os.listdir(top) == []
    assert (outside / "thesis").read_text() == "x"
    assert (outside / "thesis").stat().st_mode & 0o777 == 0o444


def test_more_names_than_a_batch(top):
    for number in range(2 * BATCH + 1):
        (top / str(number)).touch()
    assert emptied(top, keep=("7", "8000")) == []
    assert sorted(os.listdir(top)) == ["7", "8000"]


def test_kept_names_are_kept_at_the_top_only(top):
    for folder in (top, top / "logs", top / "a"):
        folder.mkdir(exist_ok=True)
        (folder / "x").touch()
    (top / "a" / "logs").mkdir()
    assert emptied(top, keep=("logs",)) == []
    assert os.listdir(top) == ["logs"]
    assert os.listdir(top / "logs") == ["x"]


def test_when_the_time_is_up_the_rest_stays(top):
    make_chain(top, 3)
    before = descriptors()
    assert emptied(top, seconds=-1) == ["there was no time for the rest"]
    assert os.listdir(top)
    assert descriptors() == before


def test_what_cannot_be_removed_is_told_in_a_few_lines_and_keeps_nothing_else(top, monkeypatch):
    for number in range(50):
        (top / f"stays{number}").touch()
        (top / f"goes{number}").touch()
    (top / "folder").mkdir()
    (top / "folder" / "stays").touch()
    unlink = os.unlink

    def fail(name, *, dir_fd):
        if name.startswith("stays"):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(removal.os, "unlink", fail)
    problems = emptied(top)
    assert len(problems) == MAX_PROBLEMS
    assert all(line.endswith(": Operation not permitted") for line in problems)
    assert {name.strip("0123456789") for name in os.listdir(top)} == {"stays", "folder"}


def test_what_goes_meanwhile_is_fine(top, monkeypatch):
    (top / "a").mkdir()
    (top / "a" / "x").touch()
    (top / "b").touch()
    unlink, rmdir = os.unlink, os.rmdir

    def twice(call):
        def wrapped(name, *, dir_fd):
            call(name, dir_fd=dir_fd)
            call(name, dir_fd=dir_fd)

        return wrapped

    monkeypatch.setattr(removal.os, "unlink", twice(unlink))
    monkeypatch.setattr(removal.os, "rmdir", twice(rmdir))
    assert emptied(top) == []
    assert os.listdir(top) == []


def test_what_is_put_there_meanwhile_is_told(top, monkeypatch):
    (top / "a").mkdir()
    (top / "a" / "x").touch()
    rmdir = os.rmdir

    def put(name, *, dir_fd):
        if not (top / "a" / "x").exists():
            (top / "a" / "y").touch()
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(removal.os, "rmdir", put)
    assert emptied(top) == ["'a': Directory not empty"]


def test_another_file_system_is_left_alone(top, monkeypatch):
    (top / "mounted").mkdir()
    (top / "mounted" / "x").touch()
    fstat = os.fstat

    class Elsewhere:
        def __init__(self, status):
            self.st_dev, self.st_uid, self.st_mode = status.st_dev + 1, status.st_uid, status.st_mode

    inode = (top / "mounted").stat().st_ino
    monkeypatch.setattr(
        removal.os, "fstat", lambda fd: Elsewhere(fstat(fd)) if fstat(fd).st_ino == inode else fstat(fd)
    )
    before = descriptors()
    assert emptied(top) == ["'mounted': another file system is mounted there"]
    assert (top / "mounted" / "x").exists()
    assert descriptors() == before


def test_a_directory_that_cannot_be_read_is_told(top, monkeypatch):
    (top / "a").mkdir()
    (top / "a" / "x").touch()
    scandir = os.scandir

    def fail(descriptor):
        if os.readlink(f"/proc/self/fd/{descriptor}") in broken:
            raise OSError(errno.EIO, "Input/output error")
        return scandir(descriptor)

    monkeypatch.setattr(removal.os, "scandir", fail)
    broken = {str(top / "a")}
    assert emptied(top) == ["'a': Input/output error"]
    broken = {str(top)}
    assert emptied(top) == ["'its entries': Input/output error"]


@pytest.mark.root
@as_root
@pytest.mark.parametrize("mode", [0o000, 0o200, 0o400, 0o500])
def test_an_owner_may_always_remove_what_is_theirs(mode):
    """As an ordinary user, for whom modes count."""
    assert (
        run_as_nobody(
            f"""
        make_chain(top, {2 * MAX_DEPTH}, mode={mode})
        (top / "a").mkdir()
        (top / "a" / "x").touch()
        (top / "a").chmod({mode})
        top.chmod({mode} | 0o500)
        descriptor = os.open(top, os.O_RDONLY)
        print(empty(descriptor, deadline=time.monotonic() + 600), os.listdir(descriptor))
        """
        )
        == "[] []"
    )


@pytest.mark.root
@as_root
def test_what_belongs_to_others_is_told_and_not_changed():
    assert (
        run_as_nobody(
            """
        descriptor = os.open(top, os.O_RDONLY)
        print(empty(descriptor, deadline=time.monotonic() + 600), os.listdir(descriptor))
        """,
            prepare="(top / 'theirs').mkdir(mode=0o700); (top / 'theirs' / 'x').touch()",
        )
        == "[\"'theirs': Permission denied\"] ['theirs']"
    )
