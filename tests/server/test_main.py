"""The whole server in this process, on a fake batch system: what it opens, what it says, and how it ends."""

import os
import shutil
import signal
import socket
import sys
import urllib.parse
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import httpcore
import orjson
import pytest
import trio
import trustme
from attrs import evolve
from structlog.testing import capture_logs

from gateway.config.load import load
from gateway.errors import StartError, innermost
from gateway.proxy.listeners import Ports
from gateway.server.main import _hear_signals, run, serve
from gateway.server.own_names import jobs_api_url
from tests.e2e.gateway_process import open_gateway
from tests.support.fakes import fake_backend
from tests.support.hellos import openssl_hello
from tests.support.houses import basic, heartbeat
from tests.support.proxy_peers import connect, echo, peer, receive_exactly


@pytest.fixture
def configure(tmp_path):
    """A configuration of these lines, after the usual ones."""

    def configure(*lines):
        file = tmp_path / "config.py"
        file.write_text("\n".join((fake_backend(), *lines)))
        return load(file)

    return configure


@asynccontextmanager
async def open_server(config):
    """A server that has started; it has stopped when the block is left."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        ports = await nursery.start(partial(serve, config, wait_stop=stop.wait))
        try:
            yield ports
        finally:
            stop.set()


async def request(url, method="GET", *, body=b"", headers=(), context=None):
    async with httpcore.AsyncConnectionPool(ssl_context=context) as pool:
        usual = [("Connection", "close"), ("Authorization", basic("alice")), ("Content-Type", "application/json")]
        headers = [*usual, *headers]
        response = await pool.request(method, url, headers=headers, content=body)
        return response.status, {name.lower(): value for name, value in response.headers}, response.content


async def test_a_cluster_from_start_to_stop(configure):
    config = configure()
    driver = config.backend.driver
    async with open_server(config) as ports:
        url = f"http://{ports.name}/api"
        assert (await request(f"{url}/health"))[0] == 200
        status, _, body = await request(f"{url}/v1/clusters/", "POST", body=b"{}")
        assert status == 201
        (spec,) = await driver.wait_submissions(1)
        assert spec.environment["DASK_GATEWAY_API_URL"] == url
        assert spec.cluster.name == orjson.loads(body)["name"]
        assert await beat(ports, spec) == 200
    assert driver.living == []  # an in-memory database forgets, so the clusters were stopped
    with pytest.raises(OSError):
        await trio.open_tcp_stream(*parts(ports.name))


def parts(name):
    host, _, port = name.rpartition(":")
    return host, int(port)


async def test_jobs_go_on_where_the_configuration_wants_that(configure, tmp_path):
    config = configure(f"c.DBBackendBase.db_url = 'sqlite:///{tmp_path}/db.sqlite'")
    driver = config.backend.driver
    for _ in range(2):
        async with open_server(config) as ports:
            if not driver.submissions:
                await request(f"http://{ports.name}/api/v1/clusters/", "POST", body=b"{}")
                await driver.wait_submissions(1)
            _, _, body = await request(f"http://{ports.name}/api/v1/clusters/")
            assert len(orjson.loads(body)) == 1
    assert len(driver.submissions) == len(driver.living) == 1


async def test_a_backup_that_is_restored_has_the_clusters_back(configure, tmp_path):
    folder, backups = tmp_path / "state", tmp_path / "backups"
    folder.mkdir(0o700)
    backups.mkdir(0o700)
    config = configure(f"c.DBBackendBase.db_url = 'sqlite:///{folder}/db.sqlite'")
    driver = config.backend.driver
    async with open_server(config) as ports:
        await request(f"http://{ports.name}/api/v1/clusters/", "POST", body=b"{}")
        (spec,) = await driver.wait_submissions(1)
        assert await beat(ports, spec) == 200
        command = [sys.executable, "-m", "gateway", "db", "-f", tmp_path / "config.py", "backup", backups / "daily"]
        await trio.run_process(command, cwd=Path(__file__).parents[2], capture_stdout=True)
    # As docs/operations.md has it.
    (folder / "old").mkdir()
    for file in folder.glob("db.sqlite*"):
        file.rename(folder / "old" / file.name)
    shutil.copy(backups / "daily", folder / "db.sqlite")
    shutil.copy(backups / "daily.key", folder / "db.sqlite.key")
    async with open_server(config) as ports:
        _, _, body = await request(f"http://{ports.name}/api/v1/clusters/")
        assert [(name, about["status"]) for name, about in orjson.loads(body).items()] == [
            (spec.cluster.name, "RUNNING")
        ]
        assert await beat(ports, spec) == 200
    assert len(driver.submissions) == len(driver.living) == 1


async def beat(ports, spec):
    """The status of the answer to a heartbeat of this cluster."""
    url = f"http://{ports.name}/api/v1/clusters/{spec.cluster.name}/heartbeat"
    token = [("Authorization", f"token {spec.secrets['DASK_GATEWAY_API_TOKEN']}")]
    async with httpcore.AsyncConnectionPool() as pool:
        return (await pool.request("POST", url, headers=token, content=orjson.dumps(heartbeat()))).status


async def test_systemd_is_told(configure, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        async with open_server(configure()) as ports:
            await request(f"http://{ports.name}/api/health")
            assert channel.recv(1000).decode() == f"READY=1\nSTATUS=serving at {ports.name}"
        assert channel.recv(1000) == b"STOPPING=1"


def test_a_frozen_gateway_says_where_its_loop_stood(tmp_path, monkeypatch):
    """What systemd's watchdog does when a site's own function does not give way."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    frozen = """
