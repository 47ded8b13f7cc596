"""What passes between a browser and a dashboard."""

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxy.dashboard.headers import Origin, below, has_passed, request_headers, response_headers

ORIGIN = Origin(client="192.0.2.7", scheme="https", host=b"hpc.example", prefix="/gw/clusters/abc", cluster="abc")
UPSTREAM = b"10.0.0.1:8787"
#: How the names of this cluster's cookies begin.
OURS = b"dask-dashboard-abc."


def to_dashboard(*headers: tuple[bytes, bytes]) -> dict[bytes, bytes]:
    return dict(request_headers(headers, ORIGIN))


def to_browser(*headers: tuple[bytes, bytes], framed: bool = True) -> list[tuple[bytes, bytes]]:
    return response_headers(headers, ORIGIN, UPSTREAM, framed=framed)


def check_cookie_is_below(prefix: bytes, set_cookie: bytes) -> None:
    """A browser sends this cookie to `prefix` and what is below it alone (RFC 6265, 5.1.4: its last `Path` counts)."""
    attributes = (part.strip().partition(b"=") for part in set_cookie.split(b";")[1:])
    *_, path = (value for name, _, value in attributes if name.lower() == b"path")
    assert path == prefix or path.startswith(prefix + b"/")


def test_where_a_request_came_from_is_ours_to_say() -> None:
    passed = to_dashboard(
        (b"Host", b"liar"),
        (b"X-Forwarded-For", b"1.2.3.4"),
        (b"x-forwarded-user", b"root"),
        (b"Forwarded", b"for=1.2.3.4"),
        (b"X-Real-IP", b"1.2.3.4"),
        (b"True-Client-IP", b"1.2.3.4"),
        (b"X-Client-IP", b"1.2.3.4"),
        (b"X_Forwarded_For", b"1.2.3.4"),
        (b"Accept", b"text/html"),
    )
    assert passed == {
        b"host": b"hpc.example",
        b"accept": b"text/html",
        b"via": b"1.1 gateway",
        b"x-forwarded-for": b"192.0.2.7",
        b"x-forwarded-host": b"hpc.example",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-prefix": b"/gw/clusters/abc",
    }


def test_a_page_in_the_sandbox_is_the_dashboards_own_if_it_knows_the_link() -> None:
    """Servers such as Tornado's take websockets from pages of their own host only."""
    by_link = evolve(ORIGIN, by_link=True)
    for said, told in (
        (b"null", b"https://hpc.example"),
        (b" NULL", b"https://hpc.example"),
        (b"http://x", b"http://x"),
    ):
        assert dict(request_headers([(b"Origin", said)], by_link))[b"origin"] == told
        assert to_dashboard((b"Origin", said))[b"origin"] == said
    assert b"origin" not in dict(request_headers([], by_link))


def test_what_is_meant_for_the_gateway_stays_here() -> None:
    passed = to_dashboard(
        (b"Authorization", b"Basic secret"),
        (b"Cookie", b"dask-dashboard-abc.a=1; dask-gateway-user=secret;dask-dashboard-abc.b=2;=;"),
        (b"cookie", b"Dask-Gateway-Other=secret; grafana=secret; dask-dashboard-abcd.a=3; dask-dashboard-abc.c"),
    )
    assert passed[b"cookie"] == b"a=1; b=2"
    assert b"authorization" not in passed
    assert b"cookie" not in to_dashboard((b"Cookie", b"dask-gateway-user=secret; a=1; x=dask-dashboard-abc.b=2"))


