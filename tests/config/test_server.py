"""Options of the server, the proxy, and what backends share."""

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from gateway.config.backend import Backend, DBBackendBase
from gateway.config.fields import SettingError, configurable
from gateway.config.load import load
from gateway.config.proxy import Proxy
from gateway.config.server import DaskGateway


def test_prefixes() -> None:
    assert Proxy(prefix="").prefix == ""
    assert Proxy(prefix="/").prefix == ""
    assert Proxy(prefix="/a/b//").prefix == "/a/b"
    with pytest.raises(SettingError, match="prefix must begin with '/'"):
        Proxy(prefix="a")


def test_both_halves_of_a_key_pair_or_none() -> None:
    assert Proxy(tls_key="k", tls_cert="c").tls_cert == "c"
    with pytest.raises(SettingError, match="tls_key needs tls_cert"):
        Proxy(tls_key="k")
    with pytest.raises(SettingError, match="tls_cert needs tls_key"):
        Proxy(tls_cert="c")


def test_hosts_of_dashboards() -> None:
    names = ("gateway.example",)
    assert Proxy().dashboard_access == "link"
    assert Proxy(dashboard_host="*.Dash.example.", host_names=names).dashboard_host == "*.dash.example"
    for wrong in ("dash.example", "*", "*.", "*.*.example", "*.dash.example:8443", "*.dash example", "https://*.dash"):
        with pytest.raises(SettingError, match=r"must be '\*\.' and a domain without a port"):
            Proxy(dashboard_host=wrong, host_names=names)
    with pytest.raises(SettingError, match="dashboard_host needs host_names"):
        Proxy(dashboard_host="*.dash.example")
    with pytest.raises(SettingError, match="must be one of 'link', 'owner', 'open'"):
        Proxy(dashboard_access="public")
    with pytest.raises(SettingError, match="must be at least 60"):
        Proxy(dashboard_link_max_age=59)


def test_addresses_are_checked() -> None:
    Proxy(address="[::]:8000", tcp_address="")
    Proxy(address="unix:/run/gateway.sock", tcp_address="systemd:schedulers")
    DaskGateway(address="127.0.0.1:8001")
    for option in ("address", "tcp_address"):
        with pytest.raises(SettingError, match="must be HOST:PORT"):
            Proxy(**{option: "8000"})


def test_levels() -> None:
    assert [DaskGateway(log_level=level).log_level for level in ("debug", 30, "INFO")] == ["DEBUG", "WARNING", "INFO"]
    for level in ("loud", 11):
        with pytest.raises(SettingError, match="must be one of DEBUG, INFO"):
            DaskGateway(log_level=level)


def test_a_backend_is_a_backend() -> None:
    with pytest.raises(SettingError, match="must be a subclass of DBBackendBase"):
        DaskGateway(backend_class=Backend)


@pytest.mark.parametrize(
    ("url", "normal"),
    [("", ""), ("http://edge:8000/api/", "http://edge:8000/api"), ("https://a/b/api", "https://a/b/api")],
)
def test_api_urls(url: str, normal: str) -> None:
    assert Backend(api_url=url).api_url == normal


def test_what_is_no_api_url() -> None:
    for url in ("edge:8000", "http://", "http:///api"):
        with pytest.raises(SettingError, match="must begin with http"):
            Backend(api_url=url)


def test_keys_of_both_kinds_of_base64_serve_fernet() -> None:
    raw = bytes(range(224, 256))
    keys = (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode() + "\n")
    normal = DBBackendBase(db_encrypt_keys=keys).db_encrypt_keys
    assert normal[0] == normal[1]
    Fernet(normal[0])
    assert DBBackendBase(db_encrypt_keys=normal).db_encrypt_keys == normal


@pytest.mark.parametrize("key", ["", "hunter2", base64.b64encode(b"short").decode(), "é" * 44])
def test_wrong_keys_are_refused_without_repeating_them(key: str) -> None:
    with pytest.raises(SettingError) as caught:
        DBBackendBase(db_encrypt_keys=[base64.b64encode(bytes(32)).decode(), key])
    assert str(caught.value).endswith("(key 2)")
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "in_memory", "file"),
    [
        ("sqlite://", True, ""),
        ("sqlite:///:memory:", True, ""),
        ("sqlite:///", True, ""),
        ("sqlite:///a.sqlite", False, "a.sqlite"),
        ("sqlite:////var/a.sqlite", False, "/var/a.sqlite"),
        ("postgresql+psycopg://u:p@h/d", False, ""),
    ],
)
def test_databases(url: str, in_memory: bool, file: str) -> None:
    backend = DBBackendBase(db_url=url)
    assert backend.database_in_memory is in_memory
    assert backend.database_file == file
    assert backend.stops_clusters is in_memory
    assert "db_url" not in repr(backend)


def test_what_is_no_database() -> None:
    for url in ("dask.sqlite", "mysql://h/d"):
        with pytest.raises(SettingError, match="db_url must begin with sqlite"):
            DBBackendBase(db_url=url)


def test_who_decides_whether_clusters_are_stopped() -> None:
    @configurable
    class Local(DBBackendBase):
        stops_clusters_by_default = True

    assert not DBBackendBase().stops_clusters
    assert Local().stops_clusters
    assert DBBackendBase(stop_clusters_on_shutdown=True).stops_clusters
    assert not Local(stop_clusters_on_shutdown=False).stops_clusters
    with pytest.raises(SettingError, match="must be True for a database in memory"):
        DBBackendBase(stop_clusters_on_shutdown=False, db_url="sqlite://")


