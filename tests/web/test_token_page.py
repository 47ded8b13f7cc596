"""The page /tokens, as a browser asks for it; tests/e2e/test_tokens.py has a real one."""

import html
import re

import pytest

from gateway.auth.simple import SimpleAuthenticator
from gateway.auth.token_record import DAY, Wish
from gateway.auth.token_registry import TokenRegistry
from gateway.store.errors import StoreUnavailable
from gateway.web.token_page import spoken
from tests.support.houses import open_house
from tests.web.test_pages import HTML, OWN, Browser, location
from tests.web.test_token_routes import bearer

TOKEN = re.compile(r"dgt_\w{60}")


@pytest.fixture
def simple():
    return SimpleAuthenticator(password="p", admin_users={"root"})


async def logged_in(house, name="ann"):
    browser = Browser(house)
    assert (await browser.log_in(name)).status == 303
    return browser


def said(page):
    return html.unescape(page.body.decode())


async def test_the_first_page_is_that_of_tokens(simple):
    async with open_house(authenticator=simple, prefix="/dask") as house:
        browser = Browser(house)
        assert location(await browser.ask("GET", "/dask/")) == "/dask/tokens"
        assert location(await browser.ask("GET", "/dask/tokens")) == "/dask/login?next=%2Fdask%2Ftokens"


async def test_make_and_revoke(simple):
    async with open_house(authenticator=simple, prefix="/dask") as house:
        browser = Browser(house)
        form = {"name": "ann", "password": "p", "method": "simple"}
        await browser.ask("POST", "/dask/login", form=form)
        empty = await browser.ask("GET", "/dask/tokens")
        assert empty.status == 200
        assert "You have none." in said(empty)
        assert 'value="2592000" selected>30 days<' in said(empty)
        form = {"label": "<b>nightly</b>", "scopes": "read", "expires_in": str(7 * DAY)}
        made = await browser.ask("POST", "/dask/tokens", form=form)
        assert made.status == 200
        assert made.headers["cache-control"] == ["no-store"]
        (text,) = TOKEN.findall(said(made))
        assert b"<b>nightly" not in made.body
        assert "address: http://" in said(made)
        (token,) = house.chain.tokens.registry.of("ann")
        assert (token.label, token.scopes, token.expires - token.made) == ("<b>nightly</b>", {"read"}, 7 * DAY * 1000)
        again = await browser.ask("GET", "/dask/tokens")
        assert TOKEN.findall(said(again)) == []
        assert f"dgt_{token.id}_…" in said(again)
        assert "May only read" in said(again)
        assert "Last used: never" in said(again)
        assert (await house.ask("GET", "/dask/api/v1/clusters/", user=None, headers=bearer(text))).status == 200
        assert "Last used: never" not in said(await browser.ask("GET", "/dask/tokens"))
        revoked = await browser.ask("POST", f"/dask/tokens/{token.id}/revoke", form={})
        assert location(revoked) == "/dask/tokens"
        assert "You have none." in said(await browser.ask("GET", "/dask/tokens"))
        assert (await house.ask("GET", "/dask/api/v1/clusters/", user=None, headers=bearer(text))).status == 401
        assert (await browser.ask("POST", f"/dask/tokens/{token.id}/revoke", form={})).status == 303


async def test_a_form_that_is_wrong_comes_back_with_the_reason(simple):
    async with open_house(authenticator=simple) as house:
        browser = await logged_in(house)
        for form, words in (
            ({"label": "x" * 101, "expires_in": "60", "scopes": "read"}, "at most 100 characters"),
            ({"label": "kept", "expires_in": "60", "scopes": "all"}, "'scopes'"),
            ({"label": "kept", "expires_in": "60"}, "'scopes'"),
            ({"label": "kept", "expires_in": "long", "scopes": "read"}, "'expires_in' is 'long'"),
            ({"label": "kept", "expires_in": str(91 * DAY), "scopes": "read"}, "90 days"),
        ):
            page = await browser.ask("POST", "/tokens", form=form)
            assert page.status == 422
            assert words in said(page)
            assert form["label"][:4] in said(page)
            assert TOKEN.findall(said(page)) == []
        assert house.chain.tokens.registry.all() == []


async def test_the_database_is_away(simple):
    async with open_house(authenticator=simple) as house:
        browser = await logged_in(house)
        made = await browser.ask("POST", "/tokens", form={"scopes": "clusters", "expires_in": "60"})
        assert TOKEN.findall(said(made))
        house.store.broken = StoreUnavailable("The database is full")
        page = await browser.ask("POST", "/tokens", form={"scopes": "clusters", "expires_in": "60"})
        assert (page.status, "The database is full" in said(page)) == (503, True)
        (token,) = house.chain.tokens.registry.of("ann")
        assert (await browser.ask("POST", f"/tokens/{token.id}/revoke", form={})).status == 503
        assert "<strong>Revoked</strong>" in said(await browser.ask("GET", "/tokens"))