# What servers in front are documented to add, by product; and proofs that browsers and programs send by themselves.
IDENTITIES = """
    X-Auth-Request-User X-Auth-Request-Email X-Auth-Request-Access-Token X-Forwarded-Access-Token
    Remote-User Remote-Groups Remote-Name X-Remote-User X-WEBAUTH-USER X-Authentik-Username X-Authentik-Jwt
    Cf-Access-Jwt-Assertion Cf-Access-Authenticated-User-Email Cf-Access-Client-Secret
    X-Amzn-Oidc-Data X-Amzn-Oidc-Accesstoken X-Amz-Security-Token
    X-Goog-Iap-Jwt-Assertion X-Goog-Authenticated-User-Email X-Ms-Token-Aad-Access-Token X-Ms-Client-Principal
    X-Pomerium-Claim-Email X-Vouch-IdP-AccessToken X-Vouch-User Tailscale-User-Login
    Shib-Session-ID eppn OIDC_CLAIM_sub X-Userinfo X-ID-Token X-Consumer-Username X-Credential-Identifier
    SSL-Client-Cert X-SSL-Client-S-DN Client-Cert Client-Cert-Chain X-Client-Certificate X-User X-Email
    X-Api-Key apikey Private-Token X-Access-Token X-OAuth-Scopes Sec-Private-State-Token Secure-Session-Response
    X-Endpoint-API-UserInfo Impersonate-Group X-Remote-Extra-Scopes X-Amzn-Mtls-Clientcert-Leaf X-Login
"""
# What browsers say of themselves and of a page, and what a page's scripts may say to its own server.
HARMLESS = """
    Accept Accept-Encoding Accept-Language Access-Control-Request-Headers Cache-Control Content-Type DNT If-None-Match
    Last-Event-ID Pragma Priority Range Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Site Sec-Fetch-User Sec-GPC
    Service-Worker Upgrade-Insecure-Requests User-Agent X-Requested-With Bokeh-Session-Id X-CSRF-Token X-CSRFToken
    X-XSRF-Token X-Xsrftoken Traceparent X-Author X-Authority
"""


@pytest.mark.parametrize("name", IDENTITIES.split())
def test_who_a_visitor_is_stays_here(name: str) -> None:
    assert to_dashboard((name.encode(), b"secret")) == to_dashboard()


def test_the_page_that_led_to_a_dashboard_is_not_told() -> None:
    """Where a JupyterHub is on the same host, its address may hold a notebook's token."""
    assert to_dashboard((b"Referer", b"https://hpc.example/user/alice/lab?token=secret")) == to_dashboard()


@pytest.mark.parametrize("name", HARMLESS.split())
def test_what_a_page_needs_reaches_its_server(name: str) -> None:
    assert to_dashboard((name.encode(), b"value"))[name.lower().encode()] == b"value"


def test_a_cookie_comes_back_as_it_was_set() -> None:
    for pair in (b"a=1", b"a=", b"=1", b"dask-gateway-user=mine", b'__Host-a="x=y"', b"dask-dashboard-b.a=1"):
        ((_, value),) = to_browser((b"Set-Cookie", pair))
        kept = value.partition(b";")[0]
        assert kept.startswith(OURS)
        assert to_dashboard((b"Cookie", b"other=1; " + kept))[b"cookie"] == pair
    ((_, nameless),) = to_browser((b"Set-Cookie", b"dask-gateway-user; Path=/"))
    assert nameless == OURS + b"=dask-gateway-user; Path=/gw/clusters/abc/"


def test_a_request_names_the_servers_that_it_has_passed() -> None:
    assert to_dashboard((b"Via", b"1.0 a"), (b"via", b"2 b (c)"))[b"via"] == b"1.0 a, 2 b (c), 1.1 gateway"
    for passed in (b"1.1 us", b"1.0 a, 1.1 us (x)", b"HTTP/2  us"):
        assert has_passed([(b"x", b"1.1 us"), (b"Via", passed)], b"us")
    for other in (b"", b"us", b"1.1 us2", b"1.1 them (1.1 us)", b","):
        assert not has_passed([(b"Via", other)], b"us")


def test_hop_by_hop_headers_end_here() -> None:
    hop = [(b"Connection", b"close, X-Private"), (b"X-Private", b"1"), (b"Keep-Alive", b"5"), (b"TE", b"trailers")]
    hop += [(b"Upgrade", b"h2c"), (b"Transfer-Encoding", b"chunked"), (b"Proxy-Authorization", b"x")]
    assert set(to_dashboard(*hop)) == set(to_dashboard())
    assert to_browser(*hop) == []


