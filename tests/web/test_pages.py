"""The pages to log in and out, as a browser asks for them; tests/e2e/test_login.py has a real one."""

from typing import ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.authenticator import Authenticator, Login, LoginStep
from gateway.auth.simple import SimpleAuthenticator
from gateway.config.fields import configurable
from gateway.errors import TryAgainLater, Unauthorized
from gateway.models import User
from gateway.web.next_page import next_page
from tests.support.houses import basic, open_house

HTML = ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
OWN = ("Sec-Fetch-Site", "same-origin")
#: Of a browser that another site's page, or its redirect, has sent here.
VISIT = [HTML, ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")]


@configurable
class Elsewhere(Authenticator):
    """Sends people to another server."""

    schemes: ClassVar[tuple[str, ...]] = ("bearer",)
    login: ClassVar[Login] = Login.REDIRECT

    @property
    def challenge(self):
        return "Bearer"

    async def begin_login(self, callback):
        return LoginStep(f"https://idp.example/auth?{urlencode({'back': callback})}", {"state": "s3cret"})

    async def finish_login(self, callback, query, remembered):
        if query.get("state") != remembered["state"]:
            raise Unauthorized("The answer of the login server is not for this login")
        if query.get("code") == "away":
            raise TryAgainLater("The login server does not answer")
        return User(query["code"])


@configurable
class Tickets(Authenticator):
    schemes: ClassVar[tuple[str, ...]] = ("negotiate",)
    login: ClassVar[Login] = Login.CHALLENGE

    @property
    def challenge(self):
        return "Negotiate"

    async def authenticate(self, request):
        if request.headers.get("Authorization") != "Negotiate good":
            raise Unauthorized("No ticket was sent", challenge="Negotiate")
        return User("ann"), "final"

    async def pre_response(self, request, response, context=None):
        response.headers["WWW-Authenticate"] = f"Negotiate {context}"


class Browser:
    """Asks a house for pages, and keeps cookies."""

    def __init__(self, house):
        self.house = house
        self.cookies = {}

    async def ask(self, method, path, *, form=None, headers=(HTML, OWN), **more):
        headers = list(headers)
        if self.cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        if form is not None:
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
            more["data"] = urlencode(form).encode()
        answer = await self.house.ask(method, path, user=None, headers=headers, **more)
        for cookie in answer.headers.get("set-cookie", ()):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
            if "Max-Age=0" in cookie:
                del self.cookies[name]
        return answer

    async def log_in(self, name="ann", password="p", *, next="", method="simple", **more):
        form = {"name": name, "password": password, "next": next, "method": method}
        return await self.ask("POST", "/login", form=form, **more)


def location(answer):
    assert answer.status == 303, answer.body
    return answer.headers["location"][0]


@pytest.fixture
def simple():
    return SimpleAuthenticator(password="p")


async def test_whoever_asks_for_a_page_is_sent_to_log_in_and_back(simple):
    async with open_house(authenticator=simple) as house:
        browser = Browser(house)
        to = location(await browser.ask("GET", "/api/v1/clusters/?status=running"))
        assert urlsplit(to).path == "/login"
        page = await browser.ask("GET", to)
        assert (page.status, b"<button>Log in</button>" in page.body) == (200, True)
        assert "www-authenticate" not in page.headers
        back = parse_qs(urlsplit(to).query)["next"][0]
        assert back == "/api/v1/clusters/?status=running"
        assert location(await browser.log_in(next=back)) == back
        assert (await browser.ask("GET", back)).json == {}
        assert location(await browser.ask("GET", f"/login?next={back}")) == "/api/v1/clusters/?status=running"


async def test_programs_are_challenged_and_not_sent_anywhere(simple):
    async with open_house(authenticator=(Tickets(), simple)) as house:
        answer = await Browser(house).ask("GET", "/api/v1/clusters/", headers=[("Accept", "*/*")])
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["Negotiate", "Basic"])


