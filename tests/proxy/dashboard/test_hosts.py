"""Hosts of their own for dashboards."""

import pytest

from gateway.proxy.dashboard.hosts import Hosts

HOSTS = Hosts("*.dash.example", "gateway.example")


@pytest.mark.parametrize(
    ("host", "cluster"),
    [
        (b"c0ffee.dash.example", "c0ffee"),
        (b"C0FFEE.Dash.Example.:8443", "c0ffee"),
        (b" c0ffee.dash.example:443 ", "c0ffee"),
        (b"dash.example", None),
        (b".dash.example", None),
        (b"a.b.dash.example", None),
        (b"c0ffee.dash.example.evil", None),
        (b"c0ffee.crash.example", None),
        (b"c0ffee.dash.example:x", None),
        (b"c0ffee_dash.example", None),
        (b"gateway.example", None),
        (b"[::1]:8000", None),
        (b"", None),
    ],
)
def test_whose_a_host_is(host: bytes, cluster: str | None) -> None:
    assert HOSTS.cluster_at(host) == cluster


@pytest.mark.parametrize(
    ("asked", "port"),
    [(b"gateway.example", b""), (b"gateway.example:8443", b":8443"), (b"[::1]:8000", b":8000"), (b"[::1]", b"")],
)
def test_the_port_is_as_it_was_asked(asked: bytes, port: bytes) -> None:
    assert HOSTS.of_cluster("c0ffee", asked) == b"c0ffee.dash.example" + port
    assert HOSTS.of_gateway(asked) == b"gateway.example" + port
    assert HOSTS.cluster_at(HOSTS.of_cluster("c0ffee", asked)) == "c0ffee"
