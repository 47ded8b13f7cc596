"""The page for sites that come from the original: its examples work, and its names exist."""

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load
from gateway.config.original_classes import REPLACED
from gateway.errors import Unauthorized

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def load_example(tmp_path: Path, number: int) -> Any:
    path = tmp_path / "config.py"
    path.write_text(EXAMPLES[number])
    return load(path)


def test_options_of_a_subclass(tmp_path: Path) -> None:
    cluster = load_example(tmp_path, 0).cluster_config
    assert (cluster.worker_memory, cluster.worker_cores, cluster.level) == (8 << 30, 2, 2)
    assert cluster.scheduler_setup == "module load site/2"


async def test_an_authenticator(tmp_path: Path) -> None:
    authenticator = load_example(tmp_path, 1).authenticators[0]

    class Request:
        headers = {"Authorization": "Bearer s3cr3t"}  # noqa: RUF012

    await authenticator.setup(None)
    assert (await authenticator.authenticate(Request())).name == "ann"
    Request.headers = {}
    with pytest.raises(Unauthorized, match="Authentication required"):
        await authenticator.authenticate(Request())


def test_a_map_of_names(tmp_path: Path) -> None:
    authenticator = load_example(tmp_path, 2).authenticators[0]
    assert [authenticator.username_map(name) for name in ("SITE\\ann", "ann", "X\\ann")] == ["ann", "ann", None]
    assert len(EXAMPLES) == 3


def test_the_table_names_what_is_refused() -> None:
    rows = [row for row in PAGE.splitlines() if row.startswith("| `")]
    refused = {name for names in REPLACED.values() for name in names}
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert named <= refused
    assert len(named) > 15
