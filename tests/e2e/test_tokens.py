"""Personal tokens: a real gateway, the published client as it is, administrators' commands, and a browser."""

import base64
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import invisibility_of_element_located as gone
from selenium.webdriver.support.expected_conditions import url_to_be
from selenium.webdriver.support.expected_conditions import visibility_of_element_located as visible
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.gateway_process import open_gateway
from tests.proxy.dashboard.test_browser import browser
from tests.proxy.dashboard.test_browser import pytestmark as needs_browser
from tests.support.users import GROUP, ensure_users, is_root

CONFIG = """
c.SimpleAuthenticator.password = "correct horse"
c.DBBackendBase.db_url = "sqlite:///{folder}/gateway.sqlite"
c.DaskGateway.admin_socket = "{folder}/run/admin.sock"
"""
LIST = "/api/v1/clusters/"


@pytest.fixture(scope="module")
def folder():
    """Where everybody may pass, as in /run."""
    path = Path(tempfile.mkdtemp(prefix="dask-gateway-", dir="/var/tmp"))
    (path / "run").mkdir(mode=0o755)
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def house(folder):
    config = CONFIG.format(folder=folder)
    if is_root():
        ensure_users()
        config += f"c.DaskGateway.admin_group = {GROUP!r}\n"
    with open_gateway(folder / "one", config) as house:
        yield house


def make(house, user="alice", **body):
    """A token's id and text, made by somebody who knows the password."""
    basic = base64.b64encode(f"{user}:correct horse".encode()).decode()
    headers = [("Authorization", f"Basic {basic}"), ("Content-Type", "application/json")]
    status, _, said = house.request("POST", "/api/v1/tokens", headers=headers, body=json.dumps(body).encode())
    assert status == 201, said
    made = json.loads(said)
    return made["id"], made["token"]


def bearer(house, text, method="GET", path=LIST):
    status, names, said = house.request(method, path, headers=[("Authorization", f"Bearer {text}")])
    assert "set-cookie" not in names
    return status, json.loads(said) if said else None


def command(folder, *arguments, user=None):
    """Run `dask-gateway-server tokens`: exit code, output, errors."""
    program = [sys.executable, "-m", "gateway", "tokens", "--socket", str(folder / "run" / "admin.sock"), *arguments]
    who = {}
    if user:
        account = pwd.getpwnam(user)
        groups = os.getgrouplist(user, account.pw_gid)
        who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    done = subprocess.run(
        program, cwd=Path(__file__).parents[2], check=False, capture_output=True, text=True, timeout=60, **who
    )
    return done.returncode, done.stdout, done.stderr


def test_the_published_client_sends_it_in_all_its_ways(house):
    _, text = make(house)

    async def script(gateway, address, token):
        from dask_gateway.auth import JupyterHubAuth

        os = __import__("os")
        os.environ["GATEWAY_USER"], os.environ["GATEWAY_TOKEN"] = "alice", token
        ways = [JupyterHubAuth(api_token=token)]
        for kind, kwargs in (
            ("jupyterhub", {"api_token": "{GATEWAY_TOKEN}"}),
            ("basic", {"username": "{GATEWAY_USER}", "password": "{GATEWAY_TOKEN}"}),
        ):
            with dask.config.set({"gateway.auth.type": kind, "gateway.auth.kwargs": kwargs}):
                ways.append(__import__("dask_gateway").auth.get_auth())
        answers = []
        for auth in ways:
            async with Gateway(address, auth=auth, asynchronous=True) as other:
                answers.append(await other.list_clusters())
                assert not list(other._session.cookie_jar)
        async with Gateway(address, auth=ways[0], asynchronous=True) as other, await other.new_cluster() as cluster:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                answers.append(await (await client).submit(inc, 41))
        return answers

    assert house.client(script, house.url, text, password="correct horse") == [[], [], [], 42]
    assert bearer(house, text) == (200, {})


