"""Who can write to the database, or beside it, but does not have its key."""

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from gateway.auth.token_record import Token, to_document
from gateway.errors import StartError
from gateway.models import JobId
from gateway.store.database import Database
from gateway.store.errors import StoreError, StoreUnavailable
from gateway.store.rotation import replace_key
from gateway.store.schema import SCHEMA_VERSION
from tests.support.store_records import a_cluster, a_submission
from tests.support.users import is_root

as_root = pytest.mark.skipif(not is_root(), reason="acts as two users")
NOBODY = 65534

RECORDS = (
    a_cluster("one"),
    a_cluster("two", username="bob"),
    a_submission("one"),
    a_submission("two", jobs=(JobId("9"),)),
    to_document(Token(id="a1", user="ann", scopes={"read"}, made=1000, expires=2000, digest="0f" * 32), None),
)


def opened(path):
    return closing(Database.open(f"sqlite:///{path}", keys=(), environment={}, debug=False))


def make(path):
    with opened(path) as database:
        assert database.commit([partial(database.tables.save, records=RECORDS)]) == [None]
    return path


@pytest.fixture
def path(tmp_path):
    return make(tmp_path / "test.sqlite")


def attack(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.executescript(statement)


def load(path):
    with opened(path) as database:
        return database.load()


CLUSTERS = "UPDATE dask_gateway_clusters SET"
SUBMISSIONS = "UPDATE dask_gateway_submissions SET"
DOCUMENTS = "UPDATE dask_gateway_documents SET"


@pytest.mark.parametrize(
    "statement",
    [
        f"""{CLUSTERS} document = replace(document, '"alice"', '"root"')""",
        f"""{CLUSTERS} document = replace(document, '"worker_cores": 2', '"worker_cmd": ["sh", "-c", "id"]')""",
        f"{CLUSTERS} document = document || ' '",
        f"{CLUSTERS} document = CAST(document || ' ' AS BLOB)",
        f"{CLUSTERS} document = 1e300",
        f"{CLUSTERS} secrets = (SELECT secrets FROM dask_gateway_clusters WHERE name = 'two') WHERE name = 'one'",
        f"{CLUSTERS} secrets = 1000000000000",
        f"{CLUSTERS} secrets = 'x'",
        f"{CLUSTERS} name = 'three' WHERE name = 'one'",
        f"{CLUSTERS} seal = ''",
        f"{CLUSTERS} seal = 1000000000000",
        f"{CLUSTERS} seal = CAST(hex(seal) AS TEXT)",
        f"{CLUSTERS} seal = (SELECT seal FROM dask_gateway_clusters WHERE name = 'two') WHERE name = 'one'",
        f"""{CLUSTERS} (document, seal) = (SELECT document, seal FROM dask_gateway_clusters WHERE name = 'two')
            WHERE name = 'one'""",
        f"""{CLUSTERS} (document, secrets, seal) = (SELECT document, secrets, seal FROM dask_gateway_clusters
            WHERE name = 'two') WHERE name = 'one'""",
        "INSERT INTO dask_gateway_clusters SELECT 'new', document, secrets, seal FROM dask_gateway_clusters LIMIT 1",
        "INSERT INTO dask_gateway_clusters SELECT 'new', document, name, seal FROM dask_gateway_submissions LIMIT 1",
        f"{SUBMISSIONS} document = replace(document, '7_0', '4711')",
        f"{SUBMISSIONS} cluster = 'two', name = 'w9' WHERE cluster = 'one'",
        f"{SUBMISSIONS} name = 'w9'",
        f"{SUBMISSIONS} seal = zeroblob(32)",
        "INSERT INTO dask_gateway_submissions SELECT 'one', 'w9', document, seal FROM dask_gateway_submissions LIMIT 1",
        "INSERT INTO dask_gateway_submissions SELECT name, name, document, seal FROM dask_gateway_clusters",
    ],
)
def test_no_row_is_believed_that_was_written_without_the_key(path, statement):
    attack(path, "PRAGMA ignore_check_constraints=ON", "PRAGMA foreign_keys=OFF", statement)
    with pytest.raises(StartError, match="is not as the gateway has written it"):
        load(path)


@pytest.mark.parametrize(
    "statement",
    [
        f"""{DOCUMENTS} document = replace(document, '"ann"', '"root"')""",
        f"""{DOCUMENTS} document = replace(document, '"read"', '"clusters"')""",
        f"{DOCUMENTS} document = replace(document, '2000', '9000')",
        f"{DOCUMENTS} name = 'another'",
        f"{DOCUMENTS} kind = 'ended-session'",
        f"{DOCUMENTS} seal = zeroblob(32)",
        "INSERT INTO dask_gateway_documents SELECT kind, 'another', document, seal FROM dask_gateway_documents",
        "INSERT INTO dask_gateway_documents SELECT 'token', name, document, seal FROM dask_gateway_submissions LIMIT 1",
    ],
)
def test_no_personal_token_is_believed_that_was_written_without_the_key(path, statement):
    attack(path, statement)
    with opened(path) as database, pytest.raises(StartError, match="is not as the gateway has written it"):
        database.load_documents()


def test_a_row_of_another_gateway_s_database_is_not_believed(path, tmp_path):
    other = make(tmp_path / "other.sqlite")
    attack(
        path,
        f"ATTACH '{other}' AS other; DELETE FROM main.dask_gateway_clusters;"
        "INSERT INTO main.dask_gateway_clusters SELECT * FROM other.dask_gateway_clusters",
    )
    with pytest.raises(StartError, match="is not as the gateway has written it"):
        load(path)


@pytest.mark.parametrize("version", ["2", "1", "0", "-1", f"'{SCHEMA_VERSION}'", "'x'", "1e300", "x'00'"])
@pytest.mark.parametrize("seals", [True, False])
def test_a_database_cannot_be_said_to_be_of_a_time_without_seals(path, version, seals):
    attack(path, f"UPDATE dask_gateway SET schema_version = {version}")
    attack(path, f"""{CLUSTERS} document = replace(document, '"alice"', '"root"')""")
    if not seals:
        for table in ("clusters", "submissions"):
            attack(path, f"ALTER TABLE dask_gateway_{table} DROP COLUMN seal")
    if version == f"'{SCHEMA_VERSION}'":  # which SQLite makes a number of
        expected = "not as the gateway has written it" if seals else "has no column seal"
    else:
        expected = "somebody has changed it"
    with pytest.raises((StartError, StoreUnavailable), match=expected):
        load(path)


@pytest.mark.parametrize(
    ("forgets", "expected"), [(True, "missing or empty, which says what they are"), (False, "is not as the gateway")]
)
def test_tables_made_anew_are_none_of_ours(path, forgets, expected):
    document = """'{"name": "one", "username": "root"}'"""
    attack(
        path,
        "DELETE FROM dask_gateway" if forgets else "",
        "DELETE FROM dask_gateway_submissions",
        "DROP TABLE dask_gateway_clusters",
        "CREATE TABLE dask_gateway_clusters (name TEXT PRIMARY KEY, document TEXT, secrets BLOB, seal BLOB)",
        f"INSERT INTO dask_gateway_clusters VALUES ('one', {document}, x'00', zeroblob(32))",
    )
    with pytest.raises(StartError, match=expected):
        load(path)


def test_what_is_planted_in_a_database_without_seals_gets_none(tmp_path):
    path = tmp_path / "old.sqlite"
    path.touch(0o600)
    attack(
        path,
        (Path(__file__).parents[1] / "data" / "store" / "schema-1.sql").read_text(),
        "CREATE TABLE dask_gateway_documents (kind TEXT, name TEXT, document TEXT, seal BLOB)",
        """INSERT INTO dask_gateway_documents VALUES ('token', 'a1', '{"user": "root"}', x'00')""",
    )
    keys = ("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",)
    for _ in range(2):
        with pytest.raises(StartError, match="token a1 in the database is not as the gateway has written it"):
            Database.open(f"sqlite:///{path}", keys=keys, environment={}, debug=False)


def test_a_rewritten_row_is_not_sealed_when_keys_are_replaced(path):
    key = path.with_name("test.sqlite.key").read_text()
    attack(path, f"""{CLUSTERS} document = replace(document, '"alice"', '"root"')""")
    keys = ("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", key)
    for _ in range(2):
        with pytest.raises(StartError, match="is not as the gateway has written it"):
            Database.open(f"sqlite:///{path}", keys=keys, environment={}, debug=False)


TRIGGER = """CREATE TRIGGER planted AFTER UPDATE ON dask_gateway_clusters BEGIN
    UPDATE dask_gateway_submissions SET document = replace(document, '7_0', '4711');
    INSERT OR IGNORE INTO dask_gateway_documents VALUES ('token', 'b2', '{"user": "root"}', x'00');
END"""


def test_what_a_trigger_does_while_keys_are_replaced_gets_no_seal(path):
    attack(path, TRIGGER)
    with opened(path) as database, pytest.raises(StoreError, match="token b2 in the database is not as the gateway"):
        replace_key(database)
    attack(path, "DROP TRIGGER planted", "DELETE FROM dask_gateway_documents WHERE name = 'b2'")
    assert load(path)[0][1] == (RECORDS[2],)


def test_a_database_with_triggers_is_not_upgraded(tmp_path):
    path = tmp_path / "old.sqlite"
    path.touch(0o600)
    attack(path, (Path(__file__).parents[1] / "data" / "store" / "schema-2.sql").read_text(), TRIGGER)
    keys = ("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",)
    with pytest.raises(StartError, match=r"its tables have triggers \(planted\), which the gateway has not made"):
        Database.open(f"sqlite:///{path}", keys=keys, environment={})


# --- files beside it --------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path):
    file = tmp_path / "victim"
    file.write_text("of root's")
    return file


@pytest.mark.parametrize("suffix", ["", ".lock"])
@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "dangling"])
def test_what_bears_the_name_of_a_file_of_ours_is_left_alone(tmp_path, victim, suffix, kind):
    path = tmp_path / "new.sqlite"
    file = tmp_path / f"new.sqlite{suffix}"
    if kind == "link":
        file.symlink_to(victim)
    elif kind == "dangling":
        file.symlink_to(tmp_path / "made")
    elif kind == "hard link":
        os.link(victim, file)
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    before = victim.stat().st_mode
    if (suffix, kind) == ("", "dangling"):  # a link of our own, by which the database is where we want it
        make(path)
        assert (tmp_path / "made").exists()
        return
    with pytest.raises(StartError):
        make(path)
    assert victim.read_text() == "of root's"
    assert victim.stat().st_mode == before
    assert not (tmp_path / "made").exists()


