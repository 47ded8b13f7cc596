"""How databases of earlier versions get today's schema, on SQLite and on a real PostgreSQL."""

import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from structlog.testing import capture_logs

from gateway.errors import StartError
from gateway.store.copies import keep_copy
from gateway.store.database import Database
from gateway.store.engines import open_engine
from gateway.store.migrations import STEPS, Step
from gateway.store.schema import SCHEMA_VERSION, Preparation, prepare
from gateway.store.seals import Seals
from gateway.store.tables import INFO, METADATA
from tests.support.databases import CLUSTERS, DATA, DOCUMENTS, KEYS, change, opened, restore, save
from tests.support.postgres import Postgres
from tests.support.store_records import a_cluster, a_submission

OLDER = range(1, SCHEMA_VERSION)
_NEWER = f"UPDATE dask_gateway SET schema_version = {SCHEMA_VERSION + 1}"


def documents(schema: int) -> object:
    return DOCUMENTS if schema > 1 else []


def inside(database: Database, look: object) -> None:
    """Call something with the database's connection."""
    assert database.commit([look]) == [None]  # type: ignore[list-item]


def difference(connection: sa.Connection) -> Sequence[object]:
    """What alembic would still do to bring the tables to the form that they have in tables.py."""

    def ours(name: str | None, kind: str, parents: object) -> bool:
        return kind != "table" or (name or "").startswith(INFO.name)

    return compare_metadata(MigrationContext.configure(connection, opts={"include_name": ours}), METADATA)


def check_tables(connection: sa.Connection) -> None:
    assert difference(connection) == []
    inspector = sa.inspect(connection)
    for table in METADATA.sorted_tables:  # seals depend on the order
        assert [c["name"] for c in inspector.get_columns(table.name)] == [c.name for c in table.columns]


