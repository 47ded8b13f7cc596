"""The path of a dashboard's address, taken apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.dashboard.paths import Place, parse_place


@pytest.mark.parametrize(
    ("raw", "root", "place"),
    [
        (b"/clusters/c/status", "", Place("c", "/clusters/c", "", b"", b"/status")),
        (b"/clusters/c/", "", Place("c", "/clusters/c", "", b"", b"/")),
        (b"/clusters/c", "", Place("c", "/clusters/c", "", b"", None)),
        (b"/gw/clusters/c/a%2Fb/~x", "/gw", Place("c", "/gw/clusters/c", "", b"", b"/a%2Fb/~x")),
        (b"/gw/clusters/c/~1.a/s/~t", "/gw", Place("c", "/gw/clusters/c", "~1.a", b"~1.a", b"/s/~t")),
        (b"/clusters/c/~1.a/", "", Place("c", "/clusters/c", "~1.a", b"~1.a", b"/")),
        (b"/clusters/c/~1.a", "", Place("c", "/clusters/c", "~1.a", b"~1.a", None)),
        (b"/clusters/c/%7E1%2Ea/s", "", Place("c", "/clusters/c", "~1.a", b"%7E1%2Ea", b"/s")),
        (b"/clusters/%3Cc%3E/~", "", Place("<c>", "/clusters/<c>", "~", b"~", None)),
        (b"/clusters/c//evil", "", Place("c", "/clusters/c", "", b"", b"//evil")),
    ],
)
def test_on_the_gateways_own_host(raw: bytes, root: str, place: Place) -> None:
    assert parse_place(raw, root, None) == place


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"/", Place("c", "", "", b"", b"/")),
        (b"", Place("c", "", "", b"", b"/")),
        (b"/status", Place("c", "", "", b"", b"/status")),
        (b"/clusters/d/x", Place("c", "", "", b"", b"/clusters/d/x")),
        (b"/~1.a", Place("c", "", "~1.a", b"~1.a", None)),
        (b"/~1.a/x", Place("c", "", "~1.a", b"~1.a", b"/x")),
    ],
)
def test_on_the_host_of_a_cluster(raw: bytes, place: Place) -> None:
    assert parse_place(raw, "", "c") == place


def test_what_the_browser_has_before_a_dashboards_paths() -> None:
    assert parse_place(b"/clusters/c/x", "", None).prefix == "/clusters/c"
    assert parse_place(b"/clusters/c/%7E1.a/x", "", None).prefix == "/clusters/c/%7E1.a"
    assert parse_place(b"/~1.a/x", "", "c").prefix == "/~1.a"


@given(st.binary(max_size=40))
def test_whatever_it_is_the_parts_are_the_whole(rest: bytes) -> None:
    raw = b"/clusters/c/" + rest
    place = parse_place(raw, "", None)
    assert place.prefix.encode("latin1") + (place.path or b"") == raw
    assert place.link.startswith("~") or place.link_as_sent == b""