def test_what_the_published_client_is_told(house):
    revoked_id, revoked = make(house)
    assert bearer(house, revoked, "DELETE", f"/api/v1/tokens/{revoked_id}")[0] == 204
    _, reading = make(house, scopes=["read"])

    async def script(gateway, address, revoked, reading):
        from dask_gateway.auth import JupyterHubAuth

        name = await gateway.submit()
        answers = []
        async with Gateway(address, auth=BasicAuth("alice", revoked), asynchronous=True) as other:
            try:
                await other.list_clusters()
            except Exception as error:
                answers.append(getattr(error, "status", repr(error)))
        async with Gateway(address, auth=JupyterHubAuth(reading), asynchronous=True) as other:
            await gateway.get_cluster(name, wait=True)
            report = await other.get_cluster(name)
            answers += [report.status.name, report.security is None, len(await other.list_clusters())]
            for call in (other.submit, lambda: other.stop_cluster(name), lambda: other.scale_cluster(name, 1)):
                try:
                    await call()
                except Exception as error:
                    answers.append(getattr(error, "status", repr(error)))
        await gateway.stop_cluster(name)
        return answers

    told = house.client(script, house.url, revoked, reading, password="correct horse")
    assert told == [401, "RUNNING", True, 1, 403, 403, 403]
    assert f"There is no personal token {revoked_id} here" in house.log


def test_administrators_commands(house, folder):
    code, text, about = command(folder, "create", "--user", "carol", "--label", "nightly", "--scope", "read")
    assert (code, text.startswith("dgt_"), "of user carol: read, until " in about) == (0, True, True), about
    assert bearer(house, text.strip()) == (200, {})
    code, listed, _ = command(folder, "list", "--user", "carol")
    (told,) = json.loads(listed)
    assert (code, told["label"], told["state"], told["last_used"] is None) == (0, "nightly", "active", False)
    assert command(folder, "revoke", told["id"]) == (0, f"Revoked: {told['id']}\n", "")
    assert bearer(house, text.strip())[0] == 401
    code, _, error = command(folder, "revoke", told["id"])
    assert (code, error) == (1, f"There is no personal token '{told['id']}' here: it was revoked, or has expired\n")


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="commands of other users need root")
def test_the_commands_are_for_administrators(house, folder):
    code, listed, _ = command(folder, "list", user="alice")
    assert (code, isinstance(json.loads(listed), list)) == (0, True)  # by the group in admin_group
    code, listed, error = command(folder, "list", user="nobody")
    assert (code, listed, error.startswith("You may not use ")) == (1, "", True)


def test_restarts_and_a_shorter_life(folder):
    config = CONFIG.format(folder=folder).replace("gateway.sqlite", "other.sqlite").replace("admin.sock", "other.sock")
    with open_gateway(folder / "two", config) as house:
        (_, text), (ended_id, ended) = make(house), make(house)
        assert bearer(house, ended, "DELETE", f"/api/v1/tokens/{ended_id}")[0] == 204
        assert bearer(house, text)[0] == 200
        before = bearer(house, text, path="/api/v1/tokens")[1]["tokens"]
    with open_gateway(folder / "two", config) as house:
        assert bearer(house, text)[0] == 200
        assert bearer(house, ended)[0] == 401
        assert bearer(house, text, path="/api/v1/tokens")[1]["tokens"] == before  # its last use was kept
    with open_gateway(folder / "two", config + "c.DaskGateway.token_max_age = 0\n") as house:
        status, said = bearer(house, text)
        assert (status, "has expired on 20" in said["error"]) == (401, True)
        assert text[15:] not in house.log


@needs_browser
def test_in_a_browser(house, monkeypatch):
    monkeypatch.setenv("SE_OFFLINE", "true")
    with browser() as page:
        page.get(f"{house.url}/")
        page.find_element(By.NAME, "name").send_keys("dora")
        page.find_element(By.NAME, "password").send_keys("correct horse")
        page.find_element(By.CSS_SELECTOR, "main button").click()
        wait = WebDriverWait(page, 30, poll_frequency=0.05)
        wait.until(url_to_be(f"{house.url}/tokens"))
        page.find_element(By.NAME, "label").send_keys("nightly")
        page.find_element(By.CSS_SELECTOR, "input[value=read]").click()
        page.find_element(By.CSS_SELECTOR, "main > form button").click()
        text = wait.until(visible((By.CLASS_NAME, "secret"))).text
        assert bearer(house, text)[0] == 200
        page.get(f"{house.url}/tokens")
        assert text not in page.page_source
        assert "May only read" in page.find_element(By.CLASS_NAME, "rows").text
        assert not page.find_element(By.CLASS_NAME, "danger").is_displayed()
        page.find_element(By.CSS_SELECTOR, ".rows summary").click()
        page.find_element(By.CLASS_NAME, "danger").click()
        wait.until(gone((By.CLASS_NAME, "rows")))
        assert page.current_url == f"{house.url}/tokens"
        assert bearer(house, text)[0] == 401
        problems = [entry for entry in page.get_log("browser") if "favicon" not in entry["message"]]
        assert problems == []
