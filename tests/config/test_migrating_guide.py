"""The page for sites that come from the original: its examples work, and its names exist."""

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
from attrs import evolve, fields_dict

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.extra_directives import with_extra_directives
from gateway.backends.slurm.submission import submission_of
from gateway.clusters.cluster_options import ClusterOptions
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import setting_of, settings_of
from gateway.config.load import load
from gateway.config.original_classes import REPLACED
from gateway.config.registry import builtin_classes
from gateway.config.user_options import Options, String
from gateway.errors import ConfigError, PublicException, Unauthorized
from gateway.models import Role, User

A_CLUSTER = ClusterRef(name="c0ffee", username="ann", config=ClusterConfig())
PAGE = (Path(__file__).parents[2] / "docs" / "migrating.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def load_example(tmp_path: Path, number: int) -> Any:
    path = tmp_path / "config.py"
    path.write_text(EXAMPLES[number])
    return load(path)


def test_options_of_a_subclass(tmp_path: Path) -> None:
    cluster = load_example(tmp_path, 0).cluster_config
    assert (cluster.worker_memory, cluster.worker_cores, cluster.level) == (8 << 30, 2, 2)
    assert cluster.scheduler_setup == "module load site/2"


#: What the original's classes declare in 2026.3.0, with defaults where these are plain values.
ORIGINAL = json.loads((Path(__file__).parents[1] / "data" / "original_options.json").read_text())
#: Options whose defaults are others here; the page says so.
OTHER_DEFAULTS = {"scheduler_cmd", "worker_cmd", "db_url", "stop_clusters_on_shutdown", "use_stagein"}


def test_all_options_of_the_original_are_there_with_their_defaults() -> None:
    ours = {name: settings_of(cls) for name, cls in builtin_classes().items()}
    assert sum(map(len, ORIGINAL.values())) == 86
    other = set()
    for name, options in ORIGINAL.items():
        for option, about in options.items():
            mine = ours[name][option]
            if "default" in about and not setting_of(mine).retired and not option.endswith("_class"):
                other |= set() if _same(mine.default, about["default"]) else {option}
    assert other == OTHER_DEFAULTS
    assert all(f"`{option}`" in PAGE for option in OTHER_DEFAULTS)


def _same(mine: Any, original: Any) -> bool:
    """Whether two defaults mean the same; empty ones are alike, whatever they are of."""
    if isinstance(mine, attrs.Factory):  # type: ignore[arg-type]
        return mine.takes_self or _same(mine.factory(), original)
    if not mine and not original and not isinstance(original, bool):
        return True
    return bool(list(mine) == original if isinstance(mine, tuple) else mine == original)


async def test_an_authenticator(tmp_path: Path) -> None:
    authenticator = load_example(tmp_path, 1).authenticators[0]

    class Request:
        headers = {"Authorization": "Bearer s3cr3t"}  # noqa: RUF012

    await authenticator.setup(None)
    assert (await authenticator.authenticate(Request())).name == "ann"
    Request.headers = {}
    with pytest.raises(Unauthorized, match="Authentication required"):
        await authenticator.authenticate(Request())


async def test_a_function_before_a_cluster_is_made(tmp_path: Path) -> None:
    config = load_example(tmp_path, 2)
    fields = Options(String("gres"), String("partition", default="batch"))
    options = ClusterOptions(evolve(config.backend, cluster_options=fields), config.cluster_config)
    with pytest.raises(PublicException, match="GPUs are for members of the group gpu"):
        await options.configure(User("ann", ["physics"]), {"gres": "gpu:1"})
    _, made = await options.configure(User("ann", ["gpu", "students"]), {"gres": "gpu:1"})
    assert (made.gres, made.partition, made.max_lifetime) == ("gpu:1", "teaching", 14400)
    _, made = await options.configure(User("bob"), {})
    assert (made.partition, made.max_lifetime) == ("batch", 0)


async def test_a_function_for_each_submission(tmp_path: Path) -> None:
    config = load_example(tmp_path, 3)
    cluster = evolve(A_CLUSTER, config=config.cluster_config, groups=frozenset(["physics", "chemistry", "x"]))
    spec = JobSpec(
        cluster=cluster, role=Role.WORKER, group="w1", count=1, command=("dask", "worker"), environment={}, secrets={}
    )
    made = submission_of(await with_extra_directives(spec, config.backend)).arguments
    assert {"--account=c5678", "--nice=100", "--licenses=dask"} <= set(made)
    scheduler = evolve(spec, role=Role.SCHEDULER, group="scheduler")
    made = submission_of(await with_extra_directives(scheduler, config.backend)).arguments
    assert [argument for argument in made if argument.startswith(("--account", "--nice"))] == ["--account=c5678"]


def test_a_map_of_names(tmp_path: Path) -> None:
    authenticator = load_example(tmp_path, 4).authenticators[0]
    assert [authenticator.username_map(name) for name in ("SITE\\ann", "ann", "X\\ann")] == ["ann", "ann", None]
    assert len(EXAMPLES) == 5


def test_the_table_names_what_is_refused() -> None:
    table = PAGE.partition("## What does not, and its replacement")[2]
    rows = [row for row in table.splitlines() if row.startswith("| `")]
    refused = {name for names in REPLACED.values() for name in names}
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert named <= refused
    assert len(named) > 15


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("c.KubeBackend.image = 'x'", "this gateway is for Slurm, PBS and local processes"),
        ("c.YarnBackend.queue = 'x'", "this gateway is for Slurm, PBS and local processes"),
        ("c.DBBackendBase.db_url = 'mysql://host/x'", "must begin with sqlite:// or postgresql://"),
    ],
)
def test_what_is_refused_says_why(line: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(line)
    with pytest.raises(ConfigError, match=reason):
        load(path)


def test_a_separate_proxy_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text("c.Proxy.externally_managed = True")
    assert any("externally_managed" in warning for warning in load(path).warnings)


def test_options_that_the_page_names_exist() -> None:
    known = builtin_classes()
    for name, option in re.findall(
        r"`c\.([A-Z]\w+)\.([a-z]\w*)", re.sub(r"^```.*?^```", "", PAGE, flags=re.DOTALL | re.M)
    ):
        retired = name == "Proxy" and option == "externally_managed"
        assert retired or hasattr(known[name], option) or option in fields_dict(known[name]), f"c.{name}.{option}"