async def test_a_wrong_password(simple):
    async with open_house(authenticator=simple) as house:
        browser = Browser(house)
        answer = await browser.log_in(password="<guess>", name='"><script>')
        assert answer.status == 403
        assert b"The password is wrong" in answer.body
        assert b"<guess>" not in answer.body
        assert b"<script>" not in answer.body
        assert browser.cookies == {}
        assert "www-authenticate" not in answer.headers


async def test_a_name_without_an_account_is_told_why():
    async with open_house(authenticator=SimpleAuthenticator(password="p", allowed_users={"ann"})) as house:
        for name, status, text in (("a/b", 403, b"cannot be the name"), ("eve", 403, b"not among those who may use")):
            answer = await Browser(house).log_in(name=name)
            assert (answer.status, text in answer.body) == (status, True)
        answer = await Browser(house).ask(
            "GET", "/api/v1/clusters/", headers=[HTML, ("Authorization", basic("a/b", "p"))]
        )
        assert (answer.status, b"cannot be the name" in answer.body) == (422, True)


async def test_logging_out_ends_the_session(simple):
    async with open_house(authenticator=simple) as house:
        browser = Browser(house)
        await browser.log_in()
        kept = dict(browser.cookies)
        assert b"You are logged in as ann" in (await browser.ask("GET", "/logout")).body
        assert location(await browser.ask("POST", "/logout", form={})) == "/logout"
        assert browser.cookies == {}
        assert b"You are not logged in" in (await browser.ask("GET", "/logout")).body
        browser.cookies = kept
        assert urlsplit(location(await browser.ask("GET", "/api/v1/clusters/"))).path == "/login"
        assert len(house.store.documents) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 403),
        ([("Origin", "https://evil.example")], 403),
        ([("Origin", "null")], 403),
        ([("Sec-Fetch-Site", "cross-site")], 403),
        ([("Sec-Fetch-Site", "same-site")], 403),
        ([("Sec-Fetch-Site", "same-origin")], 303),
        ([("Host", "gateway"), ("Origin", "http://gateway")], 303),
    ],
)
async def test_forms_are_taken_from_our_own_pages_only(simple, headers, status):
    async with open_house(authenticator=simple) as house:
        for path, form in (("/login", {"name": "ann", "password": "p", "method": "simple"}), ("/logout", {})):
            answer = await Browser(house).ask("POST", path, form=form, headers=[HTML, *headers])
            assert answer.status == status


async def test_a_login_elsewhere():
    async with open_house(authenticator=(Elsewhere(), Tickets()), prefix="/dask") as house:
        browser = Browser(house)
        page = await browser.ask("GET", "/dask/login?next=/dask/tokens")
        assert b'href="/dask/login/elsewhere?next=/dask/tokens"' in page.body
        to = location(
            await browser.ask("GET", "/dask/login/elsewhere?next=/dask/tokens", headers=[HTML, ("Host", "gw")])
        )
        assert to == "https://idp.example/auth?back=http%3A%2F%2Fgw%2Fdask%2Flogin%2Felsewhere%2Fcallback"
        assert not any("s3cret" in value for value in browser.cookies.values())
        kept = dict(browser.cookies)
        back = await browser.ask("GET", "/dask/login/elsewhere/callback?state=s3cret&code=ann", headers=VISIT)
        assert location(back) == "/dask/tokens"
        assert len(browser.cookies) == 1
        assert b"logged in as ann" in (await browser.ask("GET", "/dask/logout")).body
        for query, status, text in (
            ("state=other&code=ann", 403, b"is not for this login"),
            ("state=s3cret&code=away", 503, b"does not answer"),
            ("state=s3cret&code=a/b", 403, b"cannot be the name"),
        ):
            browser.cookies = dict(kept)
            answer = await browser.ask("GET", f"/dask/login/elsewhere/callback?{query}")
            assert (answer.status, text in answer.body, browser.cookies) == (status, True, {})
        answer = await browser.ask("GET", "/dask/login/elsewhere/callback?state=s3cret&code=ann")
        assert (answer.status, b"has expired, or began in another browser" in answer.body) == (403, True)