async def never_gives_way(user, config):
    import time
    with open("frozen", "w") as told:
        told.write("now")
    time.sleep(1000)

c.Backend.before_create = never_gives_way
"""
    folder = tmp_path / "gateway"
    folder.mkdir()
    os.mkfifo(folder / "frozen")
    with open_gateway(folder, frozen, base=fake_backend()) as gateway:
        url = urllib.parse.urlsplit(gateway.url)
        with socket.create_connection((url.hostname, url.port)) as client:
            head = f"POST /api/v1/clusters/ HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: {basic('alice')}\r\n"
            client.send(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode())
            assert (folder / "frozen").read_text() == "now"
            gateway.process.send_signal(signal.SIGABRT)
            assert gateway.process.wait(30) == -signal.SIGABRT
        assert gateway.log.count("Fatal Python error") == 1
        assert "in never_gives_way" in gateway.log


# ---- what keeps it from starting


def said(logs):
    (line,) = [line for line in logs if line["log_level"] == "critical"]
    assert "exc_info" not in line
    return line["reason"]


def test_a_port_in_use(configure):
    with socket.create_server(("127.0.0.1", 0)) as other, capture_logs() as logs:
        config = configure(f"c.Proxy.address = '127.0.0.1:{other.getsockname()[1]}'")
        assert run(config) == 1
    assert "cannot listen" in said(logs)
    assert config.backend.driver.submissions == []


def test_certificates_that_are_not_there(configure):
    config = configure("c.Proxy.tls_cert = '/nowhere/cert.pem'", "c.Proxy.tls_key = '/nowhere/key.pem'")
    with capture_logs() as logs:
        assert run(config) == 1
    assert "/nowhere/cert.pem" in said(logs)


async def test_a_second_gateway_on_the_same_database(configure, tmp_path):
    config = configure(f"c.DBBackendBase.db_url = 'sqlite:///{tmp_path}/db.sqlite'")
    async with open_server(config):
        with pytest.raises(ExceptionGroup) as caught:
            await serve(config, wait_stop=trio.sleep_forever)
        assert caught.group_contains(StartError, match="Another process uses the database")


def test_an_error_of_ours_has_a_traceback_and_a_code(configure):
    config = configure("FakeBackend.open_driver = lambda self: 1 / 0")
    with capture_logs() as logs:
        assert run(config) == 1
    (line,) = [line for line in logs if line["log_level"] == "critical"]
    assert line["exc_info"]


def test_warnings_of_the_configuration_are_logged(configure):
    with capture_logs() as logs:
        config = evolve(configure(), warnings=("this has no effect",))
        config = evolve(config, proxy=evolve(config.proxy, address="unix:/nowhere/at/all"))
        assert run(config) == 1
    assert any(line["event"] == "this has no effect" for line in logs)


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_clean_stop(tmp_path, monkeypatch, number):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with open_gateway(tmp_path / "gateway", base=fake_backend()) as gateway:
        assert gateway.request("GET", "/api/health")[0] == 200
        assert gateway.stop(number) == 0
    assert "stopped" in gateway.log
    assert "Traceback" not in gateway.log


def test_the_second_process_on_a_database_ends_with_a_sentence(tmp_path, monkeypatch, configure):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    line = f"c.DBBackendBase.db_url = 'sqlite:///{tmp_path}/db.sqlite'"
    with open_gateway(tmp_path / "gateway", line, base=fake_backend()), capture_logs() as logs:
        assert run(configure(line)) == 1
    assert "(the gateway, process " in said(logs)


# ---- ports


async def test_the_private_address_serves_the_api_alone(configure):
    config = configure("c.DaskGateway.address = '127.0.0.1:0'", "c.Proxy.prefix = '/dask'")
    async with open_server(config) as ports:
        private = "{}:{}".format(*ports.private[0].getsockname())
        assert (await request(f"http://{private}/api/health"))[0] == 200
        status, headers, _ = await request(f"http://{private}/clusters/c/status")
        assert (status, headers[b"content-type"]) == (404, b"application/json")
        assert (await request(f"http://{private}/dask/api/health"))[0] == 404
        assert (await request(f"http://{ports.name}/dask/api/health"))[0] == 200
        assert (await request(f"http://{ports.name}/api/health"))[0] == 404
        await request(f"http://{private}/api/v1/clusters/", "POST", body=b"{}")
        (spec,) = await config.backend.driver.wait_submissions(1)
        assert spec.environment["DASK_GATEWAY_API_URL"] == f"http://{private}/api"


async def test_a_port_of_their_own_for_schedulers(configure):
    async with open_server(configure("c.Proxy.tcp_address = '127.0.0.1:0'")) as ports:
        assert ports.name != ports.scheduler_name
        assert (await request(f"http://{ports.name}/api/health"))[0] == 200
        with pytest.raises((httpcore.NetworkError, httpcore.RemoteProtocolError)):
            await request(f"http://{ports.scheduler_name}/api/health")


@pytest.mark.parametrize("more", ["", "c.Proxy.tcp_address = '127.0.0.1:0'"])
async def test_owners_see_what_their_cluster_carries(configure, more):
    config = configure(more)
    async with peer(echo) as port, open_server(config) as ports:
        clusters = f"http://{ports.name}/api/v1/clusters/"
        name = orjson.loads((await request(clusters, "POST", body=b"{}"))[2])["name"]
        assert orjson.loads((await request(f"{clusters}{name}/traffic"))[2])["idle_seconds"] is None
        (spec,) = await config.backend.driver.wait_submissions(1)
        beat = orjson.dumps(heartbeat(host="127.0.0.1", scheduler_address=f"tls://127.0.0.1:{port}"))
        token = ("Authorization", f"token {spec.secrets['DASK_GATEWAY_API_TOKEN']}")
        async with httpcore.AsyncConnectionPool() as pool:
            answer = await pool.request("POST", f"{clusters}{name}/heartbeat", headers=[token], content=beat)
            assert answer.status == 200
        hello = openssl_hello(f"daskgateway-{name}")
        async with await connect(parts(ports.scheduler_name or ports.name)) as client:
            await client.send_all(hello)
            await receive_exactly(client, len(hello))
            status, _, body = await request(f"{clusters}{name}/traffic")
            traffic = orjson.loads(body)
            assert (status, 0 <= traffic.pop("idle_seconds") < 60) == (200, True)
            assert traffic.pop("bytes_to_scheduler") >= len(hello)
            assert traffic == {"connections": 1, "total_connections": 1, "bytes_to_clients": len(hello)}


async def test_one_address_written_twice_is_one_port(configure):
    async with open_server(
        configure("c.Proxy.tcp_address = '127.0.0.1:0'", "c.Proxy.address = '127.0.0.1:0'")
    ) as ports:
        assert ports.schedulers == []
        assert ports.scheduler_name == ""


async def test_https_for_people_and_plain_http_for_jobs(configure, tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(tmp_path / "cert.pem", append=True)
    context = httpcore.default_ssl_context()
    authority.configure_trust(context)
    config = configure(f"c.Proxy.tls_cert = '{tmp_path}/cert.pem'", f"c.Proxy.tls_key = '{tmp_path}/key.pem'")
    async with open_server(config) as ports:
        clusters = f"https://{ports.name}/api/v1/clusters/"
        status, headers, _ = await request(clusters, "POST", body=b"{}", context=context)
        assert status == 201
        assert b"; Secure" in headers[b"set-cookie"]
        status, headers, _ = await request(clusters.replace("https", "http"))
        assert (status, headers[b"location"]) == (308, clusters.encode())
        (spec,) = await config.backend.driver.wait_submissions(1)
        assert spec.environment["DASK_GATEWAY_API_URL"] == f"http://{ports.name}/api"


# ---- where jobs find the API


def listening(name, family=socket.AF_INET):
    """A socket that says this of itself."""

    class Listener:
        def getsockname(self):
            return name

    listener = Listener()
    listener.family = family
    return listener


def url_of(config, public, private=()):
    return jobs_api_url(config, Ports(public=public, schedulers=[], private=private))


@pytest.mark.parametrize(
    ("address", "name", "url"),
    [
        ("10.1.2.3:8000", ("10.1.2.3", 8000), "http://10.1.2.3:8000/api"),
        ("login1:0", ("10.1.2.3", 4711), "http://login1:4711/api"),
        ("[2001:db8::1]:80", ("2001:db8::1", 80, 0, 0), "http://[2001:db8::1]:80/api"),
        (":8000", ("::", 8000, 0, 0), "http://{host}:8000/api"),
        ("0.0.0.0:8000", ("0.0.0.0", 8000), "http://{host}:8000/api"),
        ("[::]:8000", ("::", 8000, 0, 0), "http://{host}:8000/api"),
        ("fd://3", ("10.1.2.3", 80), "http://10.1.2.3:80/api"),
        ("systemd", ("::", 80, 0, 0), "http://{host}:80/api"),
    ],
)
def test_the_url_for_jobs(configure, monkeypatch, address, name, url):
    config = configure(f"c.Proxy.address = {address!r}")
    family = socket.AF_INET6 if len(name) == 4 else socket.AF_INET
    assert url_of(config, [listening(name, family)]) == url.format(host="127.0.0.1")
    monkeypatch.setattr(type(config.backend), "default_host", "")
    assert url_of(config, [listening(name, family)]) == url.format(host=socket.gethostname())


UNIX = [listening("/run/gateway", socket.AF_UNIX)]
TCP = [listening(("10.0.0.9", 8001))]


def test_the_url_with_a_prefix_and_a_private_address(configure):
    config = configure("c.Proxy.prefix = '/dask/'", "c.Proxy.address = '10.0.0.9:1'")
    assert url_of(config, TCP) == "http://10.0.0.9:8001/dask/api"
    config = configure("c.Proxy.prefix = '/dask/'", "c.DaskGateway.address = '10.0.0.9:0'")
    assert url_of(config, UNIX, TCP) == "http://10.0.0.9:8001/api"
    config = configure("c.Proxy.address = '10.0.0.9:0'", "c.DaskGateway.address = 'unix:/run/gateway'")
    assert url_of(config, TCP, UNIX) == "http://10.0.0.9:8001/api"


def test_unix_sockets_alone_need_a_url(configure):
    with pytest.raises(StartError, match="api_url"):
        url_of(configure("c.Proxy.address = 'unix:/run/gateway'"), UNIX)


async def test_a_unix_socket(configure, tmp_path):
    path = tmp_path / "socket"
    config = configure(f"c.Proxy.address = 'unix:{path}'", "c.Backend.api_url = 'http://gateway.site/api/'")
    async with open_server(config) as ports:
        assert ports.name == f"unix:{path}"
        async with httpcore.AsyncConnectionPool(uds=str(path)) as pool:
            assert (await pool.request("GET", "http://gateway.site/api/health")).status == 200
            headers = [("Authorization", basic("alice")), ("Content-Type", "application/json")]
            created = await pool.request("POST", "http://gateway.site/api/v1/clusters/", headers=headers, content=b"{}")
            assert created.status == 201
        (spec,) = await config.backend.driver.wait_submissions(1)
        assert spec.environment["DASK_GATEWAY_API_URL"] == "http://gateway.site/api"


async def test_the_second_signal_does_not_wait():
    send, signals = trio.open_memory_channel(2)
    stop, scope = trio.Event(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_hear_signals, signals, stop, scope)
        await send.send(signal.SIGTERM)
        await stop.wait()
        assert not scope.cancel_called
        await send.send(signal.SIGINT)
    assert scope.cancel_called


# ---- an authenticator of the site's own

AUTHENTICATOR = """
import trio
from dask_gateway_server.auth import Authenticator, User

