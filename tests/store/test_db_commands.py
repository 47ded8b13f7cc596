"""`dask-gateway-server db`: what is done, what is printed, and the exit codes."""

import json
import logging
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog

from gateway.errors import StartError
from gateway.server.cli import run
from gateway.store.database import Database
from gateway.store.schema import SCHEMA_VERSION
from tests.store.conftest import BINARIES
from tests.support.databases import CLUSTERS, DOCUMENTS, KEYS, change, opened, restore, save
from tests.support.postgres import Postgres
from tests.support.users import is_root


@pytest.fixture(autouse=True)
def _logging_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DASK_GATEWAY_ENCRYPT_KEYS", raising=False)
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.captureWarnings(False)
    logging.root.handlers, logging.root.level = handlers, level
    structlog.reset_defaults()


class Commands:
    """Runs `db ...`, by default on the database at `path`, and has what was printed last: never a key."""

    out = err = ""

    def __init__(self, path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self._path = path
        self._capfd = capfd

    def __call__(self, *arguments: str, url: str = "", keys: Sequence[str] = ()) -> int:
        options = {"db_url": url or f"sqlite:///{self._path}", "db_encrypt_keys": keys}
        lines = [f"c.DBBackendBase.{name} = {value!r}\n" for name, value in options.items()]
        (self._path.parent / "config.py").write_text("".join(lines))
        code = run(["db", "-f", "config.py", *arguments])
        self.out, self.err = self._capfd.readouterr()
        key_file = self._path.with_name(f"{self._path.name}.key")
        secrets = [*KEYS, *(key_file.read_text().split() if key_file.exists() else [])]
        assert not [key for key in secrets if key in self.out + self.err]
        return code


@pytest.fixture
def db(path: Path, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(path, capfd)


def fill(path: Path, *keys: str) -> None:
    with opened(path, *keys) as database:
        save(database, *(cluster for cluster, _ in CLUSTERS), *CLUSTERS[0][1], *DOCUMENTS)


# --- check ------------------------------------------------------------------------------------------------------------


def test_check(path: Path, db: Commands) -> None:
    fill(path)
    with opened(path):  # as a gateway
        assert db("check") == 0
    assert db.out.splitlines() == [
        f"Database: {path}",
        f"Schema:   {SCHEMA_VERSION}, which is this version's",
        f"Keys:     1 from the key file {path}.key",
        "Contents: clusters: 2, their submissions: 2, other records (personal tokens, ended sessions): 2",
        "No problems",
    ]
    assert db("check", "--json") == 0
    assert json.loads(db.out) == {
        "database": str(path),
        "keys": 1,
        "keys_from": f"the key file {path}.key",
        "newest_schema": SCHEMA_VERSION,
        "schema": SCHEMA_VERSION,
        "steps": [],
        "clusters": 2,
        "submissions": 2,
        "documents": 2,
        "of_first_key": True,
        "problems": [],
    }


def test_check_of_an_earlier_schema(path: Path, db: Commands) -> None:
    restore(f"sqlite:///{path}", 1)
    before = path.read_bytes()
    assert db("check", keys=[KEYS[1], KEYS[0]]) == 0
    out = db.out
    assert f"Schema:   1; this version's is {SCHEMA_VERSION}, to which the gateway upgrades it at its next start" in out
    assert "An upgrade brings schema 2: rows of clusters and submissions are sealed\n" in out
    assert (
        "2 from DBBackendBase.db_encrypt_keys; the next start encrypts and seals everything anew with the first" in out
    )
    assert out.endswith("No problems\n")
    assert path.read_bytes() == before


def test_check_names_each_row_that_is_not_believed(path: Path, db: Commands) -> None:
    fill(path)
    change(f"sqlite:///{path}", "UPDATE dask_gateway_clusters SET document = document || ' '")
    assert db("check") == 1
    problems = [line for line in db.out.splitlines() if line.startswith("Problem: ")]
    assert [line[: len("Problem: The cluster one")] for line in problems] == [
        f"Problem: The cluster {name}" for name in ("one", "two")
    ]


def test_check_of_more_problems_than_anybody_reads(path: Path, db: Commands) -> None:
    fill(path)
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)"
    rows = "SELECT 'token', 'x' || i, '{}', zeroblob(32) FROM n"
    change(f"sqlite:///{path}", f"INSERT INTO dask_gateway_documents {numbers} {rows}")
    assert db("check") == 1
    assert "Problem: The same is true of 10 more rows.\n" in db.out


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE dask_gateway SET schema_version = 99", "written by a newer version of the gateway (its schema is 99"),
        ("UPDATE dask_gateway SET key_check = ''", "encrypted with a key that is not among those configured"),
        ("ALTER TABLE dask_gateway_documents DROP COLUMN seal", "dask_gateway_documents has no column seal"),
        ("DROP TABLE dask_gateway_submissions", "the table dask_gateway_submissions is missing"),
    ],
)
def test_check_says_what_a_gateway_would_not_start_with(url: str, statement: str, words: str, db: Commands) -> None:
    restore(url, SCHEMA_VERSION, statement)
    assert db("check", url=url, keys=[KEYS[0]]) == 1
    out = db.out
    assert words in out
    assert "No problems" not in out


