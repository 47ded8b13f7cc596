"""Limits as a site writes them."""

from pathlib import Path

import pytest

from gateway.config.fields import SettingError
from gateway.config.limits import GroupLimits, Limit, Limits, MemberLimits, UserLimits
from gateway.config.load import load
from gateway.config.render import effective
from gateway.errors import ConfigError

EXAMPLE = """
c.UserLimits.max_clusters = 3
c.UserLimits.max_memory = "64 G"
c.MemberLimits.max_memory = {"students": "16 G", "staff": None}
c.GroupLimits.max_cores = {"students": 200}
c.GroupLimits.max_cores["staff"] = 400
c.TotalLimits.max_workers = 1000
"""


def loaded(tmp_path: Path, text: str) -> Limits:
    path = tmp_path / "config.py"
    path.write_text(text)
    config = load(path)
    assert "c.GroupLimits.max_cores" in effective(config)
    return config.limits


def test_a_sites_limits(tmp_path: Path) -> None:
    limits = loaded(tmp_path, EXAMPLE)
    memory = Limit(64 << 30, "c.UserLimits.max_memory")
    clusters = Limit(3, "c.UserLimits.max_clusters")
    assert limits.of_user(()) == limits.of_user({"others"}) == {"clusters": clusters, "memory": memory}
    assert limits.of_user({"students"})["memory"] == Limit(16 << 30, "c.MemberLimits.max_memory")
    assert limits.of_user({"students", "staff"}) == {"clusters": clusters}
    assert limits.limited_groups == {"students", "staff"}
    assert limits.of_group("staff") == {"cores": Limit(400, "c.GroupLimits.max_cores")}
    assert limits.of_all() == {"workers": Limit(1000, "c.TotalLimits.max_workers")}


def test_the_example_in_the_documents(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    example = page.partition("\n## Limits\n")[2].split("```")[1].removeprefix("python")
    path = tmp_path / "config.py"
    path.write_text(example)
    config = load(path)
    assert config.limits.of_user({"students"})["cores"].most == 16
    assert "cores" not in config.limits.of_user({"students", "staff"})
    assert config.cluster_config.max_lifetime == 12 * 3600


def test_without_any() -> None:
    limits = Limits()
    assert limits.of_user({"staff"}) == limits.of_all() == limits.of_group("staff") == {}
    assert limits.limited_groups == frozenset()


def test_of_several_groups_the_highest_counts() -> None:
    limits = Limits(users=UserLimits(max_cores=99), members=MemberLimits(max_cores={"a": 4, "b": 8, "c": 0}))
    assert limits.of_user({"a", "b", "c"}) == {"cores": Limit(8, "c.MemberLimits.max_cores")}
    assert limits.of_user({"c"})["cores"].most == 0


@pytest.mark.parametrize(
    ("mapping", "reason"),
    [
        ({"": 1}, "must have the names of groups as keys, none of them empty"),
        ({"students": -1}, r"must be at least 0 \('students' has -1\)"),
        ({"students": True}, "'students': must be a number"),
        ({"students": None}, "'students': must be a number"),
        (5, "must be a dictionary"),
    ],
)
def test_what_is_no_limit_of_groups(mapping: object, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        GroupLimits(max_cores=mapping)


def test_mistakes_have_a_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(
            tmp_path, "c.UserLimits.max_clusters = -1\nc.GroupLimits.max_memory = {'a': '4 X'}\nc.TotalLimits.no = 1"
        )
    text = str(caught.value)
    assert "config.py:1: c.UserLimits.max_clusters = -1: must be at least 0" in text
    assert "config.py:2: c.GroupLimits.max_memory = {'a': '4 X'}: 'a': must be a number of bytes" in text
    assert "config.py:3: c.TotalLimits.no = 1: TotalLimits has no option 'no'" in text


def test_limits_that_no_scheduler_fits_in(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(
        "c.ClusterConfig.scheduler_cores = 4\nc.UserLimits.max_cores = 3\nc.UserLimits.max_clusters = 0\n"
        "c.GroupLimits.max_memory = {'a': '1 G', 'b': '3 G', 'c': 0}\nc.TotalLimits.max_cores = 4\n"
    )
    warned = [text for text in load(path).warnings if "Limits" in text]
    assert warned == [
        "c.UserLimits.max_cores leaves no room for a cluster: its scheduler alone takes 4",
        f"c.GroupLimits.max_memory leaves no room for a cluster: its scheduler alone takes {2 << 30}",
    ]


@pytest.mark.parametrize(
    ("text", "depends"),
    [
        ("", False),
        ("c.UserLimits.max_cores = 9\nc.TotalLimits.max_cores = 9", False),
        ("c.GroupLimits.max_cores = {'a': 9}", True),
        ("c.MemberLimits.max_workers['a'] = None", True),
        ("c.Backend.before_create = lambda user, config: config", True),
        ("c.Backend.cluster_options = lambda user: None", True),
        (
            "c.DaskGateway.backend_class = 'gateway.backends.slurm.SlurmBackend'\n"
            "c.JobQueueBackend.extra_directives = lambda user, config, role: []",
            True,
        ),
    ],
)
def test_whether_anything_depends_on_groups(tmp_path: Path, text: str, depends: bool) -> None:
    path = tmp_path / "config.py"
    path.write_text(text)
    assert load(path).depends_on_groups is depends
