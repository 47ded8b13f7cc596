"""The public port as users and browsers meet it: dashboards, HTTPS, two ports, a prefix, restarts."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.e2e.gateway_process import ClientFailed, open_gateway
from tests.proxy.test_malformed import MALFORMED


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A certificate authority of our own, and a certificate for 127.0.0.1: (CA file, certificate, key)."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    ca, cert, key = directory / "ca.pem", directory / "cert.pem", directory / "key.pem"
    authority.cert_pem.write_to_path(ca)
    issued.private_key_pem.write_to_path(key)
    for blob in issued.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    return ca, cert, key


async def compute(gateway):
    async with await gateway.new_cluster() as cluster:
        await cluster.scale(1)
        async with cluster.get_client(set_as_default=False) as client:
            result = await client.submit(inc, 1)
        return [result, cluster.dashboard_link]


def test_https_with_a_ca_of_the_sites_own(tmp_path, tls):
    ca, cert, key = tls
    config = f"""
    c.Proxy.tls_cert = {str(cert)!r}
    c.Proxy.tls_key = {str(key)!r}
    """
    environment = {"SSL_CERT_FILE": str(ca)}
    with open_gateway(tmp_path / "house", config, scheme="https", environment=environment) as house:
        result, link = house.client(compute)
        assert result == 2
        assert link.startswith(house.url)
        context = ssl.create_default_context(cafile=str(ca))
        context.set_alpn_protocols(["h2"])
        host, port = house.address.split(":")
        with (
            socket.create_connection((host, int(port))) as raw,
            context.wrap_socket(raw, server_hostname=host) as stream,
        ):
            assert stream.selected_alpn_protocol() == "h2"


def test_two_ports(tmp_path):
    config = 'c.Proxy.tcp_address = "localhost:0"'
    with open_gateway(tmp_path / "house", config) as house:
        assert house.scheduler_address != house.address
        house.proxy_port = int(house.scheduler_address.rsplit(":", 1)[1])
        assert house.client(compute)[0] == 2


def test_a_prefix(tmp_path):
    with open_gateway(tmp_path / "house", 'c.Proxy.prefix = "/services/dask/"', prefix="/services/dask") as house:
        result, link = house.client(compute)
        assert result == 2
        assert "/services/dask/clusters/" in link
        assert house.request("GET", "/api/health")[0] == 200


def test_a_password(tmp_path):
    with open_gateway(tmp_path / "house", 'c.SimpleAuthenticator.password = "sésame"') as house:

        async def count(gateway):
            return len(await gateway.list_clusters())

        assert house.client(count, password="sésame") == 0
        with pytest.raises(ClientFailed, match="401"):
            house.client(count, password="wrong")
        assert "sésame" not in house.log


def test_the_dashboard_and_its_websocket(tmp_path):
    async def look(gateway):
        import re

        import aiohttp

        async with await gateway.new_cluster() as cluster:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                await client.wait_for_workers(1, timeout=60)
                async with aiohttp.ClientSession() as browser:
                    page = await (await browser.get(cluster.dashboard_link)).text()
                    root = cluster.dashboard_link.removesuffix("/status")
                    script = re.search(r'src="([^"]*bokeh[^"]*\.js[^"]*)"', page)[1]
                    asset = await browser.get(cluster.dashboard_link.rsplit("/", 1)[0] + "/" + script)
                    code = await asset.text()
                    token = re.search(r'"token":"([^"]+)"', page)[1]
                    url = root.replace("http", "ws", 1) + "/status/ws"
                    async with browser.ws_connect(url, protocols=("bokeh", token)) as socket:
                        first = (await socket.receive(timeout=60)).data
                    unknown = await browser.get(root.replace(cluster.name, "0" * 32) + "/status")
            return ["Dask" in page, asset.status, len(code) > 10_000, first, unknown.status]

    with open_gateway(tmp_path / "house") as house:
        dask_in_page, status, long_enough, first, unknown = house.client(look)
        assert dask_in_page
        assert (status, long_enough) == (200, True)
        assert "ACK" in first
        assert unknown == 404


def processes_below(directory):
    """The pids of processes that work in this directory."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.readlink(f"/proc/{entry}/cwd").startswith(str(directory)):
                found.append(int(entry))
        except OSError:
            continue
    return found


