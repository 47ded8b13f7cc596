"""What the headers of a request show of the page that has sent it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.request_origin import HostNames, may_change, other_page


def headers(*pairs):
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs]


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "gateway:8000", "http://gateway:8000"),
        ("http", "Gateway", "http://gateway"),
        ("http", "gateway:80", "http://gateway"),
        ("http", "gateway", "http://gateway:80"),
        ("https", "gateway", "https://gateway:443"),
        ("https", "gateway:443", "https://gateway"),
        ("http", "[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_our_own_origin_in_all_spellings(scheme, host, origin):
    assert other_page(headers(("Host", host), ("Origin", origin)), scheme) == ""


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "gateway:8000", "http://gateway"),
        ("http", "gateway:8000", "https://gateway:8000"),
        ("https", "gateway", "http://gateway"),
        ("http", "gateway:443", "http://gateway"),
        ("http", "gateway", "ws://gateway"),
        ("http", "gateway", "null"),
        ("http", "gateway", ""),
    ],
)
def test_other_origins(scheme, host, origin):
    assert other_page(headers(("Host", host), ("Origin", origin)), scheme) == f"Origin: {origin}"


def test_sites() -> None:
    for ours in ("same-origin", "None", " none "):
        assert other_page(headers(("Sec-Fetch-Site", ours), ("Sec-Fetch-Site", "none")), "http") == ""
    for other in ("same-site", "cross-site", "", "same-origin, none"):
        assert other_page(headers(("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", other)), "http")
    https = headers(("Host", "a"), ("Origin", "https://a"), ("Sec-Fetch-Site", "same-origin"))
    assert other_page(https, "http") == ""


def test_an_origin_needs_one_host_to_be_compared_with():
    origin = ("Origin", "http://a")
    assert other_page(headers(origin), "http")
    assert other_page(headers(origin, ("Host", "a"), ("Host", "b")), "http")


def test_what_is_shown_is_bounded():
    assert len(other_page(headers(("Sec-Fetch-Site", "ü" * 10_000)), "http")) < 200


def test_changes_are_declared_as_json():
    json, text = headers(("content-type", "application/json")), headers(("Content-Type", "text/plain"))
    for method in ("GET", "HEAD", "OPTIONS"):
        assert may_change(method, text)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert may_change(method, json)
        assert not may_change(method, text)
        assert not may_change(method, [*json, *json])
        assert may_change(method, []) == (method == "DELETE")


def test_names_of_hosts():
    names = HostNames(["Edge.site.", "", "edge"])
    for ours in ("edge", "EDGE.SITE:8000", "edge.site.", "localhost", "10.0.0.1:80", "[fe80::1]:1", "::1", "[::1]"):
        assert names.foreign(headers(("host", ours))) == ""
    for other in ("edge.site.evil", "site", "10.0.0.1.evil:80", "[edge.evil]", "a:b:c", "[]"):
        assert names.foreign(headers(("x", "y"), ("Host", "edge"), ("Host", other))) == other
    assert names.foreign(headers(("Host", ""))) == "(none)"
    assert names.foreign([]) == ""


@given(st.lists(st.tuples(st.sampled_from([b"host", b"origin", b"sec-fetch-site", b"content-type"]), st.binary())))
def test_any_bytes_have_an_answer(pairs):
    other_page(pairs, "http")
    HostNames([]).foreign(pairs)
    may_change("POST", pairs)
