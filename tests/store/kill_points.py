"""Kills an operation on a database at each point where it changes something, and looks at what is left.

    python -m tests.store.kill_points {upgrade,rotation,backup} FOLDER

Points are calls that change files, and statements of SQL. For each of them the
operation is begun anew, in a process that is killed there; then a gateway
opens what is left, and the operation is done once more. Prints how many there
were.
"""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from gateway import log
from gateway.store.backup import back_up
from gateway.store.database import Database
from gateway.store.rotation import replace_key
from tests.support.databases import CLUSTERS, DOCUMENTS, KEYS, restore

_connect = sqlite3.connect
_CALLS = {"os.rename", "os.link", "os.remove", "os.truncate", "os.chmod"}


def killed_at(point: int, operation: Callable[[], None]) -> bool:
    """Run it in a process that is killed at this point; False if it has ended before."""
    child = os.fork()
    if not child:
        _die_at(point)
        operation()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status), f"it failed by itself, with status {status}"
    return status != 0


def _die_at(point: int) -> None:
    left = point

    def reached() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    def on_statement(statement: str) -> None:
        if not statement.startswith(("SELECT", "PRAGMA", "--")):
            reached()

    def on_event(event: str, arguments: tuple[object, ...]) -> None:
        if event in _CALLS or (event == "open" and int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR)):
            reached()

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = _connect(*arguments, **options)
        connection.set_trace_callback(on_statement)
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[assignment]
    sys.addaudithook(on_event)


def opened(path: Path) -> "closing[Database]":
    return closing(Database.open(f"sqlite:///{path}", keys=(), environment={}))


def check(path: Path) -> None:
    with opened(path) as database:
        assert (database.load(), database.load_documents()) == (CLUSTERS, DOCUMENTS)


def upgrade(path: Path) -> None:
    with opened(path):
        pass


def after_upgrade(path: Path) -> None:
    check(path)
    assert {file.name for file in path.parent.iterdir()} == {
        f"test.sqlite{suffix}" for suffix in ("", ".key", ".lock", ".schema-2", ".schema-2.key")
    }
    check(path.with_name("test.sqlite.schema-2"))


def rotation(path: Path) -> None:
    with opened(path) as database:
        replace_key(database)


def after_rotation(path: Path) -> None:
    check(path)
    rotation(path)
    check(path)
    (key,) = path.with_name("test.sqlite.key").read_text().split()
    assert key != KEYS[0]
    assert not path.with_name("test.sqlite.key.new").exists()


def backup(path: Path) -> None:
    back_up(path, path.with_name("backup"), keys=(), environment={})


def after_backup(path: Path) -> None:
    made = path.with_name("backup")
    for draft in path.parent.glob("backup.draft*"):  # which the next attempt would have us remove
        draft.unlink()
    if made.exists():
        check(made)
    check(path)
    for file in path.parent.glob("backup*"):
        file.unlink()
    backup(path)
    check(made)


OPERATIONS = {
    "upgrade": (2, upgrade, after_upgrade),
    "rotation": (3, rotation, after_rotation),
    "backup": (3, backup, after_backup),
}


def main(name: str, folder: Path) -> None:
    log.set_up("WARNING")
    schema, operation, look = OPERATIONS[name]
    point, killed = 0, True
    while killed:
        place = folder / str(point)
        place.mkdir(0o700)
        path = place / "test.sqlite"
        restore(f"sqlite:///{path}", schema)
        path.with_name("test.sqlite.key").touch(0o600)
        path.with_name("test.sqlite.key").write_text(KEYS[0])
        killed = killed_at(point, lambda: operation(path))  # noqa: B023 - it is called at once
        look(path)
        shutil.rmtree(place)
        point += 1
    print(point - 1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
