"""What Prometheus is told: names that the manual has, figures that are true, and nobody's name."""

import re
import ssl
import sys
from functools import partial
from pathlib import Path
from subprocess import run

import pytest
import trio
import trustme
from prometheus_client.parser import text_string_to_metric_families

from gateway import metrics
from gateway.clusters.vital_signs import parts
from gateway.config.load import load
from gateway.server.exposition import Exposition, State
from tests.server.test_main import open_server, request
from tests.support.fakes import fake_backend
from tests.support.houses import open_house

MANUAL = Path(__file__).parents[2] / "docs" / "metrics.md"


def families(text):
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def value(text, name, **labels):
    """The value of a sample; 0 when there is none."""
    for family in families(text).values():
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return 0.0


def exposition(house, ports=(), certificate=""):
    state = State(
        manager=house.manager, parts=partial(parts, house.manager, house.store), ports=ports, certificate=certificate
    )
    return Exposition(state)


@pytest.fixture
def private(tmp_path):
    """A configuration with a private port."""
    file = tmp_path / "config.py"
    file.write_text(fake_backend() + "\nc.DaskGateway.address = '127.0.0.1:0'\n")
    return load(file)


@pytest.fixture(scope="module")
def fresh():
    """What a process tells that has counted nothing yet."""
    script = "from prometheus_client import generate_latest as text; from gateway.metrics import REGISTRY as counts"
    command = [sys.executable, "-c", f"{script}; print(text(counts).decode())"]
    return run(command, check=True, capture_output=True, text=True).stdout


async def test_the_private_port_shows_them_and_the_public_one_to_administrators(private):
    async with open_server(private) as ports:
        public, inner = (f"http://127.0.0.1:{each[0].getsockname()[1]}" for each in (ports.public, ports.private))
        status, headers, body = await request(f"{inner}/metrics")
        assert status == 200
        assert headers[b"content-type"].startswith(b"text/plain; version=")
        assert families(body)["dask_gateway_part_up"].samples
        status, _, body = await request(f"{public}/metrics")
        assert status == 403
        assert b"no administrator" in body


async def test_clusters_and_their_times_are_told(autojump_clock):
    async with open_house() as house:
        page = exposition(house)
        before = page.text()
        created = await house.ask("POST", "/api/v1/clusters/", body={})
        name = created.json["name"]
        house.driver.run("scheduler")
        await house.beat(name)
        text = page.text()
        assert value(text, "dask_gateway_clusters", status="running") == 1
        assert value(text, "dask_gateway_users") == 1
        started = "dask_gateway_cluster_start_seconds_count"
        assert value(text, started) == value(before, started) + 1
        submitted = partial(value, name="dask_gateway_submit_seconds_count", outcome="accepted")
        assert submitted(text) == submitted(before) + 1
        await trio.sleep(7)
        assert value(page.text(), "dask_gateway_heartbeat_age_seconds") == 7
        await house.ask("DELETE", f"/api/v1/clusters/{name}")
        routes = {"route": "/api/v1/clusters/<name>", "method": "DELETE", "code": "204"}
        assert value(page.text(), "dask_gateway_requests_total", **routes) >= 1
        for secret in (name, "alice"):
            assert secret not in page.text().decode()


async def test_the_manual_names_each_series_and_no_other():
    async with open_house() as house:
        shown = {name for name in families(exposition(house).text()) if name.startswith("dask_gateway_")}
    named = set(re.findall(r"^\| `(dask_gateway_\w+)`", MANUAL.read_text(), re.MULTILINE))
    conditional = {"dask_gateway_certificate_expiry_timestamp_seconds"}  # shown with a certificate only
    plain = {name.removesuffix("_total") for name in named}  # as the parser names a counter
    assert plain - conditional == shown - conditional


async def test_labels_are_none_that_people_make_many_of():
    async with open_house() as house:
        for _ in range(3):
            await house.ask("GET", "/api/v1/clusters/made-up")
            await house.ask("BREW", "/somewhere/made/up")
        metrics.count_login("made-up", "refused")
        text = exposition(house).text().decode()
    assert "made-up" not in text
    assert "BREW" not in text
    assert 'method="other"' in text


@pytest.mark.parametrize(
    "line",
    [
        'dask_gateway_clusters_ended_total{status="failed"}',
        'dask_gateway_clusters_refused_total{code="422"}',
        'dask_gateway_connections_refused_total{reason="no resources"}',
        'dask_gateway_poll_seconds_count{outcome="failed"}',
        'dask_gateway_queue_wait_seconds_count{role="scheduler"}',
        'dask_gateway_store_changes_total{outcome="failed"}',
        'dask_gateway_submit_seconds_count{outcome="lost"}',
    ],
)
def test_what_has_never_happened_is_told_as_zero(line, fresh):
    assert f"{line} 0.0" in fresh.splitlines()


async def test_a_certificate_says_when_it_ends(tmp_path):
    file = tmp_path / "cert.pem"
    trustme.CA().issue_cert("localhost").cert_chain_pems[0].write_to_path(file)
    expected = ssl.cert_time_to_seconds(ssl._ssl._test_decode_cert(str(file))["notAfter"])
    async with open_house() as house:
        shown = exposition(house, certificate=str(file)).text()
        assert value(shown, "dask_gateway_certificate_expiry_timestamp_seconds") == expected
        file.write_text("no certificate")
        assert "certificate_expiry" not in exposition(house, certificate=str(file)).text().decode()
