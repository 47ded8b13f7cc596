"""A database for a test: an SQLite file, or one of a real PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import Postgres, find_binaries, run_postgres

BINARIES = find_binaries()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    if BINARIES is None:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    with run_postgres(BINARIES) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/test.sqlite"
    server: Postgres = request.getfixturevalue("postgres")
    return server.emptied_database()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite"
