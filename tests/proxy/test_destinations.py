"""Which addresses are connected to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.destinations import Destinations

OURS = "10.0.0.5", "fd00::5"


def destinations(**options) -> Destinations:
    return Destinations(lambda address: address in OURS, **options)


def refused(host: str, port: int = 9, **options) -> bool:
    return bool(destinations(**options).refusal(host, port))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.255.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "169.254.1.1"]
)
def test_what_is_special_is_for_jobs_of_this_host(host: str) -> None:
    assert refused(host)
    assert not refused(host, jobs_here=lambda: True)


@pytest.mark.parametrize("host", ["fe80::1", "fe80::1%eth0", *OURS, "::ffff:10.0.0.5"])
def test_so_are_its_own_addresses(host: str) -> None:
    assert refused(host)
    assert not refused(host, jobs_here=lambda: True)


@pytest.mark.parametrize("host", ["10.0.0.6", "192.168.1.1", "8.8.8.8", "fd00::6", "2001:db8::1", "::ffff:10.0.0.6"])
def test_others_are_connected_to(host: str) -> None:
    assert not refused(host)


@pytest.mark.parametrize("host", ["224.0.0.1", "ff02::1", "255.255.255.255"])
def test_what_is_no_host_is_not(host: str) -> None:
    assert refused(host, jobs_here=lambda: True)


@pytest.mark.parametrize(
    ("bound", "host", "ours"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "10.0.0.5", True),
        ("::", "::1", True),
        ("::", "::ffff:10.0.0.5", True),
        ("::", "0.0.0.0", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::1", "::", True),
        ("10.0.0.5", "10.0.0.5", True),
        ("fe80::1%eth0", "fe80::1%eth1", False),  # not ours, as far as `is_here` knows
        ("10.0.0.5", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "10.0.0.5", False),
        ("0.0.0.0", "10.0.0.6", False),
    ],
)
def test_our_own_listeners(bound: str, host: str, ours: bool) -> None:
    there = destinations(listeners=[(bound, 8000)], jobs_here=lambda: True)
    assert ("itself listens" in there.refusal(host, 8000)) == ours
    assert there.refusal(host, 8001) == ""
    listed = destinations(listeners=[(bound, 8000)], networks=["0.0.0.0/0", "::/0"], jobs_here=lambda: True)
    assert bool(listed.refusal(host, 8000)) == ours


@pytest.mark.parametrize(
    ("network", "host", "reached"),
    [
        ("10.0.0.0/8", "10.0.0.6", True),
        ("10.0.0.0/8", "11.0.0.6", False),
        ("10.0.0.0/8", "fd00::6", False),
        ("10.0.0.0/8", "10.0.0.5", False),
        ("10.0.0.5/32", "10.0.0.5", True),
        ("10.0.0.5", "::ffff:10.0.0.5", True),
        ("fd00::5", "fd00::5", True),
        ("fd00::/8", "fd00::5", False),
        ("0.0.0.0/0", "127.0.0.1", False),
        ("127.0.0.0/8", "127.0.0.1", True),
        ("127.0.0.0/30", "127.0.0.1", True),
        ("127.0.0.2", "127.0.0.1", False),
        ("::/0", "::1", False),
        ("::1", "::1", True),
        ("::1", "::", True),
        ("0.0.0.0/0", "169.254.1.1", False),
        ("169.254.0.0/16", "169.254.1.1", True),
        ("fe80::/10", "fe80::1", True),
    ],
)
def test_listed_networks(network: str, host: str, reached: bool) -> None:
    assert refused(host, networks=["192.0.2.0/24", network]) != reached


def test_listed_networks_of_jobs_that_are_here() -> None:
    assert not refused("10.0.0.5", networks=["10.0.0.0/8"], jobs_here=lambda: True)
    assert refused("127.0.0.1", networks=["10.0.0.0/8"], jobs_here=lambda: True)


def test_what_cannot_be_found_out_is_not_connected_to() -> None:
    def broken(address: str) -> bool:
        raise PermissionError("no netlink")

    assert "no netlink" in Destinations(broken, jobs_here=lambda: True).refusal("10.0.0.1", 1)


def test_refusals_say_what_to_do() -> None:
    for host, words in (("127.0.0.1", "loopback"), ("10.0.0.5", "this host's own"), ("169.254.1.1", "link-local")):
        assert words in destinations().refusal(host, 1)
        assert "c.Proxy.scheduler_networks" in destinations().refusal(host, 1)
    assert "c.Proxy.scheduler_networks" in destinations(networks=["10.0.0.0/8"]).refusal("11.0.0.1", 1)


@given(st.ip_addresses(), st.booleans())
def test_every_address_has_an_answer(address, jobs_here: bool) -> None:
    assert isinstance(destinations(jobs_here=lambda: jobs_here, networks=["10.0.0.0/8"]).refusal(str(address), 1), str)
