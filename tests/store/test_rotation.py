"""Keys that are replaced."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.errors import StartError
from gateway.store.rotation import finish, replace_key
from tests.support.databases import CLUSTERS, DOCUMENTS, KEYS, opened, restore, save
from tests.support.store_records import a_cluster


@pytest.fixture
def key_file(path: Path) -> Path:
    file = path.with_name("test.sqlite.key")
    file.touch(0o600)
    file.write_text(KEYS[0])
    return file


def secrets(path: Path) -> list[bytes]:
    found: list[bytes] = []

    def look(connection: sa.Connection) -> None:
        found.extend(connection.exec_driver_sql("SELECT secrets FROM dask_gateway_clusters").scalars())

    with opened(path) as database:
        assert database.commit([look]) == [None]
    return found


def write(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_key_file_has_a_new_key_and_no_other(path: Path, key_file: Path) -> None:
    restore(f"sqlite:///{path}", 3)
    old = secrets(path)
    with opened(path) as database:
        findings = replace_key(database)
        assert (findings.clusters, findings.of_first_key, findings.problems) == (2, True, ())
        save(database, a_cluster("three"))  # it goes on with the new one
    key = key_file.read_text().strip()
    assert key not in KEYS
    with opened(path, key) as database:
        assert database.load() == sorted([*CLUSTERS, (a_cluster("three"), ())], key=lambda stored: stored[0].name)
        assert database.load_documents() == DOCUMENTS
    assert {file.name for file in path.parent.iterdir()} == {path.name, key_file.name, f"{path.name}.lock"}
    content = path.read_bytes()
    assert not any(secret in content for secret in old)


def test_what_a_key_opened_that_was_replaced_long_ago_goes_as_well(path: Path, key_file: Path) -> None:
    old = []
    for number in range(3):  # tokens that are the same all the time
        with opened(path) as database:
            save(database, *(a_cluster(name, count=number) for name in "abc"))
        old += secrets(path)
    with opened(path) as database:
        replace_key(database)
    content = path.read_bytes()
    assert not any(secret in content for secret in old)


def test_a_row_that_is_not_believed_keeps_the_old_key(path: Path, key_file: Path) -> None:
    restore(f"sqlite:///{path}", 3)
    write(path, "UPDATE dask_gateway_documents SET document = '{}'")
    with opened(path) as database, pytest.raises(StartError, match="is not as the gateway has written it"):
        replace_key(database)
    assert key_file.read_text().split()[1:] == KEYS[:1]
    write(path, "DELETE FROM dask_gateway_documents")
    with opened(path) as database:
        assert database.load() == CLUSTERS
        replace_key(database)
    assert len(key_file.read_text().split()) == 1


def test_keys_of_the_configuration(url: str) -> None:
    restore(url, 3)
    with opened(url, KEYS[1], KEYS[0]) as database:
        assert database.preparation.renewed
        findings = finish(database)
        assert (findings.clusters, findings.submissions, findings.documents) == (2, 2, 2)
    with opened(url, KEYS[1]) as database:
        assert (database.load(), database.load_documents()) == (CLUSTERS, DOCUMENTS)
    with pytest.raises(StartError, match="not among those configured"), opened(url, KEYS[0]):
        pass
