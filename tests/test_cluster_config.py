"""Limits of a cluster."""

import pytest

from gateway.cluster_config import ClusterConfig
from gateway.configurable import SettingError, dump, restore


@pytest.mark.parametrize(
    ("limits", "workers"),
    [
        ({}, None),
        ({"cluster_max_workers": 3}, 3),
        ({"cluster_max_workers": 0}, 0),
        ({"cluster_max_memory": "10 G"}, 4),
        ({"cluster_max_memory": "2 G"}, 0),
        ({"cluster_max_cores": 7.5, "worker_cores": 2}, 3),
        ({"cluster_max_cores": 3, "cluster_max_memory": "100 G"}, 2),
        ({"cluster_max_cores": 9, "cluster_max_memory": "10 G", "cluster_max_workers": 5}, 4),
        ({"cluster_max_cores": 9, "cluster_max_memory": "10 G", "cluster_max_workers": 2}, 2),
    ],
)
def test_the_smallest_limit_counts_after_the_schedulers_share(limits: dict[str, object], workers: int | None) -> None:
    assert ClusterConfig(**limits).max_workers == workers


def test_a_scheduler_fits_into_its_cluster() -> None:
    with pytest.raises(SettingError, match=r"scheduler_memory must not exceed cluster_max_memory \(1073741824 bytes\)"):
        ClusterConfig(cluster_max_memory="1 G")
    with pytest.raises(SettingError, match=r"scheduler_cores must not exceed cluster_max_cores \(1.5\), got 2"):
        ClusterConfig(scheduler_cores=2, cluster_max_cores=1.5)


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A": "x\0"}, {"A\0": "x"}, {"-S": "x"}, {"-": "x"}])
def test_environment_variables_that_cannot_be(variables: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="environment must hold names"):
        ClusterConfig(environment=variables)


def test_commands_and_environment() -> None:
    config = ClusterConfig(worker_cmd="/opt/my env/dask-worker", scheduler_cmd=["a b", "c"], environment={"A": "b"})
    assert config.worker_cmd == ("/opt/my", "env/dask-worker")
    assert config.scheduler_cmd == ("a b", "c")
    assert config.scheduler_arguments() == config.worker_arguments() == ()
    assert restore(ClusterConfig, dump(config)) == config
