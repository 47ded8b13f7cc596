"""A gateway that speaks HTTPS is one to the doctor as well: at its port, and as jobs meet it."""

import os
import subprocess
import sys

import pytest
import trio
import trustme

from gateway.addresses import Address
from gateway.doctor import probe
from gateway.doctor.ports import gateway_version
from tests.e2e.gateway_process import open_gateway


@pytest.fixture(scope="module", params=["", "/dask"])
def house(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("https")
    issued = trustme.CA().issue_cert("gateway.example")  # of an authority that nobody here knows
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    config = f"""
    c.Proxy.tls_cert = "{folder}/cert.pem"
    c.Proxy.tls_key = "{folder}/key.pem"
    c.Proxy.prefix = "{request.param}"
    """
    with open_gateway(folder / "house", config, prefix=request.param) as house:
        yield house, request.param


def test_at_its_port(house):
    gateway, prefix = house
    host, port = gateway.address.split(":")
    assert trio.run(gateway_version, Address(host, int(port)), prefix)


def told_by_a_job(url):
    """What the text says that a job runs, which waits for a connection after that."""
    job = subprocess.Popen(
        [sys.executable, "-c", probe.SOURCE],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DASK_GATEWAY_API_URL": url},
    )
    with job:
        try:
            return probe.told(job.stdout.readline())
        finally:
            job.kill()


def test_as_jobs_meet_it(house):
    gateway, _ = house
    assert told_by_a_job(f"{gateway.url}/api")["api"] == ""
    assert "refused" in told_by_a_job("http://127.0.0.1:9/api")["api"]
