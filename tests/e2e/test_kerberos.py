"""Kerberos with the published client, against a real server of two realms."""

import base64
import json
import re

import pytest

from tests.e2e.gateway_process import ClientFailed, open_gateway
from tests.support.kdc import needs_kerberos, run_kdc
from tests.support.other_times import at, needs_faketime

pytestmark = needs_kerberos

# No cookies: each request brings a ticket.
CONFIG = """
from dask_gateway_server.options import Integer, Options

c.DaskGateway.authenticator_class = "dask_gateway_server.auth.KerberosAuthenticator"
c.KerberosAuthenticator.keytab = {keytab!r}
c.Authenticator.cache_max_age = 0
c.Backend.cluster_options = Options(Integer("worker_cores", default=1, min=1, max=4))
"""


@pytest.fixture(scope="module")
def kdc(tmp_path_factory):
    with run_kdc(tmp_path_factory.mktemp("kdc")) as kdc:
        yield kdc


def open_house(directory, kdc, keytab):
    config = CONFIG.format(keytab=str(keytab))
    return open_gateway(directory, config, host="localhost", own_environment=kdc.environment)


@pytest.fixture(scope="module")
def house(tmp_path_factory, kdc):
    with open_house(tmp_path_factory.mktemp("kerberos"), kdc, kdc.keytab) as house:
        yield house


@pytest.fixture(scope="module")
def alice(kdc):
    return kdc.log_in("alice")


def why(house, who, script):
    """All that a client prints when it fails."""
    with pytest.raises(ClientFailed) as failure:
        house.client(script, auth="kerberos", environment=who)
    return str(failure.value).partition("--- gateway ---")[0]


async def list_clusters(gateway):
    return await gateway.list_clusters()


def test_what_users_do(house, alice):
    async def script(gateway):
        before = await gateway.list_clusters()
        async with await gateway.new_cluster(worker_cores=2) as cluster:
            await cluster.scale(1)
            async with cluster.get_client(set_as_default=False) as client:
                result = await (await client).submit(inc, 41)
            ours = [report.name for report in await gateway.list_clusters()]
            return [before, result, ours == [cluster.name], sorted(await gateway.cluster_options())]

    assert house.client(script, auth="kerberos", environment=alice) == [[], 42, True, ["worker_cores"]]


def test_errors_bring_their_sentence(house, alice):
    async def script(gateway):
        told = []
        for call in (gateway.get_cluster("0" * 32), gateway.new_cluster(worker_cores=99)):
            try:
                await call
            except ValueError as error:
                told.append(str(error))
        return told

    not_found, too_many = house.client(script, auth="kerberos", environment=alice)
    assert "not found" in not_found
    assert "99" in too_many


def test_the_same_name_in_another_realm_is_somebody_else(house, kdc):
    told = why(house, kdc.log_in("alice@OTHER.TEST"), list_clusters)
    assert "ValueError: The Kerberos principal alice@OTHER.TEST belongs to no account of this site" in told
    assert "a principal was refused" in house.log


def test_a_replay_is_refused_and_the_client_says_so(house, alice):
    async def script(gateway):
        log_in, sent = gateway.auth.pre_request, []

        def again(response):
            headers, context = log_in(response)
            sent.append(headers)
            return sent[0], context

        gateway.auth.pre_request = again
        await gateway.list_clusters()
        await gateway.list_clusters()

    assert "Request is a replay" in why(house, alice, script)
    assert 'reason="Kerberos refuses the ticket: Request is a replay' in house.log


@needs_faketime
def test_clocks_that_differ(house, alice):
    assert "Clock skew too great" in why(house, alice | at("+10m"), list_clusters)
    assert "The clocks of the client and the gateway have to agree" in house.log


def test_nobody_without_a_ticket(house, kdc):
    assert "No Kerberos credentials available" in why(house, kdc.environment, list_clusters)


def test_a_keytab_of_another_service(tmp_path, kdc, alice):
    with open_house(tmp_path / "wrong", kdc, kdc.new_keytab("wrong.keytab", "HTTP/elsewhere")) as house:
        # What the number in the answer means to the client's library.
        assert "The ticket isn't for us" in why(house, alice, list_clusters)
        assert "HTTP/localhost@EXAMPLE.TEST not found in keytab" in house.log


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (b"NTLMSSP\0\1\0\0\0" + bytes(24), "does not offer Kerberos but another mechanism, such as NTLM"),
        (b"garbage", "is no token of Kerberos"),
    ],
)
def test_what_is_no_ticket(house, token, told):
    headers = [("Authorization", f"Negotiate {base64.b64encode(token).decode()}")]
    status, names, body = house.request("GET", "/api/v1/clusters/", headers=headers)
    assert (status, names["www-authenticate"]) == (401, "Negotiate")
    assert told in json.loads(body)["error"]


def test_curl(house, kdc, alice):
    def curl(path, *options, who=alice):
        """The last answer: its status, head and body."""
        said = kdc.run("curl", "-s", "--negotiate", "-u", ":", "-i", *options, f"{house.url}{path}", environment=who)
        head, _, body = said.decode().rpartition("HTTP/1.1 ")[2].partition("\r\n\r\n")
        return head.split()[0], head, body

    status, head, body = curl("/api/v1/clusters/")
    assert (status, body) == ("200", "{}")
    assert re.search(r"(?i)www-authenticate: Negotiate \S{100}", head)
    status, head, _ = curl("/api/v1/clusters/nosuch")
    assert status == "404"
    assert re.search(r"(?i)www-authenticate: Negotiate \S{100}", head)
    status, head, _ = curl("/login/kerberos", "-H", "Accept: text/html")
    assert status == "303"
    assert "set-cookie:" in head
    status, _, body = curl("/api/v1/clusters/", who=kdc.environment)
    assert (status, json.loads(body)) == ("401", {"error": "Authentication required"})


def test_mistakes_stop_the_start(tmp_path, kdc):
    missing = open_house(tmp_path / "no", kdc, tmp_path / "no.keytab")
    with pytest.raises(AssertionError, match=r"keytab .* must be a keytab: there is no file"), missing:
        pass
