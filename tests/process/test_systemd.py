"""What systemd hears, at a socket of the test's own."""

import socket

import pytest
from structlog.testing import capture_logs

from gateway.process.systemd import notify


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        if request.param == "path":
            name = str(tmp_path / "notify")
            channel.bind(name)
        else:
            channel.bind("")  # Linux chooses an abstract name
            name = "@" + channel.getsockname()[1:].decode()
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield channel


def test_fields_are_lines_of_one_datagram(systemd):
    notify(READY="1", STATUS="serving at :8000")
    assert systemd.recv(4096) == b"READY=1\nSTATUS=serving at :8000"


def test_without_systemd_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with capture_logs() as logs:
        notify(READY="1")
    assert logs == []


@pytest.mark.parametrize("name", ["/nowhere/at/all", "/" + "x" * 200, "@nobody-listens-here"])
def test_a_socket_that_is_none_is_no_reason_to_stop(monkeypatch, name):
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    with capture_logs() as logs:
        notify(READY="1")
    assert [line["event"] for line in logs] == ["cannot notify systemd"]


def test_nobody_waits_for_a_reader_that_does_not_read(systemd):
    with capture_logs() as logs:
        for _ in range(10_000):
            notify(STATUS="x" * 1000)
            if logs:
                break
    assert [line["event"] for line in logs] == ["cannot notify systemd"]
