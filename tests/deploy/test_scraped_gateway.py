"""A real gateway with users, and a real Prometheus that looks at it: what dashboard and rules ask for is there.

The gateway's batch system is PBS (a simulated one, or that of PBS_EXEC). What
happens is what happens at a site: clusters, computations, wrong passwords,
limits, a queue that does not exist, strangers at the port.
"""

import base64
import math
import re
import shutil
import socket
import ssl
import subprocess
import sys

import httpcore
import pytest
import trustme
import yaml

from tests.deploy.test_alerts import FILES, RULES
from tests.deploy.test_dashboard import QUERIES
from tests.e2e.gateway_process import ClientFailed
from tests.e2e.test_pbs import open_house, pbs  # noqa: F401
from tests.slurm.real import folder_of_dask
from tests.support.own_addresses import free_port, own_loopback
from tests.support.prometheus import needs_prometheus, run_prometheus
from tests.support.users import is_root

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not is_root(), reason="jobs of several users need root"),
    needs_prometheus,
    pytest.mark.timeout(300),
]

PASSWORD = "correct horse"
CONFIG = """
c.SimpleAuthenticator.password = "{password}"
c.DaskGateway.address = "{private}"
c.DaskGateway.admin_socket = "{folder}/admin.sock"
c.Proxy.tls_cert = "{folder}/cert.pem"
c.Proxy.tls_key = "{folder}/key.pem"
c.UserLimits.max_clusters = 1
c.DBBackendBase.cluster_heartbeat_period = 1
"""
#: What a day without accidents does not have: a series that stays at zero. All others are to have more.
SELDOM = {
    "Tasks that were started again, within an hour: {{child}}",
    "Time in rounds of the loop of 10 ms and more: {{instance}}",
}


def certificate(folder):
    """Put what the gateway shows into its folder; returns the file of the authority that it is from."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    for name in ("key.pem", "cert.pem"):
        (folder / name).chmod(0o600)
        shutil.chown(folder / name, "dask")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return folder / "ca.pem"


def scraped(gateway, private, folder, ca):
    """The example of deploy/, with this gateway in it: scraped at both ports each second, the rules beside it."""
    config = yaml.safe_load((FILES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FILES / rules) for rules in config["rule_files"]]
    by_token = {"credentials_file": str(folder / "dask-gateway.token")}
    for job, target in zip(config["scrape_configs"], (private, gateway.address), strict=True):
        del job["scrape_interval"]
        job["static_configs"] = [{"targets": [target]}]
        if "authorization" in job:
            assert job["authorization"].keys() == by_token.keys()
            job |= {"authorization": by_token, "tls_config": {"ca_file": str(ca)}}
    return config


async def compute(gateway):
    """A cluster that is used and stopped; another one beside it is refused."""
    async with await gateway.new_cluster(small=True) as cluster:
        await cluster.scale(1)
        async with cluster.get_client(set_as_default=False) as client:
            total = await client.submit(sum, [1, 2])
        try:
            await gateway.new_cluster()
        except ValueError as error:
            return [total, str(error)]


async def fail(gateway):
    """A cluster in a queue that does not exist."""
    async with await gateway.new_cluster(queue="nosuch"):
        pass


def misbehave(gateway, ca):
    """Wrong passwords until nobody listens, and noise."""
    context = ssl.create_default_context(cafile=str(ca))
    authorization = "Basic " + base64.b64encode(b"mallory:guessed").decode()
    with httpcore.ConnectionPool(ssl_context=context) as pool:
        answers = [
            pool.request("GET", f"{gateway.url}/api/v1/clusters/", headers=[("Authorization", authorization)]).status
            for _ in range(15)
        ]
    assert {401, 429} <= set(answers)
    host, port = gateway.address.split(":")
    with socket.create_connection((host, int(port))) as stranger:
        stranger.sendall(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00")  # TLS, but no hello
        while stranger.recv(1000):
            pass


@pytest.fixture(scope="module")
def prometheus(pbs, tmp_path_factory):  # noqa: F811
    """A Prometheus that has seen a gateway with all that happens to one."""
    host = own_loopback(1)
    private = f"{host}:{free_port(host)}"
    with folder_of_dask() as folder:
        ca = certificate(folder)
        config = CONFIG.format(folder=folder, private=private, password=PASSWORD)
        trusting = {"SSL_CERT_FILE": str(ca)}
        with open_house(folder, pbs, config, scheme="https", environment=trusting) as gateway:
            command = [sys.executable, "-m", "gateway", "tokens", "--socket", f"{folder}/admin.sock"]
            command += ["create", "--user", "bob", "--label", "prometheus", "--scope", "metrics", "--days", "365"]
            token = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            (folder / "dask-gateway.token").write_text(token)
            (folder / "dask-gateway.token").chmod(0o600)
            with run_prometheus(tmp_path_factory.mktemp("prometheus"), scraped(gateway, private, folder, ca)) as server:
                server.wait(lambda: len(server.result("up == 1")) == 2, "the gateway is not scraped at both ports")
                misbehave(gateway, ca)
                total, refused = gateway.client(compute, password=PASSWORD)
                assert total == 3
                assert "max_clusters" in refused
                with pytest.raises(ClientFailed, match="nosuch"):
                    gateway.client(fail, password=PASSWORD)
                ended = "sum by (job) (dask_gateway_clusters_ended_total) >= 2"
                server.wait(lambda: len(server.result(ended)) == 2, "the ends of clusters are not told")
                # What happened is seen as a rate from the next sample on.
                count = "min(count_over_time(dask_gateway_build_info[5m]))"
                seen = float(server.result(count)[0]["value"][1])
                server.wait(lambda: float(server.result(count)[0]["value"][1]) >= seen + 2, "nothing is scraped")
                yield server


@pytest.mark.parametrize("query", QUERIES)
def test_a_panel_is_not_empty(prometheus, query, request):
    asked = query.replace("$instance", ".*").replace("$__rate_interval", "1m")
    assert prometheus.result(asked), "the query finds nothing"
    most = [float(each["value"][1]) for each in prometheus.result(f"max_over_time(({asked})[5m:1s])")]
    shown = [value for value in most if not math.isnan(value)]
    assert shown, "all that is found is no number"
    assert max(shown) > 0 or request.node.callspec.id in SELDOM


def test_no_label_says_who_did_what(prometheus):
    told = prometheus.ask("series", **{"match[]": '{__name__=~"dask_gateway_.*"}'})
    labels = {(name, value) for series in told for name, value in series.items() if name not in ("instance", "le")}
    assert ("child", "decisions") in labels
    told_of = re.compile(r"alice|bob|mallory|[0-9a-f]{32}")
    assert [label for label in labels if told_of.search(label[1])] == []
    assert [value for name, value in labels if name == "child" and re.search("[0-9]", value)] == []


def test_rules_are_evaluated_and_nothing_is_wrong(prometheus):
    rules = [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == set(RULES)
    prometheus.wait(
        lambda: {rule["health"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]} == {"ok"},
        "a rule cannot be evaluated",
    )
    critical = 'ALERTS{alertstate="firing",severity="critical"}'
    assert prometheus.result(critical) == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_looks_at_series_that_are_there(prometheus, name):
    selectors = re.findall(r"\b(?:up|dask_gateway_\w+|process_\w+)(?:\{[^}]*\})?", RULES[name]["expr"])
    assert selectors
    # Failures of its own are what a gateway begins without.
    assert [each for each in selectors if not prometheus.result(each) and "5.." not in each] == []