def test_check_of_a_file_that_is_damaged(path: Path, db: Commands) -> None:
    fill(path)
    with path.open("r+b") as file:
        file.seek(4096 * 2 + 8)
        file.write(b"\xff" * 200)
    assert db("check") == 1
    out, err = db.out, db.err
    assert "damaged" in out or "malformed" in err


# --- upgrade ----------------------------------------------------------------------------------------------------------


def test_upgrade(path: Path, db: Commands) -> None:
    restore(f"sqlite:///{path}", 2)
    assert db("upgrade", keys=[KEYS[1], KEYS[0]]) == 0
    assert (db.out, db.err) == (
        f"The database {path} is upgraded from schema 2 to {SCHEMA_VERSION}.\n"
        f"As it was before, it is kept in {path}.schema-2: remove that when you do not want to go back any more.\n"
        "Everything is encrypted and sealed anew with the first key.\n",
        "",
    )
    assert db("upgrade", keys=[KEYS[1]]) == 0
    assert db.out == f"The database {path} has schema {SCHEMA_VERSION}: there is nothing to upgrade.\n"
    assert db("upgrade", "--json", keys=[KEYS[1]]) == 0
    assert json.loads(db.out) == {
        "database": str(path),
        "schema": SCHEMA_VERSION,
        "made": False,
        "upgraded_from": None,
        "copy": None,
        "renewed": False,
    }


def test_upgrade_makes_tables_where_a_server_has_none(postgres: Postgres, db: Commands) -> None:
    # So that an account which may make tables makes them, for one which may not.
    url = postgres.emptied_database()
    assert db("check", url=url, keys=[KEYS[0]]) == 1
    assert "has no tables of a gateway, which makes them at its first start" in db.err
    assert db("upgrade", url=url, keys=[KEYS[0]]) == 0
    assert f"has tables now, of schema {SCHEMA_VERSION}" in db.out
    assert db("check", url=url, keys=[KEYS[0]]) == 0


@pytest.mark.parametrize("command", ["upgrade", "check", "backup x", "rotate-keys"])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///here.sqlite", "There is no database {}/here.sqlite: .* working directory"),
        ("sqlite:////nowhere/x.sqlite", "There is no database /nowhere/x.sqlite"),
        ("sqlite://", "The database is in memory"),
    ],
)
def test_where_there_is_no_database(tmp_path: Path, command: str, url: str, words: str, db: Commands) -> None:
    assert db(*command.split(), url=url) == 1
    assert re.search(words.format(tmp_path), db.err)
    assert {file.name for file in tmp_path.iterdir()} == {"config.py"}


@pytest.mark.parametrize("command", ["upgrade", "rotate-keys"])
def test_while_a_gateway_is_at_work(url: str, command: str, db: Commands) -> None:
    keys = () if url.startswith("sqlite") else (KEYS[0], KEYS[1])
    with opened(url, *keys):
        assert db(command, url=url, keys=keys) == 1
        err = db.err
    assert f"(the gateway, process {os.getpid()} on " in err.replace("dask-gateway-server, ", "")
    assert "stop it first" in err
    assert db(command, url=url, keys=keys) == 0


def test_a_gateway_beside_a_command(path: Path) -> None:
    holder = "`dask-gateway-server db rotate-keys`"
    words = rf"{path} \({holder}, process {os.getpid()} on"
    with (
        closing(Database.open(f"sqlite:///{path}", keys=(), environment={}, holder=holder)),
        pytest.raises(StartError, match=words),
        opened(path),
    ):
        pass


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="only root gives files away")
@pytest.mark.parametrize("command", ["upgrade", "check", "backup x", "rotate-keys"])
def test_root_touches_nothing_of_others(path: Path, command: str, db: Commands) -> None:
    fill(path)
    for file in path.parent.glob("test.sqlite*"):
        os.chown(file, 65534, -1)
    assert db(*command.split()) == 1
    assert "belongs to user nobody: run this as that user, for example by `sudo -u nobody" in db.err


# --- backup -----------------------------------------------------------------------------------------------------------


