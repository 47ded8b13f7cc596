"""Backups of an SQLite database in use, and what can be done with them."""

import errno
import os
import resource
import sqlite3
import stat
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from gateway.errors import StartError
from gateway.store import publishing
from gateway.store.backup import Backup, BackupFailed, back_up
from gateway.store.files import key_file_of
from gateway.store.schema import SCHEMA_VERSION
from tests.support.databases import CLUSTERS, DOCUMENTS, KEYS, change, opened, restore, save
from tests.support.store_records import a_cluster, a_submission


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir(0o700)
    return folder / "one.sqlite"


def backed_up(path: Path, target: Path, *keys: str) -> Backup:
    return back_up(path, target, keys=keys, environment={})


def fill(path: Path, *keys: str) -> None:
    with opened(path, *keys) as database:
        save(database, *(cluster for cluster, _ in CLUSTERS), *CLUSTERS[0][1], *DOCUMENTS)


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def test_a_backup_beside_a_gateway_that_writes(path: Path, target: Path) -> None:
    with opened(path) as database:
        save(database, a_cluster("one"), a_submission("one"))
        # A change that is under way is not in it, and is not held up.
        outcome: list[Backup] = []
        changes = [
            partial(database.tables.save, records=[a_cluster("two")]),
            lambda connection: outcome.append(backed_up(path, target)),
            partial(database.tables.save, records=[a_cluster("three")]),
        ]
        assert database.commit(changes) == [None] * 3
        assert [cluster.name for cluster, _ in database.load()] == ["one", "three", "two"]
    assert outcome[0].findings.clusters == 1
    assert (outcome[0].file, outcome[0].key_file) == (target, target.with_name("one.sqlite.key"))
    assert names(target) == {"one.sqlite", "one.sqlite.key"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in target.parent.iterdir()} == {0o600}
    with opened(target) as database:
        assert database.load() == [(a_cluster("one"), (a_submission("one"),))]