async def test_nobody_ends_anothers(simple):
    async with open_house(authenticator=simple) as house:
        ann, bob = await logged_in(house), await logged_in(house, "bob")
        await ann.ask("POST", "/tokens", form={"scopes": "clusters", "expires_in": "60"})
        (token,) = house.chain.tokens.registry.of("ann")
        assert f"dgt_{token.id}" not in said(await bob.ask("GET", "/tokens"))
        assert (await bob.ask("POST", f"/tokens/{token.id}/revoke", form={})).status == 303
        assert house.chain.tokens.registry.of("ann") == [token]


@pytest.mark.parametrize("path", ["/tokens", "/tokens/{}/revoke"])
@pytest.mark.parametrize(
    "headers",
    [
        [HTML],
        [HTML, ("Sec-Fetch-Site", "cross-site")],
        [HTML, ("Origin", "https://evil.example")],
        [HTML, ("Origin", "null")],
    ],
)
async def test_forms_of_other_pages_do_nothing(simple, path, headers):
    async with open_house(authenticator=simple) as house:
        browser = await logged_in(house)
        await browser.ask("POST", "/tokens", form={"scopes": "clusters", "expires_in": "60"})
        (token,) = house.chain.tokens.registry.of("ann")
        form = {"scopes": "clusters", "expires_in": "60"}
        assert (await browser.ask("POST", path.format(token.id), form=form, headers=headers)).status == 403
        assert house.chain.tokens.registry.of("ann") == [token]


async def test_the_page_is_for_people(simple):
    async with open_house(authenticator=simple) as house:
        _, text = await house.chain.tokens.make_for("ann", Wish("ci", {"clusters"}, 60), administrator="root")
        for method, path in (("GET", "/tokens"), ("POST", "/tokens"), ("POST", "/tokens/abc/revoke")):
            page = await house.ask(method, path, user=None, headers=[HTML, OWN, *bearer(text)], data=b"")
            assert (page.status, "for people" in said(page)) == (403, True)
        assert len(house.chain.tokens.registry.all()) == 1
        browser = await logged_in(house)
        assert "made" in said(await browser.ask("GET", "/tokens"))
        assert "by administrator root" in said(await browser.ask("GET", "/tokens"))


async def test_a_token_is_no_password_of_the_login_page(simple):
    anybody = SimpleAuthenticator()
    async with open_house(authenticator=anybody) as house:
        browser = Browser(house)
        page = await browser.log_in(password="dgt_" + "a" * 60)
        assert page.status == 403
        assert "for programs" in said(page)
        assert browser.cookies == {}


async def test_a_site_without_tokens(simple):
    async with open_house(authenticator=simple, tokens=TokenRegistry(longest=0)) as house:
        browser = await logged_in(house)
        page = await browser.ask("GET", "/tokens")
        assert "users make no personal tokens" in said(page)
        assert "<select" not in said(page)
        assert (await browser.ask("POST", "/tokens", form={"scopes": "read", "expires_in": "1"})).status == 422


async def test_one_that_has_ended_by_itself_is_shown_as_such(simple):
    now = 1e9
    async with open_house(authenticator=simple, tokens=TokenRegistry(now=lambda: now)) as house:
        browser = await logged_in(house)
        await browser.ask("POST", "/tokens", form={"scopes": "read", "expires_in": "60"})
        now += 60
        assert "<strong>Expired</strong>" in said(await browser.ask("GET", "/tokens"))


async def test_one_of_another_login(simple):
    registry = TokenRegistry()
    async with open_house(authenticator=SimpleAuthenticator(password="before"), tokens=registry) as house:
        browser = Browser(house)
        await browser.log_in(password="before")
        await browser.ask("POST", "/tokens", form={"scopes": "read", "expires_in": "60"})
    async with open_house(authenticator=simple, tokens=registry) as house:
        browser = await logged_in(house)
        assert "Does not count any more" in said(await browser.ask("GET", "/tokens"))


async def test_one_for_metrics_says_so(simple):
    async with open_house(authenticator=simple) as house:
        browser = await logged_in(house)
        await house.chain.tokens.make_for("ann", Wish("", frozenset({"metrics"}), DAY), administrator="root")
        assert "Is for /metrics alone" in said(await browser.ask("GET", "/tokens"))
        refused = await browser.ask("POST", "/tokens", form={"scopes": "metrics", "expires_in": "60"})
        assert "'scopes'" in said(refused)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(86400, "1 day"), (90 * DAY, "90 days"), (3600, "1 hour"), (5400, "90 minutes"), (61, "61 seconds")],
)
def test_spans_of_time(seconds, words):
    assert spoken(seconds) == words