class SiteAuthenticator(Authenticator):
    log_of_setup = []

    {setup}

    {cleanup}

    async def authenticate(self, request):
        return User("ann")

c.DaskGateway.authenticator_class = SiteAuthenticator
"""


def an_authenticator(setup="def setup(self, app): pass", cleanup="def cleanup(self): pass"):
    return AUTHENTICATOR.format(setup=setup, cleanup=cleanup)


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        ("def setup(self, app): 1 / 0", "failed: ZeroDivisionError: division by zero ("),
        ("async def setup(self, app): raise OSError('LDAP\\nis away')", "failed: OSError: LDAP is away ("),
        ("async def setup(self, app): self.nothing", "failed: AttributeError: 'SiteAuthenticator' object has no"),
        ("async def setup(self, app): await trio.sleep_forever()", "has not returned within 60 seconds"),
        ("async def setup(self, app): import asyncio; asyncio.get_running_loop()", "runs on trio, not on asyncio"),
        ("async def setup(self, app): raise ExceptionGroup('g', [KeyError('x')])", "failed: KeyError: 'x'"),
        ("async def setup(self, app): self.cookie_name = 'x'", "cookie_name is an option, which stays as it was"),
    ],
    ids=range(7),
)
async def test_a_setup_that_fails_is_one_sentence(configure, setup, reason, autojump_clock):
    config = configure(an_authenticator(setup))
    with pytest.raises(Exception) as caught:
        await serve(config, wait_stop=trio.sleep_forever)
    error = innermost(caught.value)
    assert isinstance(error, StartError)
    text = str(error)
    assert text.startswith("The gateway cannot start, since SiteAuthenticator.setup() ")
    assert reason in text
    assert "\n" not in text


@pytest.mark.parametrize("error", ["StartError('no keytab')", "ExceptionGroup('g', [StartError('no keytab')])"])
async def test_a_setup_that_fails_with_a_sentence(configure, error):
    config = configure(
        an_authenticator(f"def setup(self, app): raise {error}"), "from gateway.errors import StartError"
    )
    with pytest.raises(Exception) as caught:
        await serve(config, wait_stop=trio.sleep_forever)
    assert str(innermost(caught.value)) == "no keytab"


def test_a_setup_that_fails_is_logged_without_a_traceback(configure):
    config = configure(an_authenticator("def setup(self, app): 1 / 0"))
    with capture_logs() as logs:
        assert run(config) == 1
    (line,) = [line for line in logs if line["log_level"] == "critical"]
    assert "config.py:" in line["reason"]
    assert "exc_info" not in line


@pytest.mark.parametrize(
    ("cleanup", "event"),
    [
        ("def cleanup(self): 1 / 0", "the authenticator's cleanup failed"),
        ("async def cleanup(self): await trio.sleep_forever()", "the authenticator's cleanup was cut short"),
    ],
)
async def test_a_cleanup_that_fails_stops_no_stop(configure, cleanup, event, autojump_clock):
    autojump_clock.autojump_threshold = 0.1  # the store works in a thread, in which the clock does not see work
    config = configure(an_authenticator(cleanup=cleanup))
    with capture_logs() as logs:
        async with open_server(config):
            pass
    assert event in [line["event"] for line in logs]
    assert "stopped" in [line["event"] for line in logs]


async def test_a_sites_own_classes_log_by_self_log(configure, caplog):
    config = configure(an_authenticator("def setup(self, app): self.log.warning('ready for %s', 'all')"))
    with caplog.at_level("DEBUG"):
        async with open_server(config):
            config.backend.log.info("as backends do")
    assert ("SiteAuthenticator", 30, "ready for all") in caplog.record_tuples
    assert ("FakeBackend", 20, "as backends do") in caplog.record_tuples


def test_a_kernel_that_cannot_be_asked_for_addresses(configure, monkeypatch):
    def unsupported(address):
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr("gateway.server.main.is_this_host", unsupported)
    with capture_logs() as logs:
        assert run(configure()) == 1
    assert "AF_NETLINK" in said(logs)
