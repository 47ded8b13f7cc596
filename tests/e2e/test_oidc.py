"""OpenID Connect with a real provider: browsers, the device flow, tokens of all kinds, the published client."""

import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import time
from urllib.parse import urljoin

import pytest
from joserfc.jwk import RSAKey
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.gateway_process import open_gateway, secrets_in
from tests.support.chromium import NEEDS_CHROMIUM as needs_browser
from tests.support.chromium import browser
from tests.support.oidc_provider import Visitor, missing, oidc_provider
from tests.support.tokens import encoded, signed

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there is one")

#: What tokens are issued for: the last part is their audience.
RESOURCE = "https://gateway.example/dask-gateway"
CONFIG = """
c.DaskGateway.authenticator_class = "gateway.auth.OIDCAuthenticator"
c.OIDCAuthenticator.issuer = {issuer!r}
c.OIDCAuthenticator.client_id = "the-gateway"
c.OIDCAuthenticator.client_secret = "a-secret-of-the-gateway"
c.OIDCAuthenticator.audience = "dask-gateway"
c.OIDCAuthenticator.groups_claim = "groups"
c.OIDCAuthenticator.allowed_groups = ["users"]
c.OIDCAuthenticator.admin_groups = ["root-group"]
c.OIDCAuthenticator.device_client_id = "the-command"
c.OIDCAuthenticator.device_parameters = {{
    "scope": "openid profile offline_access use", "resource": {resource!r}, "prompt": "consent",
}}
"""
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


@pytest.fixture(scope="module")
def key():
    return RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig", "alg": "RS256"})


@pytest.fixture(scope="module")
def provider(key, tmp_path_factory):
    log = tmp_path_factory.mktemp("provider") / "log"
    with oidc_provider([key.as_dict(private=True)], log) as provider:
        provider.add_client(
            "the-command",
            token_endpoint_auth_method="none",
            grant_types=[DEVICE_GRANT, "refresh_token"],
            response_types=[],
            redirect_uris=[],
        )
        yield provider


@pytest.fixture(scope="module")
def house(provider, tmp_path_factory):
    config = CONFIG.format(issuer=provider.url, resource=RESOURCE)
    with open_gateway(tmp_path_factory.mktemp("oidc") / "house", config) as house:
        callback = f"{house.url}/login/oidc/callback"
        provider.add_client("the-gateway", client_secret="a-secret-of-the-gateway", redirect_uris=[callback])
        yield house
        assert secrets_in(house.log) == []
        assert "a-secret-of-the-gateway" not in house.log


def claims(provider, **changed):
    now = int(time.time())
    return {
        "iss": provider.url,
        "aud": "dask-gateway",
        "sub": "alice@site",
        "preferred_username": "alice",
        "groups": ["users"],
        "iat": now,
        "exp": now + 300,
        **changed,
    }


def asked(house, token, scheme="Bearer"):
    """Status, challenge, and what is said to whoever comes with this token."""
    headers = [("Authorization", f"{scheme} {token}")]
    status, headers, body = house.request("GET", "/api/v1/clusters/", headers=headers)
    return status, headers.get("www-authenticate"), json.loads(body).get("error", "")


# ---- with a browser


def log_in_with_chromium(url, name):
    """Where a browser is, and what it shows, once somebody has logged in at the provider."""
    with browser() as driver:
        wait = WebDriverWait(driver, 30, poll_frequency=0.1)
        driver.get(f"{url}/login?next=/logout")
        driver.find_element("name", "login").send_keys(name)
        driver.find_element("name", "password").send_keys("any", Keys.ENTER)
        wait.until(lambda page: page.find_element("css selector", "input[value=consent]"))
        driver.find_element("css selector", "button[type=submit]").click()
        wait.until(lambda page: page.current_url == f"{url}/logout")
        shown = driver.find_element("tag name", "body").text
        driver.get(f"{url}/api/v1/clusters/")
        return shown, driver.find_element("tag name", "body").text


