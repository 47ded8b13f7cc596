"""The blocking half of the store, on SQLite and on a real PostgreSQL."""

import os
import resource
import secrets
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import StartError
from gateway.models import ClusterRecord, ClusterStatus, Guest, Role
from gateway.store import tables as store_tables
from gateway.store.database import Database
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.seals import Seals
from tests.support.databases import KEYS, opened, save
from tests.support.postgres import Postgres
from tests.support.store_records import a_cluster, a_submission


def stored_names(database: Database) -> list[str]:
    return [cluster.name for cluster, _ in database.load()]


def test_records_come_back_as_they_were(url: str) -> None:
    full = a_cluster(
        "full",
        status=ClusterStatus.FAILED,
        reason="exit code 1",
        count=3,
        groups=2,
        scheduler_address="tls://n1:1",
        dashboard_address="http://n1:2",
        api_address="http://n1:3",
        stop_time=1_800_000_000_000,
        share_view=("carol", "@staff"),
        share_use=("bob",),
        guests=(Guest("bob", "bob", "r1", "p1"), Guest("dave", "@staff", "r2", "p2")),
        route="two-alices-own",
    )
    intent = a_submission("one", "s", role=Role.SCHEDULER, count=1, jobs=None)
    with opened(url) as database:
        save(database, full)
        save(database, a_submission(), intent, a_cluster())  # whatever the order
        expected = [(full, ()), (a_cluster(), (intent, a_submission()))]
        assert database.load() == expected
    with opened(url) as database:
        assert database.load() == expected


def test_saving_again_replaces(url: str) -> None:
    with opened(url) as database:
        save(database, a_cluster(), a_submission(jobs=None))
        save(database, a_cluster(count=5, token="new"), a_submission())
        assert database.load() == [(a_cluster(count=5, token="new"), (a_submission(),))]


def test_the_oldest_come_first(url: str) -> None:
    with opened(url) as database:
        save(database, a_cluster("c", start_time=2), a_cluster("a", start_time=3), a_cluster("b", start_time=2))
        assert stored_names(database) == ["b", "c", "a"]


def test_forgetting(url: str) -> None:
    with opened(url) as database:
        tables = database.tables
        save(database, *map(a_cluster, "abc"), *(a_submission(c, g) for c in "abc" for g in ("w1", "w2", "w3")))
        forget_some = partial(tables.forget_submissions, cluster="a", groups=["w1", "w3", "unknown"])
        forget_one = partial(tables.forget_clusters, names=["b", "unknown"])
        nothing = partial(tables.forget_clusters, names=[])
        assert database.commit([forget_some, forget_one, nothing]) == [None] * 3
        remaining = {cluster.name: [s.group for s in submissions] for cluster, submissions in database.load()}
        assert remaining == {"a": ["w2"], "c": ["w1", "w2", "w3"]}


texts = st.text(alphabet=st.characters(codec=None), max_size=30)


@settings(max_examples=50)
@given(reason=texts, token=texts, options=st.dictionaries(texts, st.integers() | texts | st.none(), max_size=3))
def test_any_text_survives(reason: str, token: str, options: dict[str, object]) -> None:
    record = a_cluster(reason=reason, token=token, options=options)
    with opened("sqlite://") as database:
        save(database, record)
        assert database.load() == [(record, ())]


def test_hostile_text_survives(url: str) -> None:
    # A NUL, a lone surrogate, a number of 100 digits: jobs print, and users ask for, anything.
    record = a_cluster(reason="\x00 \udcff \U0001f600 '; DROP TABLE", options={"\x00": 10**100})
    with opened(url) as database:
        save(database, record)
        assert database.load() == [(record, ())]


def fail(connection: sa.Connection, error: Exception) -> None:
    connection.execute(sa.text("INSERT INTO dask_gateway_clusters VALUES ('left over', '', '', '')"))
    raise error


def test_a_failing_change_fails_alone(url: str) -> None:
    with opened(url) as database:
        clusters = [partial(database.tables.save, records=[a_cluster(name)]) for name in ("a", "b")]
        orphan = partial(database.tables.save, records=[a_cluster("c"), a_submission("unknown")])
        bug = partial(fail, error=KeyError("bug"))
        first, refused, broken, last = database.commit([clusters[0], orphan, bug, clusters[1]])
        assert first is last is None
        assert type(refused) is StoreError
        assert "does not accept" in str(refused)
        assert isinstance(refused.__cause__, sa.exc.IntegrityError)
        assert isinstance(broken, KeyError)
        assert stored_names(database) == ["a", "b"]


