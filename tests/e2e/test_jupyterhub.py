"""A real JupyterHub: its notebooks' tokens, its login in a browser, and the gateway as one of its services."""

import json
import sys
import time
from urllib.parse import urlsplit

import pytest
from attrs import frozen
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.gateway_process import BASE_CONFIG, GatewayProcess, open_gateway, secrets_in
from tests.proxy.dashboard import test_browser
from tests.support.jupyterhub_rig import PASSWORD, Hub, why_not
from tests.support.own_addresses import free_port, own_loopback

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
browser = test_browser.browser
in_a_browser = test_browser.pytestmark

#: As sites have it that come from the original: nothing else is asked for but for browsers.
CONFIG = """
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.JupyterHubAuthenticator"
c.JupyterHubAuthenticator.jupyterhub_api_url = {api_url!r}
c.JupyterHubAuthenticator.jupyterhub_api_token = {token!r}
c.JupyterHubAuthenticator.jupyterhub_service_name = "dask-gateway"
c.JupyterHubAuthenticator.hub_public_url = {hub_url!r}
"""
MANAGED_CONFIG = """
import os
from urllib.parse import urlsplit

c.Proxy.address = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).netloc
c.Proxy.prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
c.DaskGateway.authenticator_class = "dask_gateway_server.auth.JupyterHubAuthenticator"
"""
SERVICE_TOKEN = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
LIST = "/api/v1/clusters/"


@frozen
class Site:
    """A Hub, a gateway beside it, and one that it has started behind its own proxy."""

    hub: Hub
    config: str
    gateway: GatewayProcess
    managed: GatewayProcess

    def notebook(self, user):
        """The environment of this user's notebook."""
        file = self.hub.directory / f"notebook-{user}.json"
        return json.loads(file.read_bytes()) if file.exists() else self.hub.start_notebook(user)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    hub = Hub(directory / "hub")
    address = own_loopback(0)
    own, managed = (f"{address}:{free_port(address)}" for _ in range(2))
    hub.configure(
        [
            {
                "name": "dask-gateway",
                "api_token": SERVICE_TOKEN,
                "oauth_redirect_uri": f"http://{own}/login/jupyterhub/callback",
            },
            {
                "name": "managed-gateway",
                "url": f"http://{managed}",
                "command": managed_command(directory / "managed"),
                "oauth_redirect_uri": "/services/managed-gateway/login/jupyterhub/callback",
                "oauth_no_confirm": True,
            },
        ],
        {"DASK_GATEWAY__ADDRESS": f"http://{own}", "DASK_GATEWAY__AUTH__TYPE": "jupyterhub"},
    )
    try:
        hub.start()
        config = CONFIG.format(api_url=hub.api_url, hub_url=f"{hub.url}/hub", token=SERVICE_TOKEN)
        behind = {"prefix": "/services/managed-gateway", "proxy_port": f"tls://{managed}"}
        with open_gateway(directory / "own", config + f"\nc.Proxy.address = {own!r}\n") as gateway:
            yield Site(hub, config, gateway, GatewayProcess(directory / "managed", None, hub.address, **behind))
    finally:
        hub.stop()
    log = directory / "managed" / "gateway.log"
    assert secrets_in(log.read_text()) == []


def managed_command(directory):
    """A command for the Hub that runs a gateway, which logs to a file of its own."""
    directory.mkdir()
    file = directory / "dask_gateway_config.py"
    file.write_text(BASE_CONFIG.format(directory=str(directory)) + MANAGED_CONFIG)
    command = 'cd "$0" && exec "$@" >>gateway.log 2>&1'
    return ["sh", "-c", command, str(directory), sys.executable, "-m", "gateway", "-f", str(file)]


def status_of(gateway, token, scheme="jupyterhub"):
    """What a program is answered that sends this token, and the sentence."""
    status, _, body = gateway.request("GET", LIST, headers=[("Authorization", f"{scheme} {token}")])
    return status, json.loads(body).get("error", "") if status != 200 else ""


async def compute(gateway):
    async with await gateway.new_cluster() as cluster:
        await cluster.scale(1)
        async with cluster.get_client(set_as_default=False) as client:
            client = await client
            total = await client.submit(inc, 41)
        return [total, [report.name for report in await gateway.list_clusters()] == [cluster.name]]


async def see_status(gateway):
    try:
        await gateway.list_clusters()
    except Exception as error:
        return [getattr(error, "status", 0), str(error)]


# ---- notebooks


def test_a_notebook_has_clusters(site):
    async def script(gateway):
        own = Gateway(asynchronous=True)  # as a notebook does that was told everything by the Hub
        async with own, await own.new_cluster() as cluster:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                client = await client
                return [own.address, await client.submit(inc, 41)]

    environment = site.notebook("alice")
    assert site.gateway.client(script, environment=environment) == [site.gateway.url, 42]
    assert status_of(site.gateway, environment["JUPYTERHUB_API_TOKEN"], "bearer") == (200, "")
    assert "JupyterHub is there" in site.gateway.log


def test_a_notebook_without_the_scope_has_none(site):
    token = site.notebook("bob")["JUPYTERHUB_API_TOKEN"]
    status, said = status_of(site.gateway, token)
    assert status == 401
    assert "'bob' is not for this service: it has not the scope access:services!service=dask-gateway" in said
    seen = site.gateway.client(see_status, auth="jupyterhub", environment={"JUPYTERHUB_API_TOKEN": token})
    assert seen[0] == 401
    (line,) = [line for line in site.gateway.log.splitlines() if "'bob' is not for this service" in line][:1]
    assert "method=jupyterhub" in line