async def test_with_one_way_elsewhere_there_is_nothing_to_choose():
    async with open_house(authenticator=Elsewhere()) as house:
        assert location(await Browser(house).ask("GET", "/login")) == "/login/elsewhere?next=%2F"


async def test_a_login_by_what_the_browser_has():
    async with open_house(authenticator=Tickets()) as house:
        browser = Browser(house)
        answer = await browser.ask("GET", "/login/tickets?next=/tokens")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, ["Negotiate"])
        assert b"No ticket was sent" in answer.body
        answer = await browser.ask(
            "GET", "/login/tickets?next=/tokens", headers=[HTML, ("Authorization", "Negotiate good")]
        )
        assert (location(answer), answer.headers["www-authenticate"]) == ("/tokens", ["Negotiate final"])
        assert b"logged in as ann" in (await browser.ask("GET", "/logout")).body


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/login", VISIT, 200),
        ("/logout", VISIT, 200),
        ("/api/v1/clusters/", VISIT, 403),
        ("/api/version", VISIT, 403),
        ("/login", [HTML, ("Sec-Fetch-Site", "cross-site")], 403),
        ("/login", [*VISIT[:3], ("Sec-Fetch-Dest", "iframe")], 403),
        ("/login", [*VISIT[:2], ("Sec-Fetch-Mode", "no-cors"), VISIT[3]], 403),
        ("/login", [*VISIT, ("Origin", "https://evil.example")], 403),
    ],
)
async def test_links_elsewhere_lead_to_pages_and_to_nothing_else(simple, path, headers, status):
    async with open_house(authenticator=simple) as house:
        assert (await Browser(house).ask("GET", path, headers=headers)).status == status
        assert (await Browser(house).ask("POST", path, headers=headers)).status == 403


async def test_ways_that_are_not_there(simple):
    async with open_house(authenticator=(simple, Elsewhere(login_max_age=0))) as house:
        browser = Browser(house)
        for path in ("/login/simple", "/login/elsewhere", "/login/nobody", "/login/elsewhere/callback"):
            assert (await browser.ask("GET", path)).status == 404
        assert (await browser.log_in(method="elsewhere")).status == 404
    async with open_house(authenticator=SimpleAuthenticator(login_max_age=0)) as house:
        page = await Browser(house).ask("GET", "/login")
        assert b"cannot be logged in to with a browser" in page.body


async def test_pages_run_nothing_and_are_framed_by_nobody(simple):
    async with open_house(authenticator=simple, prefix="/dask") as house:
        browser = Browser(house)
        page = await browser.ask("GET", "/dask/login")
        (policy,) = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "frame-ancestors 'none'" in policy
        assert b"<script" not in page.body
        assert page.headers["cache-control"] == ["no-store"]
        style = await browser.ask("GET", "/dask/assets/style.css")
        assert (style.status, style.headers["content-type"]) == (200, ["text/css"])
        assert b'href="/dask/assets/style.css"' in page.body
        assert (await browser.ask("GET", "/dask/api/v1/nothing")).status == 404


@pytest.mark.parametrize(
    "wanted",
    [
        *("//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "", "/a\nb", "/a b"),
        *("/" + "a" * 3000, "/ä", "\\\\evil", "/\t/evil.example", "/a\\..\\b"),
    ],
)
def test_no_link_leads_elsewhere_after_the_login(wanted):
    assert next_page(wanted, "/here") == "/here"


@given(st.text())
def test_wherever_a_link_leads_it_is_on_this_host(wanted):
    assert urlsplit(next_page(wanted, "/")).netloc == ""
    assert next_page(wanted, "/").startswith("/")


def test_pages_of_ours_are_led_to():
    for wanted in ("/", "/tokens", "/dask/api/v1/clusters/?status=running&x=%20", "/clusters/abc/status#x"):
        assert next_page(wanted, "/here") == wanted