@pytest.mark.root
@as_root
class TestInAFolderOfSomebodyElse:
    """A gateway that is root."""

    @pytest.mark.parametrize(
        ("owner", "mode", "words"),
        [
            (NOBODY, 0o755, "does not belong to root"),
            (0, 0o777, "can be changed by others"),
            (0, 0o1777, "can be changed by others"),
            (0, 0o775, "can be changed by others"),
        ],
    )
    def test_no_database_is_opened_there(self, tmp_path, victim, owner, mode, words):
        folder = tmp_path / "folder"
        folder.mkdir()
        os.chown(folder, owner, -1)
        folder.chmod(mode)
        (folder / "test.sqlite.lock").symlink_to(victim)
        (tmp_path / "link.sqlite").symlink_to(folder / "test.sqlite")
        (tmp_path / "linked").symlink_to(folder)
        for path in (folder / "test.sqlite", tmp_path / "link.sqlite", tmp_path / "linked" / "test.sqlite"):
            with pytest.raises(StartError, match=f"is not safe: .*{words}.*chmod 700"):
                make(path)
        assert victim.read_text() == "of root's"
        assert os.listdir(folder) == ["test.sqlite.lock"]

    def test_nor_below_it_nor_through_a_link_of_theirs(self, tmp_path):
        (tmp_path / "theirs" / "ours").mkdir(parents=True)
        os.chown(tmp_path / "theirs", NOBODY, -1)
        with pytest.raises(StartError, match="theirs does not belong to root"):
            make(tmp_path / "theirs" / "ours" / "test.sqlite")
        (tmp_path / "real.sqlite").touch()
        (tmp_path / "link.sqlite").symlink_to(tmp_path / "real.sqlite")
        os.lchown(tmp_path / "link.sqlite", NOBODY, -1)
        with pytest.raises(StartError, match=r"link\.sqlite does not belong to root"):
            make(tmp_path / "link.sqlite")

    @pytest.mark.parametrize("suffix", ["", ".lock"])
    def test_a_file_of_theirs_is_not_used(self, tmp_path, suffix):
        file = tmp_path / f"test.sqlite{suffix}"
        file.write_text("")
        os.chown(file, NOBODY, -1)
        with pytest.raises(StartError, match=f"belongs to user id {NOBODY}.*chown"):
            make(tmp_path / "test.sqlite")


def test_a_folder_of_the_group_is_warned_of_where_the_gateway_is_no_root(tmp_path, monkeypatch):
    from structlog.testing import capture_logs

    folder = Path(tmp_path, "folder")
    folder.mkdir()
    folder.chmod(0o775)
    root = is_root()
    if root:
        os.chown(folder, NOBODY, NOBODY)
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    with capture_logs() as logs:
        try:
            make(folder / "test.sqlite")
        except StartError as error:
            assert root
            assert "belongs to user id 0" in str(error)  # files that are made are root's here
    assert [line["log_level"] for line in logs if "why" in line] == ["warning"]