def test_a_record_that_is_no_json_is_its_callers_error(url: str) -> None:
    with opened(url) as database:
        bad = partial(database.tables.save, records=[a_cluster("a"), a_cluster("b", options={"x": object()})])
        good = partial(database.tables.save, records=[a_cluster("c")])
        error, none = database.commit([bad, good])
        assert isinstance(error, TypeError)
        assert none is None
        assert stored_names(database) == ["c"]


def test_secrets_are_not_readable_in_the_file(path: Path) -> None:
    guest = Guest("bob", "@physics", "route-of-bob", "dashboard-of-bob")
    with opened(path) as database:
        save(database, cluster := a_cluster(route="route-of-alice", guests=(guest,)))
        assert [record for record, _ in database.load()] == [cluster]
    content = path.read_bytes()
    assert b"alice" in content
    assert not [secret for secret in (b"token-of", b"key-of", b"route-of", b"dashboard-of") if secret in content]


def test_files_are_for_their_owner_alone(path: Path) -> None:
    path.touch(0o644)
    with opened(path) as database:
        save(database, a_cluster())
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    suffixes = ("", "-shm", "-wal", ".key", ".lock")
    assert files == {f"test.sqlite{suffix}": 0o600 for suffix in suffixes}


def test_sqlite_is_durable_by_its_settings(path: Path) -> None:
    pragmas = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    with opened(path) as database:

        def check(connection: sa.Connection) -> None:
            for name, value in pragmas.items():
                assert connection.exec_driver_sql(f"PRAGMA {name}").scalar() == value

        assert database.commit([check]) == [None]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_in_memory(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(url) as database, opened(url) as other:
        save(database, a_cluster())
        assert stored_names(database) == ["one"]
        assert stored_names(other) == []
    with opened(url) as database:
        assert database.load() == []
    assert not list(tmp_path.iterdir())


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened("sqlite:///here.sqlite") as database:
        monkeypatch.chdir("/")
        save(database, a_cluster())
    with opened(tmp_path / "here.sqlite") as database:
        assert stored_names(database) == ["one"]


def test_second_gateway_is_refused(url: str) -> None:
    with opened(url) as database:
        with pytest.raises(StartError, match="Another process uses the database"), opened(url):
            pass
        save(database, a_cluster())
    with opened(url) as database:
        assert stored_names(database) == ["one"]


def test_lock_names_its_owner_and_sees_through_links(path: Path) -> None:
    link = path.parent / "link.sqlite"
    link.symlink_to(path)
    words = rf"database {path} \(the gateway, process {os.getpid()} on "
    with opened(path), pytest.raises(StartError, match=words), opened(link):
        pass


def test_keys_are_rotated(url: str) -> None:
    with opened(url, KEYS[0]) as database:
        save(database, a_cluster("a"), a_cluster("b"))
    with opened(url, KEYS[1], KEYS[0]) as database:
        assert stored_names(database) == ["a", "b"]
    with opened(url, KEYS[1]) as database:  # the old key is not needed any more
        assert database.load() == [(a_cluster("a"), ()), (a_cluster("b"), ())]
    with pytest.raises(StartError, match=r"not among those configured.*db_encrypt_keys"), opened(url, KEYS[0]):
        pass
    with opened(url, KEYS[1], KEYS[0]) as database:
        assert stored_names(database) == ["a", "b"]


def rewrite(url: str, table: str, change: Callable[[str], str]) -> None:
    """Change a table's documents as a gateway of another version would: with the seals that belong to them."""
    with opened(url) as database:

        def rewrite_rows(connection: sa.Connection) -> None:
            found = store_tables.METADATA.tables[f"dask_gateway_{table}"]
            for row in connection.execute(sa.select(found)).all():
                values = {**row._mapping, "document": change(row.document)}
                connection.execute(found.update().values(Seals(database.cipher).sealed(found, values)))

        assert database.commit([rewrite_rows]) == [None]


@pytest.mark.parametrize("document", ["no json", "[]", "{}", '{"name": "one"}', '{"status": "ODD"}'])
@pytest.mark.parametrize("table", ["clusters", "submissions"])
def test_unreadable_record_is_named(url: str, document: str, table: str) -> None:
    with opened(url) as database:
        save(database, a_cluster(), a_submission())
    rewrite(url, table, lambda _: document)
    with opened(url) as database, pytest.raises(StartError, match=r"cluster one.*cannot be read"):
        database.load()


def test_fields_of_other_versions(url: str) -> None:
    with opened(url) as database:
        save(database, a_cluster(groups=3))
    rewrite(url, "clusters", lambda document: document.replace('"groups": 3', '"later": 1'))
    with opened(url) as database:
        assert database.load() == [(a_cluster(groups=0), ())]


@pytest.mark.parametrize("moment", ["loading", "rotating"])
def test_garbled_secrets_are_named(url: str, moment: str) -> None:
    with opened(url, KEYS[0]) as database:
        save(database, a_cluster())
        change = sa.text("UPDATE dask_gateway_clusters SET secrets = :garbled").bindparams(garbled=b"garbled")
        assert database.commit([lambda connection: connection.execute(change)]) == [None]
    keys = [KEYS[0]] if moment == "loading" else [KEYS[1], KEYS[0]]
    with pytest.raises(StartError, match="cluster one in the database is not as"), opened(url, *keys) as database:
        database.load()


def test_lost_key_file(path: Path) -> None:
    with opened(path) as database:
        save(database, a_cluster())
    path.with_name("test.sqlite.key").unlink()
    with pytest.raises(StartError, match="is missing"), opened(path):
        pass


def pragma(database: Database, setting: str) -> None:
    """Change a setting of the database's only connection."""
    with closing(database._engine.raw_connection()) as connection:
        connection.cursor().execute(f"PRAGMA {setting}")


def breaks_statements(database: Database, path: Path) -> Callable[[], None]:
    """Let SQLite run out of pages: a statement fails, and SQLite gives up the transaction."""
    pragma(database, "max_page_count = 1")  # means: as many as there are
    return lambda: pragma(database, "max_page_count = 1000000")


def breaks_commits(database: Database, path: Path) -> Callable[[], None]:
    """Let the write-ahead log grow no more, as on a full disk: COMMIT fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def makes_read_only(database: Database, path: Path) -> Callable[[], None]:
    """Let SQLite refuse to write, as it does with a file it may not write."""
    pragma(database, "query_only = ON")
    return lambda: pragma(database, "query_only = OFF")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (breaks_statements, "database or disk is full"),
        (breaks_commits, "disk I/O error|disk is full"),
        (makes_read_only, "attempt to write a readonly database"),
    ],
)
def test_database_that_cannot_be_written(
    path: Path, harm: Callable[[Database, Path], Callable[[], None]], words: str
) -> None:
    large = [a_cluster(name, reason="x" * 100_000) for name in "ab"]
    with opened(path) as database:
        save(database, a_cluster())
        changes = [partial(database.tables.save, records=[record]) for record in large]
        heal = harm(database, path)
        try:
            errors = database.commit(changes)
        except StoreUnavailable as error:
            errors = [error, error.again()]
        finally:
            heal()
        for error in errors:
            assert isinstance(error, StoreUnavailable)
            assert error.status == 503
        with pytest.raises(StoreUnavailable, match=words):
            raise errors[0]  # type: ignore[misc]
        assert stored_names(database) == ["one"]
        assert database.commit(changes) == [None, None]
        assert stored_names(database) == ["a", "b", "one"]


def test_probe_writes_and_changes_nothing(url: str) -> None:
    with opened(url) as database:
        save(database, a_cluster())
        assert database.commit([database.tables.probe]) == [None]
        assert stored_names(database) == ["one"]


def test_probe_notices_a_full_disk(path: Path) -> None:
    with opened(path) as database:
        heal = breaks_commits(database, path)
        try:
            with pytest.raises(StoreUnavailable):
                database.commit([database.tables.probe])
        finally:
            heal()
        assert database.commit([database.tables.probe]) == [None]


def test_unreadable_database(path: Path) -> None:
    with opened(path) as database:
        tear = sa.text("DROP TABLE dask_gateway_submissions")
        assert database.commit([lambda connection: connection.execute(tear)]) == [None]
        with pytest.raises(StoreUnavailable, match="cannot be read: no such table"):
            database.load()


def test_others_may_read_meanwhile(path: Path) -> None:
    with opened(path), closing(sqlite3.connect(path)) as shell:
        assert shell.execute("SELECT count(*) FROM dask_gateway_clusters").fetchone() == (0,)


def test_file_that_is_no_database(path: Path) -> None:
    path.write_text("something else " * 100)
    with pytest.raises(StartError, match="cannot be used: file is not a database"), opened(path, KEYS[0]):
        pass


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nonsense secret", "db_url is not a database URL"),
        ("postgresql://user:secret@host:port/x", "db_url is not a database URL"),
        ("mysql://user:secret@host/x", "mysql is not supported"),
        ("sqlite:///file:x?uri=true", "parameters"),
        ("sqlite:////nowhere/secret.sqlite", "No such file or directory"),
        ("postgresql://user:secret@127.0.0.1:1/x?connect_timeout=1&password=secret", "127.0.0.1.*refused"),
    ],
)
def test_urls_that_cannot_be_used(url: str, words: str) -> None:
    with pytest.raises(StartError, match=words) as caught, opened(url, KEYS[0]):
        pass
    assert "secret" not in str(caught.value).replace("/secret.sqlite", "")


def test_debug_prints_statements_without_values(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(path, debug=True) as database:
        save(database, a_cluster(username="somebody"))
    output = capsys.readouterr().out
    assert "INSERT INTO dask_gateway_clusters" in output
    assert "somebody" not in output


def database_name(url: str) -> str:
    return sa.make_url(url).database or ""


LOCKS = """SELECT pid FROM pg_locks JOIN pg_database ON database = pg_database.oid
           WHERE locktype = 'advisory' AND datname = '{}'"""


def end_session(server: Postgres, url: str) -> None:
    """As an administrator, or a restart of the server, does it."""
    ((pid,),) = server.execute("postgres", LOCKS.format(database_name(url)))
    assert server.execute("postgres", f"SELECT pg_terminate_backend({pid}, 10000)") == [(True,)]


def test_postgresql_connection_is_made_anew_with_its_lock(postgres: Postgres) -> None:
    url = postgres.new_database()
    with opened(url) as database:
        save(database, a_cluster("a"))
        end_session(postgres, url)
        save(database, a_cluster("b"))
        assert stored_names(database) == ["a", "b"]
        with pytest.raises(StartError, match="Another process uses the database"), opened(url):
            pass


def test_postgresql_connection_lost_within_a_group(postgres: Postgres) -> None:
    url = postgres.new_database()
    end_own = sa.text("SELECT pg_terminate_backend(pg_backend_pid())")
    with opened(url) as database:
        changes = [partial(database.tables.save, records=[a_cluster(name)]) for name in "ab"]
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            database.commit([changes[0], lambda connection: connection.execute(end_own), changes[1]])
        assert stored_names(database) == []
        assert database.commit(changes) == [None, None]


def test_postgresql_statement_that_is_beyond_a_limit_fails_alone(postgres: Postgres) -> None:
    with opened(postgres.new_database()) as database:
        names = ["a", secrets.token_hex(10_000), "b"]  # too long for an index
        first, error, last = database.commit([partial(database.tables.save, records=[a_cluster(n)]) for n in names])
        assert first is last is None
        assert isinstance(error, StoreUnavailable)
        assert stored_names(database) == ["a", "b"]


def test_postgresql_lock_lost_to_another_gateway(postgres: Postgres) -> None:
    url = postgres.new_database()
    with opened(url) as database:
        end_session(postgres, url)
        with opened(url) as other:
            save(other, a_cluster("theirs"))
            for attempt in (database.load, lambda: database.commit([database.tables.probe])):
                with pytest.raises(StoreUnavailable, match="Another process uses the database"):
                    attempt()
        save(database, a_cluster("ours"))


def test_postgresql_commits_durably_even_where_that_is_off(postgres: Postgres) -> None:
    url = postgres.new_database()
    postgres.execute("postgres", f"ALTER DATABASE {database_name(url)} SET synchronous_commit = off")
    with opened(url) as database:

        def check(connection: sa.Connection) -> None:
            assert connection.execute(sa.text("SHOW synchronous_commit")).scalar() == "on"

        assert database.commit([check]) == [None]


def test_postgresql_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with (
        pytest.raises(StartError, match=r"dask-gateway-trio\[postgresql\]"),
        opened("postgresql://user@host/x", KEYS[0]),
    ):
        pass


def test_records_hide_their_secrets() -> None:
    assert isinstance(a_cluster(), ClusterRecord)
    assert "token-of-one" not in repr(a_cluster())
