"""The table of routes and its two kinds of callbacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import parse_url
from gateway.proxy.routes import Route, Routes


def test_look_up_by_server_name_without_case() -> None:
    routes = Routes()
    routes.add("abc", "tls://10.0.0.1:8786", "http://10.0.0.1:8787")
    route = Route("abc", ("10.0.0.1", 8786), ("10.0.0.1", 8787))
    assert routes.get("abc") == route
    assert routes.find("daskgateway-abc") == route
    assert routes.find("DASKGATEWAY-ABC") == route
    assert routes.dashboard("abc") == ("10.0.0.1", 8787)
    for other in ("abc", "daskgateway-", "daskgateway-abcd", ""):
        assert routes.find(other) is None
    assert routes.dashboard("abcd") is None


def test_a_cluster_without_dashboard() -> None:
    routes = Routes()
    routes.add("abc", "tls://[::1]:8786")
    assert routes.get("abc") == Route("abc", ("::1", 8786))
    assert routes.dashboard("abc") is None


def test_a_cluster_with_several_names() -> None:
    routes = Routes()
    routes.add("abc", "", "http://n1:8787")
    routes.add("abc-one", "tls://n1:8786", cluster="abc")
    routes.add("abc-two", "tls://n1:8786", "http://n1:8787", cluster="abc")
    assert {route.name for route in routes.of_cluster("abc")} == {"abc", "abc-one", "abc-two"}
    assert routes.find("daskgateway-abc") is None, "it leads to the dashboard alone"
    assert routes.find("daskgateway-abc-one") == Route("abc-one", ("n1", 8786), cluster="abc")
    assert (routes.dashboard("abc"), routes.dashboard("abc-one")) == (("n1", 8787), None)
    gone: list[Route] = []
    refused: list[str] = []
    with routes.on_gone(gone.append), routes.on_refused(refused.append):
        routes.refused("abc-two")
        routes.remove("abc-two")
        routes.refused("abc-two")
    assert [route.name for route in gone] == ["abc-two"]
    assert refused == ["abc", "abc-two"]
    routes.remove("abc")
    routes.remove("abc-one")
    assert not routes.of_cluster("abc")


def test_a_route_leads_somewhere() -> None:
    routes = Routes()
    with pytest.raises(ValueError, match="to a scheduler, to a dashboard, or to both"):
        routes.add("abc", "", "")
    assert routes.get("abc") is None


def test_removed_and_replaced_routes_are_told() -> None:
    routes = Routes()
    gone: list[Route] = []
    with routes.on_gone(gone.append):
        routes.add("abc", "tls://a:1")
        routes.add("abc", "tls://a:1")
        assert gone == []
        routes.add("abc", "tls://b:1")
        assert gone == [Route("abc", ("a", 1))]
        routes.remove("abc")
        routes.remove("abc")
        assert gone == [Route("abc", ("a", 1)), Route("abc", ("b", 1))]
    routes.add("abc", "tls://a:1")
    routes.remove("abc")
    assert len(gone) == 2


def test_refused_connections_are_told() -> None:
    routes = Routes()
    told: list[str] = []
    routes.refused("abc")
    with routes.on_refused(told.append):
        routes.refused("abc")
    assert told == ["abc"]


def test_clients_are_told() -> None:
    routes = Routes()
    told: list[tuple[str, bool]] = []
    routes.client("abc", connected=True)
    with routes.on_client(lambda name, connected: told.append((name, connected))):
        routes.client("abc", connected=False)
    routes.client("abc", connected=True)
    assert told == [("abc", False)]


@pytest.mark.parametrize(
    "text", ["host", "host:1", "tls://:1", "tls://host", "tls://host:0", "tls://h:99999", "tls://[::1"]
)
def test_what_is_no_address(text: str) -> None:
    routes = Routes()
    with pytest.raises(ValueError, match="is not an address"):
        routes.add("abc", text)
    assert routes.get("abc") is None


@given(st.text(max_size=40) | st.from_regex(r"tls://[a-z0-9.:\[\]@%-]{0,12}:[0-9]{1,6}", fullmatch=True))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        host, port = parse_url(text)
    except ValueError:
        return
    assert host
    assert 0 < port < 65536
