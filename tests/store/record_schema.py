"""Records a database of the schema of today, for the tests of later ones: `python -m tests.store.record_schema`.

To be done once for each schema, when its step is written, and by the version whose schema it is. What is in it stands
in tests/support/databases.py.
"""

import re
import sqlite3
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from gateway.store.schema import SCHEMA_VERSION
from tests.support.databases import CLUSTERS, DATA, DOCUMENTS, KEYS, opened, save
from tests.support.postgres import find_binaries, run_postgres

#: Commands of psql, and comments, some of which differ each time.
_NO_STATEMENT = re.compile(r"^(\\.*|--.*|SET .*|)\n", re.MULTILINE)


def fill(url: str) -> None:
    with opened(url, KEYS[0]) as database:
        for cluster, submissions in CLUSTERS:
            save(database, cluster, *submissions)
        save(database, *DOCUMENTS)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.home()) as folder:
        file = Path(folder) / "db.sqlite"
        fill(f"sqlite:///{file}")
        with closing(sqlite3.connect(file)) as connection:
            (DATA / f"schema-{SCHEMA_VERSION}.sql").write_text("\n".join(connection.iterdump()) + "\n")
    binaries = find_binaries()
    assert binaries is not None, "PostgreSQL is not installed"
    with run_postgres(binaries) as server:
        url = server.new_database()
        fill(url)
        plain = sa.make_url(url).render_as_string()
        command = [binaries / "pg_dump", "--inserts", "--no-owner", f"--dbname={plain}"]
        dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (DATA / f"schema-{SCHEMA_VERSION}.postgresql.sql").write_text(_NO_STATEMENT.sub("", dump))


if __name__ == "__main__":
    main()