async def keep_running(gateway):
    cluster = await gateway.new_cluster(shutdown_on_close=False)
    await cluster.scale(1)
    async with cluster.get_client(set_as_default=False) as client:
        await client.wait_for_workers(1, timeout=60)
    await cluster.close()
    return cluster.name


def test_a_stop_ends_local_clusters(tmp_path):
    with open_gateway(tmp_path / "house") as house:
        house.client(keep_running)
        assert processes_below(house.directory / "clusters")
        assert house.stop() == 0
        assert processes_below(house.directory / "clusters") == []


def test_after_a_crash_the_next_start_takes_clusters_back(tmp_path):
    async def still_there(gateway, name):
        cluster = await gateway.connect(name, shutdown_on_close=True)
        async with cluster, cluster.get_client(set_as_default=False) as client:
            await client.wait_for_workers(1, timeout=60)
            return await client.submit(inc, 1)

    with open_gateway(tmp_path / "house") as house:
        name = house.client(keep_running)
        port = house.address.rsplit(":", 1)[1]
        house.stop(signal.SIGKILL)
    with open_gateway(tmp_path / "house", f'c.Proxy.address = "127.0.0.1:{port}"') as house:
        assert house.client(still_there, name) == 2
        assert house.stop() == 0
        assert processes_below(house.directory / "clusters") == []


def test_a_stop_with_ctrl_c_is_clean(tmp_path):
    with open_gateway(tmp_path / "house") as house:
        assert house.stop(signal.SIGINT) == 0
        assert "Traceback" not in house.log


def test_the_demo():
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo"], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 0.499 < float(re.search(r"the mean is (\S+)", done.stdout)[1].rstrip(".,")) < 0.501
    assert "/status" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_malformed_input_does_not_end_the_gateway(tmp_path):
    # What is wrong is known at once, and not because it takes too long.
    config = "\n".join(f"c.Proxy.{phase}_timeout = 1000" for phase in ("first_byte", "hello", "head"))
    with open_gateway(tmp_path / "house", config) as house:
        host, port = house.address.split(":")

        def say(case):
            data, _ = MALFORMED[case]
            for target in (b"/ HTTP", b"/api/v1/clusters/ HTTP", b"/clusters/abc/status/ws HTTP"):
                answer = b""
                with socket.create_connection((host, int(port)), timeout=30) as stream:
                    try:
                        stream.sendall(data.replace(b"/ HTTP", target))
                        stream.shutdown(socket.SHUT_WR)
                        while piece := stream.recv(65536):
                            answer += piece
                    except ConnectionError:
                        pass  # closed, or reset, is an answer; silence is none
                # Transfer encodings and versions that the gateway does not know are the peer's mistakes all the same.
                known = (b"HTTP/1.1 501", b"HTTP/1.1 505")
                assert not answer.startswith(b"HTTP/1.1 5") or answer.startswith(known), case
            assert house.request("GET", "/api/health")[0] == 200, case

        with ThreadPoolExecutor(8) as people:  # some answers take a second
            list(people.map(say, MALFORMED))
        assert house.process.poll() is None
        assert house.client(compute)[0] == 2


def test_a_renewed_certificate_is_taken_up(tmp_path, tls):
    _, cert, key = tls
    mine = [shutil.copy(file, tmp_path) for file in (cert, key)]
    config = f"""
    c.Proxy.tls_cert = {mine[0]!r}
    c.Proxy.tls_key = {mine[1]!r}
    c.Proxy.max_connections_per_address = 500
    """
    with open_gateway(tmp_path / "house", config, scheme="https") as house:
        host, port = house.address.split(":")

        def shown():
            return ssl.get_server_certificate((host, int(port)))

        assert shown() == cert.read_text()[: len(shown())]
        renewed = trustme.CA().issue_cert("127.0.0.1")
        Path(mine[0]).write_text("half a certificate")
        assert shown()  # the earlier one serves on
        renewed.cert_chain_pems[0].write_to_path(mine[0])
        renewed.private_key_pem.write_to_path(mine[1])
        assert shown() == renewed.cert_chain_pems[0].bytes().decode()
        assert "certificate not reloaded" in house.log
