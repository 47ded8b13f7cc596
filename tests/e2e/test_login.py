"""Logging in to a real gateway: by a program, and by a browser; and what a restart does to that."""

import pytest

from tests.e2e.gateway_process import open_gateway, secrets_in

CONFIG = """
c.SimpleAuthenticator.password = "correct horse"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.DBBackendBase.db_url = "sqlite:///{directory}/gateway.sqlite"
"""
LIST = "/api/v1/clusters/"


def test_a_restart_logs_nobody_out(tmp_path):
    config = CONFIG.format(directory=tmp_path)
    with open_gateway(tmp_path, config) as gateway:
        cookie, ended = (gateway.session_cookie(password="correct horse") for _ in range(2))
        own = [("Sec-Fetch-Site", "same-origin"), ("Content-Type", "application/x-www-form-urlencoded")]
        assert gateway.request("POST", "/logout", headers=[*own, ("Cookie", ended)], body=b"")[0] == 303
    with open_gateway(tmp_path, config) as gateway:
        assert gateway.request("GET", LIST, headers=[("Cookie", cookie)])[0] == 200
        assert gateway.request("GET", LIST, headers=[("Cookie", ended)])[0] == 401
    with open_gateway(tmp_path, config.replace("correct horse", "battery staple")) as gateway:
        assert gateway.request("GET", LIST, headers=[("Cookie", cookie)])[0] == 401


def test_failures_are_told_and_their_passwords_are_not(tmp_path):
    with open_gateway(tmp_path, CONFIG.format(directory=tmp_path)) as gateway:
        assert gateway.session_cookie(password="my other password") == ""
        (line,) = [line for line in gateway.log.splitlines() if "a login has failed" in line]
        for said in ("user=alice", "method=basic", "address=127.0.0.1", 'reason="The password is wrong"'):
            assert said in line
        assert "my other password" not in gateway.log


@pytest.mark.parametrize(
    "line",
    [
        "Authorization: Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==",
        "Negotiate YIIFrwYGKwYBBQUCoIIFozCCBZ+gDTAL",
        "jupyterhub 0123456789abcdef0123456789abcdef",
        "token dgt_a1b2_c3d4e5f6g7h8",
        "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln",
        "-----BEGIN RSA PRIVATE KEY-----",
        "GET /clusters/abc/~1790000000.c29tZXRoaW5nLWxvbmc/status",
        "cookie gAAAAABl0123456789abcdefghijklmnop",
        "daskgateway-0123456789abcdef0123456789abcdef-abcdefghij234567zz",
        "?code=SplxlOBeZQQYbYS6WxSbIA",
    ],
)
def test_the_search_for_secrets_finds_some(line):
    assert secrets_in(f"level=info event={line!r}")