def test_a_dashboard_does_not_speak_for_the_origin() -> None:
    assert to_browser(
        (b"Date", b"now"),
        (b"Server", b"Tornado"),
        (b"Clear-Site-Data", b'"*"'),
        (b"NEL", b"{}"),
        (b"Report-To", b"{}"),
        (b"Reporting-Endpoints", b"x"),
        (b"Service-Worker-Allowed", b"/"),
        (b"Strict-Transport-Security", b"max-age=1"),
        (b"WWW-Authenticate", b"Basic"),
        (b"Accept-CH", b"Device-Memory"),
        (b"Authentication-Info", b'nextnonce="x"'),
        (b"Expect-CT", b"max-age=86400, enforce"),
        (b"Public-Key-Pins", b'pin-sha256="x"; max-age=5184000'),
        (b"Secure-Session-Registration", b'(ES256);path="register"'),
        (b"Use-As-Dictionary", b'match="/*"'),
        (b"Referrer-Policy", b"unsafe-url"),
        (b"X-Content-Type-Options", b"sniff"),
        (b"Content-Type", b"text/html"),
    ) == [(b"content-type", b"text/html")]


def test_the_length_of_a_body_is_not_hop_by_hop() -> None:
    passed = to_dashboard((b"Connection", b"content-length"), (b"Content-Length", b"5"))
    assert passed[b"content-length"] == b"5"


def test_a_length_that_does_not_hold_is_not_passed_on() -> None:
    assert to_browser((b"Content-Length", b"5")) == [(b"content-length", b"5")]
    assert to_browser((b"Content-Length", b"5"), framed=False) == []


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        (b"/status", b"/gw/clusters/abc/status"),
        (b"/", b"/gw/clusters/abc/"),
        (b"http://10.0.0.1:8787/status?a=b#c", b"/gw/clusters/abc/status?a=b#c"),
        (b"https://HPC.example/status", b"/gw/clusters/abc/status"),
        (b"http://10.0.0.1:8787", b"/gw/clusters/abc/"),
        (b"/gw/clusters/abc/status", b"/gw/clusters/abc/status"),
        (b"/gw/clusters/abcd", b"/gw/clusters/abc/gw/clusters/abcd"),
        (b"//10.0.0.1:8787/x", b"/gw/clusters/abc/x"),
        (b"status", b"status"),
        (b"../x", b"../x"),
        (b"?a", b"?a"),
        (b"https://elsewhere.example/x", b"https://elsewhere.example/x"),
        (b"//[", b"//["),
    ],
)
def test_redirects_stay_below_the_prefix(location: bytes, seen: bytes) -> None:
    assert to_browser((b"Location", location)) == [(b"location", seen)]


@pytest.mark.parametrize(
    ("cookie", "seen"),
    [
        (b"a=1", b"a=1; Path=/gw/clusters/abc/"),
        (b"a=1; Path=/; HttpOnly", b"a=1; Path=/gw/clusters/abc/; HttpOnly"),
        (b"a=1; path=/sub; Domain=hpc.example; Secure", b"a=1; Path=/gw/clusters/abc/sub; Secure"),
        (b"a=1; Path=/gw/clusters/other", b"a=1; Path=/gw/clusters/abc/gw/clusters/other"),
        (b'a=1; Path="/x";', b"a=1; Path=/gw/clusters/abc/x"),
        (b"a=1; Path=//gw/clusters/abc", b"a=1; Path=/gw/clusters/abc"),
    ],
)
def test_cookies_stay_below_the_prefix(cookie: bytes, seen: bytes) -> None:
    assert to_browser((b"Set-Cookie", cookie)) == [(b"set-cookie", OURS + seen)]


@given(st.binary(max_size=60))
def test_any_location_and_cookie_is_kept_below_or_leads_elsewhere(value: bytes) -> None:
    ((_, location),) = to_browser((b"location", b"/" + value.lstrip(b"/")))
    elsewhere = (
        b"\t" in value or b"\n" in value or b"\r" in value
    )  # browsers, and urlsplit, read "/<tab>/host" as "//host"
    assert elsewhere or location == below(b"/gw/clusters/abc", location)
    for _, cookie in to_browser((b"set-cookie", b"a=" + value)):
        check_cookie_is_below(b"/gw/clusters/abc", cookie)