def test_tokens_of_users_own_making(site, tmp_path):
    scope = ["access:services!service=dask-gateway"]
    token, id_ = site.hub.new_token("alice", scopes=scope, note="for a script")
    others, _ = site.hub.new_token("alice", scopes=["read:users:name!user"])
    with open_gateway(tmp_path, site.config + "c.Authenticator.cache_max_age = 0\n") as gateway:
        assert status_of(gateway, token) == (200, "")
        assert status_of(gateway, others)[0] == 401
        site.hub.revoke("alice", id_)
        revoked = status_of(gateway, token)
        assert revoked == (401, "JupyterHub does not know this token: it was revoked, has expired, or never was one")
        assert status_of(gateway, "f" * 32) == revoked
        # A service is nobody's account, and this one's token is for the gateway itself.
        assert status_of(gateway, SERVICE_TOKEN)[0] == 401


# ---- browsers


def log_in_at_hub(driver, user):
    """Fill in the Hub's form, and confirm what it then asks."""
    wait = WebDriverWait(driver, 30, poll_frequency=0.1)
    wait.until(lambda page: page.find_elements(By.ID, "username_input"))
    driver.find_element(By.ID, "username_input").send_keys(user)
    driver.find_element(By.ID, "password_input").send_keys(PASSWORD)
    driver.find_element(By.ID, "login_submit").click()
    wait.until(lambda page: "/hub/login" not in page.current_url)


def confirm(driver):
    """Let the Hub tell the gateway who one is."""
    assert "/oauth2/authorize" in driver.current_url, driver.current_url
    driver.find_element(By.CSS_SELECTOR, "form input[type=submit], form button[type=submit]").click()


def wait_for(driver, url):
    WebDriverWait(driver, 30, poll_frequency=0.1).until(lambda page: page.current_url.startswith(url))
    return driver.find_element(By.TAG_NAME, "body").text


def log_out(driver, gateway):
    driver.get(f"{gateway.url}/logout")
    driver.find_element(By.TAG_NAME, "button").click()
    WebDriverWait(driver, 30, poll_frequency=0.1).until(lambda page: not page.find_elements(By.TAG_NAME, "button"))


def listed(driver, gateway):
    """Whether the API knows the browser's user."""
    driver.get(f"{gateway.url}{LIST}")
    return driver.current_url == f"{gateway.url}{LIST}" and driver.find_element(By.TAG_NAME, "body").text == "{}"


@in_a_browser
def test_logging_in_with_a_browser_and_out_again(site, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    gateway = site.gateway
    with browser() as driver:
        driver.get(f"{gateway.url}/login?next=/logout")
        assert urlsplit(driver.current_url).netloc == site.hub.address
        log_in_at_hub(driver, "alice")
        confirm(driver)
        assert "alice" in wait_for(driver, f"{gateway.url}/logout")
        assert listed(driver, gateway)
        log_out(driver, gateway)
        assert driver.get_cookies() == []
        assert listed(driver, gateway)  # by way of the Hub, where alice is logged in, and has confirmed once for all
        log_out(driver, gateway)
        driver.get(f"{site.hub.url}/hub/logout")
        driver.get(f"{gateway.url}{LIST}")
        assert driver.current_url.startswith(f"{site.hub.url}/hub/login")


@in_a_browser
def test_the_hub_lets_nobody_in_whose_role_does_not(site, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    with browser() as driver:
        driver.get(f"{site.gateway.url}/login")
        log_in_at_hub(driver, "bob")
        assert "do not have permission to access" in driver.find_element(By.TAG_NAME, "body").text


@in_a_browser
def test_a_login_that_another_browser_began(site, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    status, headers, _ = site.gateway.request("GET", "/login/jupyterhub")
    assert status == 303
    with browser() as driver:
        driver.get(headers["location"])
        log_in_at_hub(driver, "alice")
        if "/oauth2/authorize" in driver.current_url:
            confirm(driver)
        assert "began in another browser" in wait_for(driver, site.gateway.url)
        assert driver.get_cookies() == []


# ---- as a service that the Hub has started


def test_a_notebook_has_clusters_of_a_gateway_behind_the_hub(site):
    environment = {"JUPYTERHUB_API_TOKEN": site.notebook("alice")["JUPYTERHUB_API_TOKEN"]}
    assert site.managed.client(compute, auth="jupyterhub", environment=environment) == [42, True]


@in_a_browser
def test_logging_in_behind_the_hub(site, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    with browser() as driver:
        driver.get(f"{site.managed.url}/login?next=/services/managed-gateway/logout")
        log_in_at_hub(driver, "alice")
        assert "alice" in wait_for(driver, f"{site.managed.url}/logout")
        assert listed(driver, site.managed)
        log_out(driver, site.managed)


# ---- the Hub is away; last, since it ends the notebooks


def test_the_hub_may_go_and_come_back(site):
    known, _ = site.hub.new_token("alice")
    unknown, _ = site.hub.new_token("alice")
    assert status_of(site.gateway, known) == (200, "")
    site.hub.stop()
    try:
        assert status_of(site.gateway, known) == (200, "")
        status, said = status_of(site.gateway, unknown)
        assert status == 503
        assert "JupyterHub does not answer" in said
    finally:
        site.hub.start()
    for _ in range(100):
        status, _ = status_of(site.gateway, unknown)
        if status == 200:
            break
        time.sleep(0.1)
    assert status == 200