@needs_browser
def test_chromium_logs_in(house, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    shown, clusters = log_in_with_chromium(house.url, "alice@site")
    assert "alice" in shown
    assert clusters == "{}"


def test_a_browser_logs_in(house):
    visitor = Visitor()
    visitor.go(f"{house.url}/login?next=/logout")  # and on to the provider, since there is no other way
    assert "Enter any login" in visitor.page
    visitor.log_in("carol@site")
    assert (visitor.status, visitor.url) == (200, f"{house.url}/logout")
    assert "carol" in visitor.page
    visitor.go(f"{house.url}/api/v1/clusters/")
    assert (visitor.status, visitor.page) == (200, "{}")
    assert re.search('event="logged in" user=carol method=oidc', house.log)


def test_a_browser_whose_user_declines(house):
    visitor = Visitor()
    visitor.go(f"{house.url}/login")
    visitor.submit(login="alice@site", password="any")
    visitor.go(urljoin(visitor.url, re.search(r'href="([^"]*/abort)"', visitor.page)[1]))
    assert visitor.status == 403
    assert "has not logged you in: the login was declined" in visitor.page


def test_a_browser_that_comes_back_with_what_is_not_its_own(house):
    thief, victim = Visitor(), Visitor()
    victim.go(f"{house.url}/login")
    thief.go(f"{house.url}/login/oidc/callback?code=abc&state=def")
    assert thief.status == 403
    thief.go(f"{house.url}/login")
    thief.go(f"{house.url}/login/oidc/callback?code=abc&state=def")
    assert "was begun in another browser" in thief.page
    assert not any(cookie.name.startswith("dask-gateway") for cookie in thief.cookies)


# ---- with tokens


def test_what_the_provider_might_have_issued(house, provider, key):
    token = signed(claims(provider), key=key)
    for scheme in ("Bearer", "bearer", "jupyterhub"):
        assert asked(house, token, scheme)[0] == 200
    stranger = asked(house, signed(claims(provider, groups=["others"]), key=key))
    assert (stranger[0], "not among those who may use" in stranger[2]) == (403, True)


def test_who_is_not_let_in(house, provider, key):
    other = RSAKey.generate_key(2048)
    hs256 = f"{encoded({'alg': 'HS256', 'kid': 'rsa', 'typ': 'at+jwt'})}.{encoded(claims(provider))}"
    with_public_key = hmac.new(key.as_pem(private=False), hs256.encode(), hashlib.sha256).digest()
    good = signed(claims(provider), key=key)
    unsigned = f"{encoded({'alg': 'none', 'kid': 'rsa', 'typ': 'at+jwt'})}.{encoded(claims(provider))}."
    as_id_token = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
    cases = [
        (unsigned, "The token is not signed"),
        (good.rpartition(".")[0] + ".", "The token is not signed"),
        (f"{hs256}.{encoded(with_public_key)}", "signed with HS256, which is not accepted"),
        (signed(claims(provider), key=other), "signature is wrong"),
        (signed(claims(provider), key=key, header={"alg": "RS256", "typ": "at+jwt"}), "does not name the key"),
        (signed(claims(provider), key=key, header={**as_id_token, "typ": "at+jwt", "kid": "x"}), "does not publish"),
        (signed(claims(provider, aud="other"), key=key), "is for 'other', not for 'dask-gateway'"),
        (signed(claims(provider, iss="https://evil.example"), key=key), "was issued by 'https://evil.example'"),
        (signed(claims(provider, exp=int(time.time()) - 3600), key=key), "has expired 60 minutes ago"),
        (signed(claims(provider, nbf=int(time.time()) + 3600), key=key), "not valid yet"),
        (signed(claims(provider, aud="the-gateway", nonce="n"), key=key, header=as_id_token), "not an access token"),
        ("an-opaque-token", "no signed JSON Web Token"),
    ]
    for token, reason in cases:
        status, challenge, said = asked(house, token)
        assert (status, challenge) == (401, 'Bearer error="invalid_token"'), reason
        assert reason in said
        assert token not in house.log
    logged = re.findall('method=bearer address=127.0.0.1 reason="([^"]+)"', house.log)  # some, and how many like them
    assert any(reason in words for words in logged for _, reason in cases), logged


def test_a_name_that_is_no_accounts(house, provider, key):
    status, _, said = asked(house, signed(claims(provider, preferred_username="SITE\\alice"), key=key))
    assert (status, "cannot be the name of an account" in said) == (422, True)


# ---- the command


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's home, where the client and the command have their files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def start_command(house, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "dask_gateway_login", house.url, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finish_device_login(command, name):
    """Do with a browser what the command says."""
    lines = []
    while not lines or not lines[-1].startswith("Waiting"):
        lines.append(command.stdout.readline())
        assert lines[-1], "".join(lines)
    visitor = Visitor()
    visitor.go(re.search(r"or open (\S+)", "".join(lines))[1])
    # The provider's page with the code in it sends itself by a script.
    visitor.submit(**({"user_code": re.search(r"^    (\S+)$", "".join(lines), re.M)[1]}))
    if "Sign-in" not in visitor.page:
        visitor.submit(confirm="yes")
    visitor.log_in(name)
    assert "success" in visitor.page.lower()
    return command.communicate(timeout=60)[0]


async def whoami(gateway):
    return len(await gateway.list_clusters())


def run_client(*lines):
    """What the published client prints, which finds address and login in its files alone."""
    body = "".join(f"        {line}\n" for line in lines)
    script = (
        "import asyncio\nfrom dask_gateway import Gateway\nasync def main():\n"
        f"    async with Gateway(asynchronous=True) as gateway:\n{body}asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_device_flow_and_the_published_client(house, provider, home):
    command = start_command(house)
    said = finish_device_login(command, "bob@site")
    assert command.returncode == 0, said
    assert f"You are logged in to {house.url}" in said
    for_client, for_command = home / ".config/dask/gateway_login.yaml", home / ".config/dask-gateway-login/logins.json"
    assert [file.stat().st_mode & 0o777 for file in (for_client, for_command)] == [0o600, 0o600]
    assert "refresh" not in for_client.read_text()
    name = run_client("print(await gateway.submit())")
    assert re.search(f"cluster={name}.*user=bob|user=bob.*cluster={name}", house.log)

    assert "other settings" not in said
    mine = for_client.with_name("mine.yaml")
    mine.write_text("gateway: {auth: {type: basic}}")
    again = start_command(house, "--fresh")  # without a browser: the login is renewed
    said = again.communicate(timeout=60)[0]
    assert (again.returncode, "The client renews its token by itself" in said) == (0, True), said
    assert "But other settings count for more than this file" in said
    mine.unlink()
    assert "FreshTokenAuth" in for_client.read_text()
    listed = "print([report.name for report in await gateway.list_clusters()])"
    assert run_client(listed, f"await gateway.stop_cluster({name!r})") == repr([name])

    out = start_command(house, "--logout")
    assert "You are logged out of" in out.communicate(timeout=60)[0]
    assert not for_client.exists()
    tokens = json.loads(for_command.read_text())
    assert tokens == []


# ---- a provider that is away


def test_a_provider_that_is_away_from_the_start(key, tmp_path):
    with oidc_provider([key.as_dict(private=True)], tmp_path / "provider.log") as provider:
        config = CONFIG.format(issuer=provider.url, resource=RESOURCE)
    with open_gateway(tmp_path / "house", config) as house:
        assert "nobody can log in by OpenID Connect for now" in house.log
        status, _, said = asked(house, signed(claims(provider), key=key))
        assert (status, "The site's login service does not answer" in said) == (503, True)
        assert asked(house, "an-opaque-token")[0] == 401
        visitor = Visitor()
        visitor.go(f"{house.url}/login")
        assert (visitor.status, "The site&#39;s login service does not answer" in visitor.page) == (503, True)


def test_a_provider_that_goes_away(key, tmp_path):
    with oidc_provider([key.as_dict(private=True)], tmp_path / "provider.log") as provider:
        house = open_gateway(tmp_path / "house", CONFIG.format(issuer=provider.url, resource=RESOURCE))
        with house as gateway:
            token = signed(claims(provider), key=key)
            assert asked(gateway, token)[0] == 200
            provider.stop()
            assert asked(gateway, token)[0] == 200  # with the keys that are known
            assert asked(gateway, token[:-8] + "AAAAAAAA")[0] == 401
