"""What the original's own tests of its database backend see from outside, seen here through the API."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet

from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingError
from gateway.config.load import load
from gateway.errors import StartError
from gateway.store.keys import find_keys
from tests.support.houses import open_house

CLUSTERS = "/api/v1/clusters/"

SITE = """
from dask_gateway_server.backends.local import UnsafeLocalBackend
from dask_gateway_server.backends.base import ClusterConfig
from dask_gateway_server.options import Integer as IntegerField, Options, Select
from traitlets import Float, Integer

class SiteConfig(ClusterConfig):
    memory_factor = Float(config=True)
    slots = Integer(config=True)

c.UnsafeLocalBackend.cluster_config_class = SiteConfig
c.UnsafeLocalBackend.cluster_options = Options(
    IntegerField("count", default=1, min=1, max=4, target="slots"),
    Select("size", options=[("small", 1.5), ("large", 15)], target="memory_factor"),
)
"""


@pytest.fixture
def site(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "config.py"
    path.write_text(SITE)
    loaded = load(path)
    return {"cluster_config": loaded.cluster_config, "cluster_options": loaded.backend.cluster_options}


@pytest.mark.parametrize(
    ("sent", "recorded", "configured"),
    [
        ({}, {"count": 1, "size": "small"}, (1, 1.5)),
        ({"size": "large"}, {"count": 1, "size": "large"}, (1, 15.0)),
        ({"size": "large", "count": 2}, {"count": 2, "size": "large"}, (2, 15.0)),
    ],
)
async def test_options_of_clusters(site: Any, sent: Any, recorded: Any, configured: Any) -> None:
    async with open_house(**site) as house:
        name = (await house.ask("POST", CLUSTERS, body={"cluster_options": sent})).json["name"]
        report = (await house.ask("GET", CLUSTERS + name)).json
        assert report["options"] == recorded
        config: Any = house.manager.find(name).ref.config
        assert (config.slots, config.memory_factor) == configured
        assert orjson.loads(orjson.dumps(house.store.clusters[name].config))["slots"] == configured[0]


@pytest.mark.parametrize(
    ("sent", "text"),
    [(10, "must be an object"), ({"size": "medium"}, "size"), ({"sise": "small"}, "sise"), ({"count": 5}, "count")],
)
async def test_options_that_are_refused(site: Any, sent: Any, text: str) -> None:
    async with open_house(**site) as house:
        answer = await house.ask("POST", CLUSTERS, body={"cluster_options": sent})
        assert (answer.status, text in answer.error) == (422, True)


@pytest.mark.parametrize(
    ("limits", "workers"),
    [
        ({}, None),
        ({"cluster_max_cores": 6, "worker_cores": 2, "scheduler_cores": 1}, 2),
        ({"cluster_max_memory": "6G", "worker_memory": "2G", "scheduler_memory": "1G"}, 2),
        ({"cluster_max_workers": 10, "cluster_max_cores": 6, "worker_cores": 2}, 2),
        ({"cluster_max_workers": 1, "cluster_max_cores": 6, "worker_cores": 2}, 1),
        ({"cluster_max_workers": None}, None),
        ({"cluster_max_workers": None, "cluster_max_cores": 6, "worker_cores": 2}, 2),
    ],
)
def test_limits(limits: Any, workers: int | None) -> None:
    assert ClusterConfig(**limits).max_workers == workers


@pytest.mark.parametrize(
    "limits",
    [
        {"cluster_max_cores": 0.1},
        {"cluster_max_memory": "0.5G"},
        {"cluster_max_cores": 1, "scheduler_cores": 2},
        {"cluster_max_memory": "1G", "scheduler_memory": "2G"},
    ],
)
def test_limits_smaller_than_the_scheduler(limits: Any) -> None:
    with pytest.raises(ValueError, match=r"scheduler_(cores|memory) must not exceed"):
        ClusterConfig(**limits)


def test_clusters_outlive_no_database_in_memory() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(SettingError, match="stop_clusters_on_shutdown"):
            DBBackendBase(db_url=url, stop_clusters_on_shutdown=False)


def test_keys_of_the_environment() -> None:
    keys = [Fernet.generate_key(), Fernet.generate_key()]
    environment = {"DASK_GATEWAY_ENCRYPT_KEYS": b";".join(keys).decode()}
    cipher = find_keys((), environment, None, new=True).cipher()
    secret = cipher.encrypt(b"my secret data")
    assert secret != b"my secret data"
    for key in keys:
        configured = DBBackendBase(db_encrypt_keys=[keys[1], key]).db_encrypt_keys
        assert all(isinstance(text, str) for text in configured)
    backend = DBBackendBase(db_encrypt_keys=keys[:1])
    configured_keys = [str(key) for key in backend.db_encrypt_keys]
    assert find_keys(configured_keys, {}, None, new=True).cipher().decrypt(secret) == b"my secret data"
    with pytest.raises(StartError, match="DASK_GATEWAY_ENCRYPT_KEYS"):
        find_keys((), {"DASK_GATEWAY_ENCRYPT_KEYS": "abc"}, None, new=True)