def test_heartbeat_timeout() -> None:
    assert DBBackendBase(cluster_heartbeat_period=10).heartbeat_timeout == 20
    assert DBBackendBase(cluster_heartbeat_timeout=100).heartbeat_timeout == 100
    with pytest.raises(SettingError, match="must be more than cluster_heartbeat_period"):
        DBBackendBase(cluster_heartbeat_timeout=15)


def test_a_base_cannot_be_opened() -> None:
    with pytest.raises(NotImplementedError):
        DBBackendBase().open_driver()


def test_trusted_proxies_are_addresses_and_networks() -> None:
    assert Proxy(trusted_proxies=("10.0.0.5", "fd00::/8", "unix")).trusted_proxies == ("10.0.0.5", "fd00::/8", "unix")
    with pytest.raises(ValueError, match="nonsense"):
        Proxy(trusted_proxies=("nonsense",))


@pytest.mark.parametrize("url", ["http://edge:8000", "http://edge/api/v1", "https://edge/dask/"])
def test_an_api_url_ends_in_api(url: str) -> None:
    with pytest.raises(SettingError, match="api_url must end in /api"):
        Backend(api_url=url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite://x", "must have three slashes"),
        ("sqlite://x/y.sqlite", "must have three slashes"),
        ("sqlite+aiosqlite:///x", "must begin with sqlite:// or postgresql://"),
        ("postgresql+asyncpg://h/d", "must begin with sqlite:// or postgresql://"),
        ("postgresql://u:s3cr3t@h:port/d", "must be a database's URL"),
    ],
)
def test_databases_that_cannot_be_opened(url: str, reason: str) -> None:
    with pytest.raises(SettingError, match=reason) as caught:
        DBBackendBase(db_url=url)
    assert "s3cr3t" not in str(caught.value)


# Values that the original takes


@pytest.mark.parametrize(
    ("written", "level"),
    [
        ("WARN", "WARNING"),
        ("warn", "WARNING"),
        ("Fatal", "CRITICAL"),
        (0, "DEBUG"),
        (50, "CRITICAL"),
        (" info ", "INFO"),
    ],
)
def test_levels_by_their_other_names(written: Any, level: str) -> None:
    assert DaskGateway(log_level=written).log_level == level


RAW = bytes(range(0xE0, 0x100))


@pytest.mark.parametrize(
    "key",
    [
        RAW,
        base64.b64encode(RAW),
        base64.urlsafe_b64encode(RAW),
        base64.b64encode(RAW).decode(),
        base64.urlsafe_b64encode(RAW).decode() + "\n",
    ],
)
def test_keys_are_text_or_bytes(key: Any) -> None:
    backend = DBBackendBase(db_encrypt_keys=[key])
    assert backend.db_encrypt_keys == (base64.urlsafe_b64encode(RAW).decode(),)
    assert DBBackendBase(db_encrypt_keys=backend.db_encrypt_keys).db_encrypt_keys == backend.db_encrypt_keys


def test_a_key_of_32_letters() -> None:
    for key in ("x" * 32, b"x" * 32):
        assert DBBackendBase(db_encrypt_keys=[key]).db_encrypt_keys == (base64.urlsafe_b64encode(b"x" * 32).decode(),)


@pytest.mark.parametrize(
    "key", [b"abcde", b"\x00" * 43 + b"=", b"=" + b"a" * 43, "=" + "a" * 43, b"", "ä" * 40, 3, None]
)
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(SettingError, match="db_encrypt_keys") as caught:
        DBBackendBase(db_encrypt_keys=[key])
    assert "aaaa" not in str(caught.value)
    assert "abcde" not in str(caught.value)


@pytest.mark.parametrize(
    "option", ["cluster_start_timeout", "worker_start_timeout", "cluster_heartbeat_timeout", "db_cleanup_period"]
)
def test_times_below_one_second(option: str) -> None:
    backend = DBBackendBase(cluster_heartbeat_period=0.1, **{option: 0.25})
    assert getattr(backend, option) == 0.25


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("scheduler_networks", ["10.0.0.0/8", "fd00::/8", "127.0.0.1"], "10.0.0.5/8"),
        ("scheduler_networks", [], "compute-nodes"),
        ("host_names", ["gateway", "gateway.example.org."], "gateway:8000"),
        ("host_names", [], "https://gateway"),
        ("host_names", [], ""),
    ],
)
def test_networks_and_names(option, good, bad):
    assert getattr(Proxy(**{option: tuple(good)}), option) == tuple(good)
    with pytest.raises(SettingError, match=option):
        Proxy(**{option: (*good, bad)})


def test_how_log_lines_look() -> None:
    assert DaskGateway().log_style == "auto"
    assert DaskGateway(log_format="json").log_style == "json"
    assert DaskGateway(log_format="json").warnings() == ()
    with pytest.raises(SettingError, match="must be one of auto, console, json"):
        DaskGateway(log_format="xml")


def test_the_original_s_format_of_log_lines_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text("c.DaskGateway.log_format = '[%(name)s] %(message)s'\n")
    config = load(file)
    assert config.gateway.log_style == "auto"
    assert any("c.DaskGateway.log_format is a format of Python's logging" in warning for warning in config.warnings)
