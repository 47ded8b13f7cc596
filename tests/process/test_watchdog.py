"""What systemd hears of a gateway that serves, and when its watchdog is left without food."""

import socket
from functools import partial

import pytest
import trio
from structlog.testing import capture_logs

from gateway.process.watchdog import PERIOD, report, reporting, watchdog_seconds


class Systemd:
    """Its end of the notify socket."""

    def __init__(self, channel):
        self._channel = channel

    def heard(self):
        """What was said since the last look."""
        said = []
        while True:
            try:
                said.append(self._channel.recv(4096).decode())
            except BlockingIOError:
                return said


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield Systemd(channel)


async def well():
    await trio.lowlevel.checkpoint()
    return ""


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "120000000"}, 120),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "7"}, 120),
        ({"WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
    ],
)
def test_whether_a_watchdog_waits(environment, seconds):
    assert watchdog_seconds(environment, 7) == seconds


async def test_a_watchdog_is_fed_several_times_in_its_patience(systemd, monkeypatch, autojump_clock):
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    async with reporting(lambda: "serving", {"database": well}):
        await trio.sleep(29)
    assert systemd.heard() == ["WATCHDOG=1"] * 6
    await trio.sleep(60)
    assert systemd.heard() == []


async def test_a_long_patience_makes_no_rare_looks(systemd, monkeypatch, autojump_clock):
    monkeypatch.setenv("WATCHDOG_USEC", "3600000000")
    async with reporting(lambda: "serving", {}):
        await trio.sleep(4 * PERIOD - 1)
    assert systemd.heard() == ["WATCHDOG=1"] * 4


async def test_without_a_watchdog_only_the_status_is_told(systemd, autojump_clock):
    lines = iter(["serving", "serving", "serving; 1 cluster", "serving; 1 cluster", "serving"])
    async with reporting(lambda: next(lines), {"database": trio.sleep_forever}):
        await trio.sleep(4 * PERIOD - 1)
    assert systemd.heard() == ["STATUS=serving; 1 cluster", "STATUS=serving"]


async def test_without_systemd_nothing_happens(monkeypatch, autojump_clock):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")

    async def never():
        raise AssertionError

    async with reporting(lambda: "serving", {"database": never}):
        await trio.sleep(100)


class Part:
    """A part that can be stopped: it does not answer, or says why it has stopped."""

    def __init__(self):
        self.goes_on = trio.Event()
        self.goes_on.set()
        self.words = ""

    async def __call__(self):
        await self.goes_on.wait()
        return self.words


async def test_a_part_that_does_not_answer_leaves_the_watchdog_without_food(systemd, nursery, autojump_clock):
    database, driver = Part(), Part()
    parts = {"database": database, "driver": driver}
    with capture_logs() as logs:
        nursery.start_soon(partial(report, lambda: "serving", parts, feeds=True, period=10))
        await trio.sleep(1)
        assert systemd.heard() == ["WATCHDOG=1"]
        database.goes_on = trio.Event()
        await trio.sleep(60)
        assert systemd.heard() == ["STATUS=serving; the database has not answered for 10 seconds"]
        database.goes_on.set()
        await trio.sleep(20)
        assert systemd.heard()[:2] == ["WATCHDOG=1", "STATUS=serving"]
        driver.words = "a look has not ended"
        await trio.sleep(10)
        systemd.heard()
        await trio.sleep(50)
        assert systemd.heard() == []
    assert [line["event"] for line in logs] == [
        "a part of the gateway has stopped; systemd will restart it",
        "all parts of the gateway go on",
        "a part of the gateway has stopped; systemd will restart it",
    ]
    assert [(line["part"], line["reason"]) for line in (logs[0], logs[2])] == [
        ("database", "the database has not answered for 10 seconds"),
        ("driver", "a look has not ended"),
    ]