def test_steps_lead_to_the_schema_of_today() -> None:
    assert [step.schema for step in STEPS] == list(range(2, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("schema", OLDER)
def test_a_database_of_an_earlier_version_is_upgraded(url: str, schema: int) -> None:
    restore(url, schema)
    with capture_logs() as logs, opened(url, KEYS[0]) as database:
        assert database.preparation.upgraded_from == schema
        assert (database.load(), database.load_documents()) == (CLUSTERS, documents(schema))
        inside(database, check_tables)
    (line,) = [line for line in logs if line["event"] == "database upgraded"]
    assert (line["before"], line["now"]) == (schema, SCHEMA_VERSION)
    with opened(url, KEYS[0]) as database:
        assert database.preparation == Preparation()
        assert (database.load(), database.load_documents()) == (CLUSTERS, documents(schema))
        save(database, a_cluster("three"), a_submission("three"))
    change(url, "UPDATE dask_gateway_clusters SET document = replace(document, 'bob', 'eve')", KEYS[0])
    with opened(url, KEYS[0]) as database, pytest.raises(StartError, match=r"cluster two .* not as the gateway"):
        database.load()


def test_a_database_of_the_schema_of_today_is_left_as_it_is(url: str) -> None:
    # When this fails because the tables have changed: the change needs a number and a step, then another recording.
    restore(url, SCHEMA_VERSION)
    with opened(url, KEYS[0]) as database:
        assert database.preparation == Preparation()
        assert (database.load(), database.load_documents()) == (CLUSTERS, DOCUMENTS)
        inside(database, check_tables)


@pytest.mark.parametrize("kind", ["sql", "postgresql.sql"])
def test_each_schema_is_recorded(kind: str) -> None:
    known = range(1 if kind == "sql" else 2, SCHEMA_VERSION + 1)
    assert {f"schema-{schema}.{kind}" for schema in known} <= {file.name for file in DATA.iterdir()}


def test_new_tables_are_those_of_today(url: str) -> None:
    with opened(url) as database:
        assert database.preparation == Preparation(made=True)
        inside(database, check_tables)


def test_schema_2_from_before_there_were_documents(url: str) -> None:
    restore(url, 2, "DROP TABLE dask_gateway_documents")
    with opened(url, KEYS[0]) as database:
        assert (database.load(), database.load_documents()) == (CLUSTERS, [])
        inside(database, check_tables)


@pytest.mark.parametrize("schema", OLDER)
def test_an_upgrade_takes_a_new_key_as_well(url: str, schema: int) -> None:
    restore(url, schema)
    with opened(url, KEYS[1], KEYS[0]) as database:
        assert database.preparation.renewed
        assert database.load() == CLUSTERS
    with opened(url, KEYS[1]) as database:
        assert (database.load(), database.load_documents()) == (CLUSTERS, documents(schema))


# --- what cannot be upgraded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "statement", "words"),
    [
        (1, "UPDATE dask_gateway_clusters SET secrets = '' WHERE name = 'two'", "secrets of cluster two"),
        (1, "INSERT INTO dask_gateway_clusters SELECT 'three', 'x', '' FROM dask_gateway", "secrets of cluster three"),
        (2, "UPDATE dask_gateway_clusters SET seal = ''", "cluster one .* not as the gateway"),
        (2, "UPDATE dask_gateway_submissions SET name = 'w2' WHERE name = 'w1'", "submission w2 .* not as the gateway"),
        (2, "UPDATE dask_gateway_documents SET name = 'x'", "tokens x .* not as the gateway"),
        (2, "DELETE FROM dask_gateway", "dask_gateway is missing or empty"),
        (2, "DROP TABLE dask_gateway", "dask_gateway is missing or empty"),
        (2, "DROP TABLE dask_gateway_submissions", "the table dask_gateway_submissions is missing"),
        (3, "DROP TABLE dask_gateway_submissions", "the table dask_gateway_submissions is missing"),
        (3, "ALTER TABLE dask_gateway_documents DROP COLUMN seal", "has no column seal"),
        (3, _NEWER, f"newer version of the gateway .its schema is {SCHEMA_VERSION + 1}, .* knows {SCHEMA_VERSION}"),
    ],
)
def test_what_cannot_be_upgraded_stays_as_it_was(url: str, schema: int, statement: str, words: str) -> None:
    if schema == 2 and "SET name = 'x'" in statement:
        statement += " WHERE name = 'a1'"
    restore(url, schema, statement)
    for _ in range(2):
        with pytest.raises(StartError, match=words), opened(url, KEYS[0]):
            pass


def test_a_number_in_the_place_of_secrets(path: Path) -> None:
    restore(f"sqlite:///{path}", 1, "UPDATE dask_gateway_clusters SET secrets = 1000000000000")
    with pytest.raises(StartError, match=r"secrets of cluster one"), opened(path, KEYS[0]):
        pass


def test_a_number_in_the_place_of_the_key_check(path: Path) -> None:
    restore(f"sqlite:///{path}", SCHEMA_VERSION, "UPDATE dask_gateway SET key_check = 1000000000000")
    with pytest.raises(StartError, match="not among those configured"), opened(path, KEYS[0]):
        pass


def prepare_by(url: str, *more: Step) -> Preparation:
    """Upgrade a database by the steps there are, and then by these."""
    with ExitStack() as cleanup:
        opened = open_engine(url, keys=KEYS[:1], environment={}, debug=False, holder="a test", cleanup=cleanup)
        return prepare(opened.engine, Seals(opened.keys.cipher()), lambda schema: None, steps=(*STEPS, *more))


def fail(to: Operations) -> None:
    to.add_column("dask_gateway_clusters", sa.Column("half", sa.Text))
    to.execute("INSERT INTO dask_gateway_clusters (name) VALUES ('half')")


def crash(to: Operations) -> None:
    to.drop_table("dask_gateway_documents")
    raise KeyboardInterrupt


@pytest.mark.parametrize("schema", OLDER)
@pytest.mark.parametrize(("step", "error"), [(fail, StartError), (crash, KeyboardInterrupt)])
def test_an_upgrade_that_fails_half_way_leaves_nothing(
    url: str, schema: int, step: object, error: type[BaseException]
) -> None:
    restore(url, schema)
    with pytest.raises(error) as caught:
        prepare_by(url, Step(SCHEMA_VERSION, "fails", step))  # type: ignore[arg-type]
    if error is StartError:
        assert "cannot be upgraded" in str(caught.value)
        assert "is as it was" in str(caught.value)
    with opened(url, KEYS[0]) as database:
        assert database.preparation.upgraded_from == schema
        assert database.load() == CLUSTERS
        inside(database, check_tables)


def make_anew(to: Operations) -> None:
    """As SQLite has to, for what is more than an added column."""
    with to.batch_alter_table("dask_gateway_clusters", recreate="auto") as table:
        table.alter_column("document", server_default="{}")


def test_a_step_may_make_a_table_anew(url: str) -> None:
    restore(url, 2)
    prepare_by(url, Step(SCHEMA_VERSION, "makes a table anew", make_anew))
    with opened(url, KEYS[0]) as database:
        assert database.load() == CLUSTERS  # with their submissions, which refer to it
        inside(database, check_tables)
    change(url, "DELETE FROM dask_gateway_clusters WHERE name = 'one'", KEYS[0])
    with opened(url, KEYS[0]) as database:
        assert database.load() == CLUSTERS[1:]

        def nothing_left(connection: sa.Connection) -> None:
            assert connection.exec_driver_sql("SELECT * FROM dask_gateway_submissions").all() == []

        inside(database, nothing_left)


def orphan(to: Operations) -> None:
    to.execute("DELETE FROM dask_gateway_clusters WHERE name = 'one'")


def test_a_step_may_not_leave_submissions_without_their_cluster(path: Path) -> None:
    url = f"sqlite:///{path}"
    restore(url, 2)
    with pytest.raises(StartError, match="a row of dask_gateway_submissions belongs to nothing"):
        prepare_by(url, Step(SCHEMA_VERSION, "orphans", orphan))
    with opened(url, KEYS[0]) as database:
        assert database.load() == CLUSTERS


# --- the copy that is kept --------------------------------------------------------------------------------------------


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def test_a_copy_of_before_is_kept_with_its_key(path: Path) -> None:
    restore(f"sqlite:///{path}", 2)
    key_file = path.with_name("test.sqlite.key")
    key_file.touch(0o600)
    key_file.write_text(KEYS[0])
    for name in ("", ".draft", ".draft-wal"):  # of attempts that were interrupted
        path.with_name(f"test.sqlite.schema-2{name}").write_text("something")
    with opened(path) as database:
        copy = path.with_name("test.sqlite.schema-2")
        assert database.preparation.copy == copy
    copies = {copy.name, f"{copy.name}.key"}
    assert names(path) == {"test.sqlite", "test.sqlite.key", "test.sqlite.lock", *copies}
    assert {stat.S_IMODE(path.with_name(name).stat().st_mode) for name in copies} == {0o600}
    with opened(copy) as database:  # to go back: an earlier version would open it likewise
        assert database.preparation.upgraded_from == 2
        assert (database.load(), database.load_documents()) == (CLUSTERS, DOCUMENTS)


def test_without_its_copy_a_database_is_not_upgraded(path: Path) -> None:
    restore(f"sqlite:///{path}", 2)
    obstacle = path.with_name("test.sqlite.schema-2")
    (obstacle / "full").mkdir(parents=True)
    words = r"cannot be copied to .*/test.sqlite.schema-2 first: Is a directory"
    with pytest.raises(StartError, match=words), opened(path, KEYS[0]):
        pass
    assert names(path) == {"test.sqlite", "test.sqlite.lock", obstacle.name}
    (obstacle / "full").rmdir()
    obstacle.rmdir()
    with opened(path, KEYS[0]) as database:
        assert database.load() == CLUSTERS


def test_what_is_no_database_is_not_copied(path: Path) -> None:
    path.write_text("something else " * 100)
    with pytest.raises(StartError, match="file is not a database"):
        keep_copy(path, 2)
    assert names(path) == {"test.sqlite"}


# --- beside others, on PostgreSQL -------------------------------------------------------------------------------------


def test_tables_of_others_are_left_alone(url: str) -> None:
    others = ("CREATE TABLE alembic_version (version_num VARCHAR(32))", "CREATE TABLE clusters (name TEXT)")
    restore(url, 2, *others, "INSERT INTO alembic_version VALUES ('4dc2d5a8c53c')")
    with opened(url, KEYS[0]) as database:
        assert database.load() == CLUSTERS

        def look(connection: sa.Connection) -> None:
            assert connection.exec_driver_sql("SELECT * FROM alembic_version").all() == [("4dc2d5a8c53c",)]
            assert connection.exec_driver_sql("SELECT * FROM clusters").all() == []
            tables = sa.inspect(connection).get_table_names()
            assert set(tables) == {"alembic_version", "clusters", *METADATA.tables}

        inside(database, look)


def test_whoever_may_not_alter_tables_is_told(postgres: Postgres) -> None:
    url = postgres.new_database()
    restore(url, 2, "DROP TABLE public.dask_gateway_documents")
    database = sa.make_url(url).database or ""
    postgres.execute("postgres", "DROP ROLE IF EXISTS plain")
    postgres.execute("postgres", "CREATE ROLE plain LOGIN")
    postgres.execute(database, "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain")
    plain = sa.make_url(url).set(username="plain").render_as_string()
    words = "cannot be upgraded from schema 2 .* permission denied for schema public"
    with pytest.raises(StartError, match=words), opened(plain):
        pass
    with opened(url) as owner:
        assert owner.preparation.upgraded_from == 2
        words = rf"Another process uses the database {database} \(dask-gateway-server, the gateway, process"
        with pytest.raises(StartError, match=words), opened(plain):
            pass
    postgres.execute(database, "GRANT ALL ON ALL TABLES IN SCHEMA public TO plain")
    with opened(plain) as database_of_plain:
        assert database_of_plain.load() == CLUSTERS


@pytest.mark.parametrize(
    "statements",
    [
        (
            "CREATE FUNCTION plant() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER planted BEFORE UPDATE ON dask_gateway_clusters FOR EACH ROW EXECUTE FUNCTION plant()",
        ),
        ("CREATE RULE planted AS ON UPDATE TO dask_gateway_submissions DO INSTEAD NOTHING",),
    ],
)
def test_tables_with_triggers_are_not_upgraded(postgres: Postgres, statements: Sequence[str]) -> None:
    url = postgres.emptied_database()
    restore(url, 2, "SET search_path = public", *statements)
    with pytest.raises(StartError, match=r"its tables have triggers \(planted\)"), opened(url):
        pass


def test_an_upgrade_does_not_wait_for_ever_for_readers(postgres: Postgres) -> None:
    found = []

    def look(to: Operations) -> None:
        found.append(to.get_bind().exec_driver_sql("SHOW lock_timeout").scalar())

    url = postgres.new_database()
    restore(url, 2)
    prepare_by(url, Step(SCHEMA_VERSION, "looks", look))
    assert found == ["30s"]