def test_backup(path: Path, db: Commands, tmp_path: Path) -> None:
    fill(path)
    with opened(path):
        assert db("backup", "copy.sqlite") == 0
    copy = tmp_path / "copy.sqlite"
    inside = "clusters: 2, their submissions: 2, other records (personal tokens, ended sessions): 2"
    assert db.out.splitlines() == [
        f"Backed up to {copy}: {inside}; schema {SCHEMA_VERSION}.",
        f"Its key is in {copy}.key: whoever has both can read the secrets of clusters.",
    ]
    assert db("backup", "copy.sqlite") == 1
    assert "is there already" in db.err
    assert db("backup", "--json", "another") == 0
    found = json.loads(db.out)
    assert (found["file"], found["key_file"]) == (f"{tmp_path}/another", f"{tmp_path}/another.key")
    assert (found["clusters"], found["bytes"]) == (2, (tmp_path / "another").stat().st_size)


def test_backup_without_the_key_of_the_configuration(path: Path, db: Commands) -> None:
    fill(path, KEYS[0])
    assert db("backup", "copy.sqlite", keys=[KEYS[0]]) == 0
    assert "Its key is not in it" in db.out


def test_postgresql_s_own_tools_make_the_backup(postgres: Postgres, tmp_path: Path, db: Commands) -> None:
    assert BINARIES is not None
    url = postgres.emptied_database()
    restore(url, SCHEMA_VERSION, "CREATE TABLE public.of_others (x TEXT)")
    parsed = sa.make_url(url).set(password="s3cret", query={**sa.make_url(url).query, "sslpassword": "s3cret"})
    with opened(url):
        assert db("backup", "my copy", url=parsed.render_as_string(hide_password=False), keys=[KEYS[0]]) == 1
        err = db.err
        assert "s3cret" not in err
        (line,) = [line for line in err.splitlines() if line.lstrip().startswith("pg_dump")]
        program, *arguments = shlex.split(line)
        subprocess.run([BINARIES / program, *arguments], cwd=tmp_path, check=True)
    other = postgres.new_database()
    plain = sa.make_url(other).render_as_string()
    subprocess.run([BINARIES / "pg_restore", f"--dbname={plain}", "my copy"], cwd=tmp_path, check=True)
    with opened(other) as database:
        assert (database.load(), database.load_documents()) == (CLUSTERS, DOCUMENTS)
    assert db("check", url=other, keys=[KEYS[0]]) == 0


# --- rotate-keys ------------------------------------------------------------------------------------------------------


def test_rotate_the_key_in_a_key_file(path: Path, db: Commands) -> None:
    restore(f"sqlite:///{path}", 2)
    key_file = path.with_name("test.sqlite.key")
    key_file.touch(0o600)
    key_file.write_text(KEYS[0])
    assert db("rotate-keys") == 0
    out = db.out
    assert f"The database {path} is encrypted and sealed with the new key alone: clusters: 2," in out
    assert f"The new key is in {key_file}; the old one is gone from there.\n" in out
    assert f"remove {path}.schema-2 and {path}.schema-2.key.\n" in out
    with opened(path) as database:
        assert (database.load(), database.load_documents()) == (CLUSTERS, DOCUMENTS)
    assert db("check") == 0


def test_rotate_says_what_to_write_where(url: str, db: Commands) -> None:
    restore(url, SCHEMA_VERSION)
    assert db("rotate-keys", url=url, keys=[KEYS[0]]) == 2
    err = db.err
    assert "openssl rand -base64 32" in err
    assert 'c.DBBackendBase.db_encrypt_keys = ["NEW", "OLD"]' in err
    assert db("rotate-keys", url=url, keys=[KEYS[1], KEYS[0]]) == 0
    out = db.out
    assert "is encrypted and sealed with the new key alone: clusters: 2, their submissions: 2" in out
    assert "Remove the other keys from DBBackendBase.db_encrypt_keys now.\n" in out
    with opened(url, KEYS[1]) as database:
        assert database.load() == CLUSTERS


def test_rotate_with_keys_of_the_environment(path: Path, db: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, KEYS[0])
    assert db("rotate-keys") == 1
    assert "or the environment variable DASK_GATEWAY_ENCRYPT_KEYS to the key" in db.err
    monkeypatch.setenv("DASK_GATEWAY_ENCRYPT_KEYS", KEYS[0])
    assert db("rotate-keys") == 2
    assert "DASK_GATEWAY_ENCRYPT_KEYS='NEW;OLD'" in db.err
    monkeypatch.setenv("DASK_GATEWAY_ENCRYPT_KEYS", f"{KEYS[1]};{KEYS[0]}")
    assert db("rotate-keys") == 0
    words = "Remove the other keys from the environment variable DASK_GATEWAY_ENCRYPT_KEYS now.\n"
    assert words in db.out


def test_wrong_usage(db: Commands) -> None:
    assert db("backup") == 2
    assert db("nonsense") == 2
    assert "Traceback" not in db.err
    assert run(["db", "-f", "none.py", "check"]) == 2
    for arguments in (
        ["-f", "config.py", "db", "check"],
        ["db", "-f", "config.py", "check"],
        ["db", "check", "-f", "config.py"],
    ):
        assert run(arguments) == 1  # there is no database yet
    assert run(["db", "--help"]) == 0