def test_what_only_the_log_of_a_killed_gateway_has_is_in_it(path: Path, target: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    with opened(path) as database:
        save(database, a_cluster("one"))
        # What is on the disk now is what a kill would leave. By another process, lest SQLite's locks be dropped.
        killed.mkdir(0o700)
        subprocess.run(["cp", "-p", *path.parent.glob("test.sqlite*"), killed], check=True)
    assert (killed / "test.sqlite-wal").stat().st_size > 0
    (killed / "test.sqlite-shm").unlink()
    assert backed_up(killed / path.name, target).findings.clusters == 1
    with opened(target) as database:
        assert database.load() == [(a_cluster("one"), ())]


def test_keys_of_the_configuration_are_not_in_it(path: Path, target: Path) -> None:
    fill(path, KEYS[0])
    path.with_name("test.sqlite.key").write_text("of long ago")
    made = backed_up(path, target, KEYS[0])
    assert made.key_file is None
    assert (made.findings.clusters, made.findings.submissions, made.findings.documents) == (2, 2, 2)
    assert names(target) == {"one.sqlite"}
    with opened(target, KEYS[0]) as database:
        assert database.load() == CLUSTERS
    with pytest.raises(BackupFailed, match="not among those configured"):
        backed_up(path, target.with_name("two.sqlite"), KEYS[1])


def test_an_earlier_schema_can_be_backed_up_before_its_upgrade(path: Path, target: Path) -> None:
    restore(f"sqlite:///{path}", 2)
    assert backed_up(path, target, KEYS[0]).findings.schema == 2
    with opened(target, KEYS[0]) as database:
        assert database.preparation.upgraded_from == 2
        assert database.load() == CLUSTERS


@pytest.mark.parametrize("taken", ["one.sqlite", "one.sqlite.key", "one.sqlite.draft"])
@pytest.mark.parametrize("dangling", [True, False])
def test_nothing_is_overwritten(path: Path, target: Path, taken: str, dangling: bool) -> None:
    fill(path)
    obstacle = target.with_name(taken)
    if dangling:
        obstacle.symlink_to("/nowhere/else")
    else:
        obstacle.write_text("precious")
    with pytest.raises(BackupFailed, match=f"{taken} is there") as caught:
        backed_up(path, target)
    assert ("remove" in str(caught.value)) is taken.endswith("draft")
    assert names(target) == {taken}
    assert dangling or obstacle.read_text() == "precious"


def test_a_name_that_is_taken_meanwhile_is_left_alone(
    path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    link = os.link

    def taken_at_the_last_moment(source: Path, name: Path) -> None:
        if name == target:
            target.write_text("precious")
        link(source, name)

    monkeypatch.setattr(os, "link", taken_at_the_last_moment)
    with pytest.raises(BackupFailed, match=r"cannot be backed up to .*one.sqlite: File exists"):
        backed_up(path, target)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("taken", [True, False])
def test_where_files_have_one_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: bool) -> None:
    def no_links(source: Path, name: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    draft, target = tmp_path / "draft", tmp_path / "target"
    draft.write_text("new")
    if taken:
        target.write_text("old")
        with pytest.raises(FileExistsError):
            publishing.publish(draft, target)
        assert (draft.read_text(), target.read_text()) == ("new", "old")
    else:
        publishing.publish(draft, target)
        assert target.read_text() == "new"
        assert not draft.exists()


@pytest.mark.parametrize(
    ("mode", "words"),
    [(0o707, "can be changed by others"), (0o1777, "can be changed by others"), (None, "No such file")],
)
def test_places_that_are_none_for_keys(path: Path, target: Path, mode: int | None, words: str) -> None:
    fill(path)
    if mode is None:
        target.parent.rmdir()
    else:
        target.parent.chmod(mode)
    with pytest.raises(BackupFailed, match=rf"backups is no folder for a backup: .*{words}"):
        backed_up(path, target)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE dask_gateway_clusters SET document = replace(document, 'alice', 'root')", "not as the gateway has"),
        ("DROP TABLE dask_gateway_submissions", "dask_gateway_submissions is missing"),
        (f"UPDATE dask_gateway SET schema_version = {SCHEMA_VERSION + 1}", "newer version"),
    ],
)
def test_what_would_be_of_no_use_is_not_kept(path: Path, target: Path, statement: str, words: str) -> None:
    fill(path)
    change(f"sqlite:///{path}", statement)
    with pytest.raises(BackupFailed, match=f"would be of no use, and is not kept: .*{words}"):
        backed_up(path, target)
    assert names(target) == set()


def test_a_database_of_others(path: Path, target: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE others (x TEXT)")
    with pytest.raises(BackupFailed, match="it has no tables of a gateway"):
        backed_up(path, target, KEYS[0])


def test_a_torn_file_is_noticed(path: Path, target: Path) -> None:
    fill(path)
    with path.open("r+b") as file:
        file.seek(4096 * 2 + 8)  # in a page of a table
        file.write(b"\xff" * 200)
    with pytest.raises((BackupFailed, StartError), match=r"damaged|malformed"):
        backed_up(path, target)
    assert names(target) == set()


def test_a_disk_that_is_full(path: Path, target: Path) -> None:
    fill(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(BackupFailed, match=r"cannot be backed up to .*disk"):
            backed_up(path, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(target) == set()


def test_a_backup_is_one_file_that_needs_no_other(path: Path, target: Path) -> None:
    fill(path)
    backed_up(path, target)
    with closing(sqlite3.connect(f"{target.as_uri()}?mode=ro", uri=True)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert names(target) == {"one.sqlite", "one.sqlite.key"}


def test_names_that_mean_something_in_urls(tmp_path: Path, target: Path) -> None:
    path, made = tmp_path / "a b#c+é.sqlite", target.with_name("d?e#f%41 ö")
    fill(path)
    assert backed_up(path, made).findings.clusters == 2
    for file in (made, key_file_of(made)):
        file.rename(target.with_name(file.name.replace(made.name, target.name)))
    with opened(target) as database:
        assert database.load() == CLUSTERS
