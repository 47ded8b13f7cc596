"""Addresses to listen at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.addresses import Address, check_listener, is_loopback, parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8000", "", 8000),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("edge-1.example.org:65535", "edge-1.example.org", 65535),
        ("[::]:8000", "::", 8000),
        ("[::1]:1", "::1", 1),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text", ["", ":", "8000", "host", "host:", ":x", ":65536", "::1:80", "[::1]", "a b:1", "a:1\n", "http://a:1", ":٣"]
)
def test_not_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        parse_address(text)


@given(st.text() | st.from_regex(r"[a-z0-9.:\[\]-]{0,12}:[0-9]{1,6}", fullmatch=True))
def test_any_text_is_an_address_that_reads_back_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address
    assert 0 <= address.port <= 65535


@given(st.ip_addresses(v=6), st.integers(0, 65535))
def test_every_v6_address(ip: object, port: int) -> None:
    assert parse_address(f"[{ip}]:{port}") == Address(str(ip), port)


@pytest.mark.parametrize("text", [":8000", "[::]:1", "unix:/run/gateway.sock", "fd://3", "systemd", "systemd:public"])
def test_listeners(text: str) -> None:
    check_listener(text)


@pytest.mark.parametrize(
    "text", ["", "unix:relative", f"unix:/{'a' * 107}", "fd://", "fd://x", "systemd:", "tcp://a:1"]
)
def test_not_listeners(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be HOST:PORT.* or unix:/PATH"):
        check_listener(text)


@pytest.mark.parametrize("text", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "LOCALHOST.:1", "[::1]:1"])
def test_what_only_this_machine_can_reach(text: str) -> None:
    assert is_loopback(text)


@pytest.mark.parametrize(
    "text",
    [":1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example.org:1", "[fe80::1%lo]:1", "unix:/x", "systemd"],
)
def test_what_others_may_reach(text: str) -> None:
    assert not is_loopback(text)
