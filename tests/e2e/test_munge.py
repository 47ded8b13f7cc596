"""MUNGE with the published client and the module for users, against a real munged."""

import getpass
import json
import os
import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.gateway_process import ClientFailed, open_gateway
from tests.support.munged import needs_munge, run_munged
from tests.support.users import ensure_users, is_root

pytestmark = needs_munge

# No cookies: each request brings a credential.
CONFIG = """
c.DaskGateway.authenticator_class = "gateway.auth.MungeAuthenticator"
c.MungeAuthenticator.socket = {socket!r}
c.MungeAuthenticator.allow_root = {root!r}
c.Authenticator.cache_max_age = 0
"""


@pytest.fixture(scope="module")
def munged():
    with run_munged() as munged:
        yield munged


@pytest.fixture(scope="module")
def folder():
    """Where clients of several users can be."""
    with tempfile.TemporaryDirectory(prefix="dgt-munge-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield folder


@pytest.fixture(scope="module")
def house(folder, munged):
    config = CONFIG.format(socket=str(munged.socket), root=not is_root())
    environment = {"DASK_GATEWAY__AUTH__KWARGS": json.dumps({"socket": str(munged.socket)}), "HOME": folder}
    with open_gateway(folder, config, host="localhost", environment=environment) as house:
        yield house


#: Whose processes the clients are; only root can be several users.
USERS = ensure_users() if is_root() else (getpass.getuser(),)


def ask(house, script, *arguments, account=USERS[0]):
    account = account if is_root() else None
    return house.client(script, *arguments, auth="dask_gateway_login.MungeAuth", account=account)


def why(house, script, *arguments, **options):
    """All that a client prints when it fails."""
    with pytest.raises(ClientFailed) as failure:
        ask(house, script, *arguments, **options)
    return str(failure.value).partition("--- gateway ---")[0]


async def list_clusters(gateway):
    return [report.name for report in await gateway.list_clusters()]


def test_what_users_do(house):
    async def script(gateway):
        async with await gateway.new_cluster() as cluster:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                result = await (await client).submit(inc, 41)
            return [result, [report.name for report in await gateway.list_clusters()] == [cluster.name]]

    assert ask(house, script) == [42, True]


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="acts as several users")
def test_users_are_who_they_are_on_their_machine(house):
    async def make(gateway):
        return await gateway.submit()

    async def stop(gateway, name):
        await gateway.stop_cluster(name)

    name = ask(house, make, account="alice")
    assert ask(house, list_clusters, account="alice") == [name]
    assert ask(house, list_clusters, account="bob") == []
    assert "403" in why(house, stop, name, account="bob")
    ask(house, stop, name, account="alice")
    assert "ValueError: Root may not use this gateway" in why(house, list_clusters, account="root")


def test_a_replay_is_refused_and_the_client_says_so(house):
    async def script(gateway):
        log_in, sent = gateway.auth.pre_request, []

        def again(response):
            sent.append(log_in(response))
            return sent[0]

        gateway.auth.pre_request = again
        await gateway.list_clusters()
        await gateway.list_clusters()

    assert "PermissionError: The MUNGE credential is refused, since it was used before" in why(house, script)
    assert 'reason="The MUNGE credential is refused, since it was used before' in house.log


@contextmanager
def evil_server(answer):
    """A server that asks its visitors for credentials, or sends them on; yields its URL and what they show."""
    shown = []

    class Evil(BaseHTTPRequestHandler):
        def do_GET(self):
            shown.extend(self.headers.get_all("Authorization", ()))
            status, *header = answer(self.path)
            self.send_response(status)
            self.send_header(*header)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}", shown
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("sends_on", [False, True])
def test_what_another_server_is_shown_is_good_for_nothing_here(house, sends_on):
    async def script(gateway, url):
        try:
            await gateway._request("GET", f"{url}/api/v1/clusters/")
        except PermissionError as error:
            return str(error)

    def answer(path):
        return (307, "Location", house.url + path) if sends_on else (401, "WWW-Authenticate", "Munge")

    with evil_server(answer) as (url, shown):
        assert ask(house, script, url)
    assert len(shown) == 1
    status, _, body = house.request("GET", "/api/v1/clusters/", headers=[("Authorization", shown[0])])
    assert status == 401
    assert f"it is for {url}, and this gateway is http://" in json.loads(body)["error"]


def test_a_credential_of_munges_own_program(house, munged):
    def answer(payload):
        headers = [("Authorization", f"munge {munged.credential(payload, user=USERS[0] if is_root() else None)}")]
        status, names, body = house.request("GET", "/api/v1/clusters/", headers=headers)
        return status, names.get("www-authenticate", ""), json.loads(body)

    assert answer(f"dask-gateway {house.url}") == (200, "", {})
    status, challenge, body = answer("dask-gateway https://evil.example")
    assert (status, challenge) == (401, f'Munge reason="{body["error"]}"')
    assert "it is for https://evil.example:443, and this gateway is http://" in body["error"]


def test_a_machine_without_munged(house):
    async def script(gateway):
        gateway.auth.socket = "/nowhere"
        await gateway.list_clusters()

    assert "OSError: MUNGE makes no credential: " in why(house, script)
