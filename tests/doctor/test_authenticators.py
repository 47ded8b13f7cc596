"""What each way to log in needs from others: asked of servers in memory, a munged, and PAM."""

import pytest
from attrs import evolve

from gateway.auth.http_json import JsonClient
from gateway.auth.jupyterhub.authenticator import JupyterHubAuthenticator
from gateway.auth.kerberos.authenticator import KerberosAuthenticator
from gateway.auth.munge.authenticator import MungeAuthenticator
from gateway.auth.oidc.authenticator import OIDCAuthenticator
from gateway.auth.pam.authenticator import PAMAuthenticator
from gateway.auth.simple import SimpleAuthenticator
from gateway.config.load import load
from gateway.doctor import authenticators, jupyterhub, kerberos, munge, oidc, pam
from gateway.doctor.finding import Status
from gateway.doctor.site import Site
from tests.auth.kerberos.test_keytab import BEGIN, entry
from tests.support.fake_http import FakeServer
from tests.support.fake_issuer import FakeIssuer
from tests.support.munged import needs_munge, run_munged
from tests.support.pam_rig import pam_rig
from tests.support.tokens import ISSUER
from tests.support.users import is_root

HUB = "http://127.0.0.1:8081/hub/api"


async def looked(examine, authenticator, **more):
    found = []
    await examine(authenticator, load(None), found.append, **more)
    return {one.check: one for one in found}


class Hub(FakeServer):
    """A Hub that knows a service by its token."""

    def __init__(self, user=(200, {"kind": "service", "name": "dask-gateway", "scopes": ["list:users"]})):
        super().__init__(lambda asked: (200, {"version": "5.2"}) if asked.target == "/hub/api/" else user)


async def hub_of(server, **options):
    authenticator = JupyterHubAuthenticator(
        jupyterhub_api_url=HUB, jupyterhub_api_token="t0ken", jupyterhub_service_name="dask-gateway", **options
    )
    return await looked(jupyterhub.examine, authenticator, client=JsonClient("JupyterHub", network=server))


async def test_a_hub():
    server = Hub()
    found = await hub_of(server)
    assert {one.status for one in found.values()} == {Status.OK}
    assert "list:users" in found["Hub's token"].evidence
    assert server.asked[1].headers["authorization"] == "token t0ken"


async def test_hubs_that_are_of_no_use():
    found = await hub_of(Hub(user=(403, {})))
    assert found["Hub's token"].status is Status.FAILED
    found = await hub_of(FakeServer(lambda asked: (404, b"<html>")))
    assert found["JupyterHub"].status is Status.FAILED
    server = Hub()
    server.refused = OSError(111, "Connection refused")
    found = await hub_of(server)
    assert "does not answer" in found["JupyterHub"].evidence
    found = await looked(
        jupyterhub.examine,
        JupyterHubAuthenticator(jupyterhub_api_url=HUB),
        client=JsonClient("JupyterHub", network=Hub()),
    )
    assert found["Hub's token"].status is Status.SKIPPED


async def test_an_issuer():
    issuer = FakeIssuer()
    authenticator = OIDCAuthenticator(issuer=ISSUER, client_id="gateway")

    async def look():
        return (await looked(oidc.examine, authenticator, client=issuer.issuer().client))["issuer"]

    assert (await look()).status is Status.OK
    issuer.document["issuer"] = "https://other.example"
    assert "spelled exactly" in (await look()).evidence
    issuer.refused = OSError(111, "Connection refused")
    found = await look()
    assert (found.status, "curl -sS https://" in found.remedy) == (Status.FAILED, True)


async def test_a_keytab_for_another_name(tmp_path):
    path = tmp_path / "http.keytab"
    path.write_bytes(BEGIN + entry("HTTP", "old.example"))
    found = await looked(kerberos.examine, KerberosAuthenticator(keytab=str(path), service_name="HTTP@new.example"))
    assert found["keytab"].status is Status.FAILED
    assert "none of HTTP/new.example" in found["keytab"].evidence
    assert "ktadd" in found["keytab"].remedy


@needs_munge
async def test_munge():
    with run_munged() as munged:
        found = await looked(munge.examine, MungeAuthenticator(socket=str(munged.socket)))
        assert found["munge"].status is Status.OK
    found = await looked(munge.examine, MungeAuthenticator(socket=str(munged.socket)))
    assert found["munge"].status is Status.FAILED
    assert "munge -n | unmunge" in found["munge"].remedy


@pytest.mark.skipif(not is_root(), reason="makes a service of PAM")
async def test_pam():
    with pam_rig() as rig:
        found = await looked(pam.examine, PAMAuthenticator(service=rig.service))
    assert found["PAM"].status is Status.OK


async def test_each_is_asked_by_its_kind(tmp_path):
    path = tmp_path / "http.keytab"
    path.write_bytes(BEGIN + entry("HTTP", "old.example"))
    both = (SimpleAuthenticator(), KerberosAuthenticator(keytab=str(path), service_name="HTTP@new.example"))
    found = []
    await authenticators.examine(Site(config=evolve(load(None), authenticators=both)), found.append)
    assert [one.check for one in found] == ["authenticator", "keytab", "clock"]
