"""With whom one speaks, by a URL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.origins import origin_of, own_origins


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://gw.example.org", "https://gw.example.org:443"),
        ("http://gw", "http://gw:80"),
        ("https://GW.Example.org:8000/services/dask/?a#b", "https://gw.example.org:8000"),
        ("https://[::1]:8000/", "https://[::1]:8000"),
        ("http://127.0.0.1:0", "http://127.0.0.1:80"),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin
    assert origin_of(origin) == origin


@pytest.mark.parametrize(
    "url",
    [
        *("", "gw.example.org", "gw:8000", "ftp://gw", "https://", "https://gw:x", "https://gw:99999", "https://a@gw"),
        *("https://gw\n", "https://gẃ", "https://[::1", "//gw", "https://gw/\x00"),
    ],
)
def test_what_is_no_url_of_a_server(url: str) -> None:
    with pytest.raises(ValueError, match="must be a URL"):
        origin_of(url)


@given(st.text())
def test_no_text_does_more_than_to_be_refused(text: str) -> None:
    for url in (text, f"https://{text}"):
        try:
            origin_of(url)
        except ValueError as error:
            assert "must be a URL" in str(error)


def test_what_a_server_is_called() -> None:
    hosts = ["gw.example.org", "", "0.0.0.0", "::", "gw", "gw", "::1", "not a name"]
    assert own_origins(hosts, [8000], https=True) == (
        "https://gw.example.org:8000",
        "https://gw:8000",
        "https://[::1]:8000",
        "https://localhost:8000",
    )
    assert own_origins(["gw"], [81, 80], https=False) == ("http://gw:80", "http://gw:81")
    assert own_origins(["gw"], [], https=False) == own_origins([], [80], https=False) == ()
