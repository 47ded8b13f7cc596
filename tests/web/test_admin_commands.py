"""`dask-gateway-server tokens`: what it asks, and what it prints."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from gateway.server.cli import run

REPORT = {
    "id": "a1B2c3D4e5",
    "user": "ann",
    "label": "nightly",
    "scopes": ["clusters", "read"],
    "created": 0,
    "created_by": "root",
    "expires": 86400_000,
    "last_used": None,
    "state": "active",
}


class Gateway(ThreadingUnixStreamServer):
    """Stands for a gateway: remembers what it was asked."""

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Answers)
        self.asked: list[tuple[str, str, Any]] = []


class Answers(BaseHTTPRequestHandler):
    server: Gateway

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        content: Any = {"tokens": [REPORT]}
        if self.command == "POST":
            content = {**REPORT, "token": "dgt_text"}
        elif self.command == "DELETE":
            content = {"revoked": ["x", "y"] if self.path.endswith("ann") else []}
        said = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_DELETE = answer

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    with Gateway(str(tmp_path / "admin.sock")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def tokens(*arguments: str) -> int:
    return run(["tokens", "--socket", "admin.sock", *arguments])


def test_list(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens("list", "--table") == 0
    assert capsys.readouterr().out == (
        "ID          USER  SCOPES         STATE   CREATED (UTC)     LAST USED  EXPIRES           LABEL\n"
        "a1B2c3D4e5  ann   clusters,read  active  1970-01-01 00:00  never      1970-01-02 00:00  nightly\n"
    )
    for options in ((), ("--json",)):
        assert tokens("list", "--user", "a/b c", *options) == 0
        assert json.loads(capsys.readouterr().out) == [REPORT]
    assert gateway.asked[1:] == [("GET", "/api/v1/admin/tokens?user=a%2Fb+c", None)] * 2


def test_people_get_a_table(gateway: Gateway, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr("gateway.web.admin.options.at_terminal", lambda: True)
    assert tokens("list") == 0
    assert capsys.readouterr().out.startswith("ID ")


def test_create(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens("create", "--user", "ann") == 0
    out, err = capsys.readouterr()
    assert out == "dgt_text\n"  # alone: TOKEN=$(dask-gateway-server tokens create --user ann)
    assert err == "Token a1B2c3D4e5 of user ann: clusters and read, until 1970-01-02 00:00 UTC\n"
    assert tokens("create", "--user", "ann", "--label", "ci", "--scope", "read", "--days", "7", "--json") == 0
    assert json.loads(capsys.readouterr().out)["token"] == "dgt_text"
    path = "/api/v1/admin/tokens"
    usual = {"user": "ann", "label": "", "scopes": ["clusters"], "expires_in": 30 * 86400}
    asked = {"user": "ann", "label": "ci", "scopes": ["read"], "expires_in": 7 * 86400}
    assert gateway.asked == [("POST", path, usual), ("POST", path, asked)]


def test_revoke(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens("revoke", "aaa", "dgt_bbb", "dgt_ccc_secret", "a/b") == 0
    assert capsys.readouterr().out == "Revoked: aaa\nRevoked: bbb\nRevoked: ccc\nRevoked: a/b\n"
    assert [path.rpartition("/")[2] for _, path, _ in gateway.asked] == ["aaa", "bbb", "ccc", "a%2Fb"]
    assert tokens("revoke", "--user", "ann") == 0
    assert tokens("revoke", "--user", "bob") == 0
    assert capsys.readouterr() == ("Revoked: x\nRevoked: y\nUser bob has no tokens\n", "")
    assert gateway.asked[4:] == [("DELETE", f"/api/v1/admin/tokens?user={name}", None) for name in ("ann", "bob")]


@pytest.mark.parametrize(
    "arguments",
    [("revoke",), ("revoke", "a", "--user", "b"), ("create",), ("create", "--user", "a", "--scope", "all"), ("x",)],
)
def test_wrong_usage(gateway: Gateway, arguments: tuple[str, ...]) -> None:
    assert tokens(*arguments) == 2
    assert gateway.asked == []


def test_the_configuration_says_where_the_socket_is(gateway: Gateway, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.py").write_text(f"c.DaskGateway.admin_socket = {str(tmp_path / 'admin.sock')!r}\n")
    for arguments in (["-f", "a.py", "tokens", "list"], ["tokens", "-f", "a.py", "list"]):
        assert run(arguments) == 0
    (tmp_path / "dask_gateway_config.py").write_text((tmp_path / "a.py").read_text())
    assert run(["tokens", "list"]) == 0
    assert len(gateway.asked) == 3
    capsys.readouterr()
    assert run(["tokens", "list", "--DaskGateway.admin_socket=None"]) == 2
    assert "has no administrator's socket" in capsys.readouterr().err
    (tmp_path / "dask_gateway_config.py").write_text("c.DaskGateway.admin_socket = 1\n")
    assert run(["tokens", "list"]) == 2
    assert run(["tokens", "list", "--help"]) == 0  # which needs none


def test_systemd_says_where_the_socket_is(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    assert run(["tokens", "list"]) == 0
    assert len(gateway.asked) == 1


def test_no_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tokens", "--socket", str(tmp_path / "none.sock"), "list"]) == 1
    assert capsys.readouterr().err.startswith(f"No gateway listens at {tmp_path}/none.sock.")
