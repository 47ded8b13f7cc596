"""Messages to schedulers, over real connections to schedulers of all kinds."""

import errno
import socket
from contextlib import asynccontextmanager
from functools import partial

import h11
import orjson
import pytest
import trio
import trio.testing

from gateway.clusters import scheduler_client
from gateway.clusters.scheduler_client import (
    ATTEMPT_DEADLINE,
    Asked,
    SchedulerUnreachable,
    ask_scheduler,
    tell_scheduler,
)
from gateway.clusters.silence import Answer
from gateway.errors import Conflict
from gateway.proxy import resolver
from gateway.proxy.dialer import Dialer, RefusedDestination
from gateway.proxy.resolver import LookUpError


class FakeScheduler:
    """Answers with the next of `statuses`; None closes the connection without an answer, "silent" leaves it open."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.heard = []

    async def serve(self, stream):
        async with stream:
            connection = h11.Connection(h11.SERVER)
            body = b""
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
            headers = {name.decode(): value.decode() for name, value in request.headers}
            self.heard.append((request.method.decode(), request.target.decode(), headers, body))
            status = self.statuses.pop(0) if self.statuses else 200
            if status is None:
                return
            if status == "silent":
                await trio.sleep_forever()
            if status == "garbage":
                await stream.send_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
                return
            answer = h11.Response(status_code=status, headers=[("Content-Length", "0"), ("Set-Cookie", "a=b")])
            await stream.send_all(connection.send(answer) + connection.send(h11.EndOfMessage()))


@asynccontextmanager
async def open_scheduler(*statuses):
    scheduler = FakeScheduler(*statuses)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, scheduler.serve, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        scheduler.address = "http://{}:{}".format(*listener.socket.getsockname())
        yield scheduler
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def no_delays(monkeypatch):
    async def sleep(seconds):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(scheduler_client.trio, "sleep", sleep)


async def test_what_a_scheduler_hears():
    async with open_scheduler() as scheduler:
        for count in (1, 2):
            await tell_scheduler(scheduler.address, "t0ken", {"op": "scale", "count": count})
    assert [orjson.loads(body) for _, _, _, body in scheduler.heard] == [
        {"op": "scale", "count": 1},
        {"op": "scale", "count": 2},
    ]
    for method, target, headers, _ in scheduler.heard:
        assert (method, target) == ("POST", "/api/comm")
        assert headers["authorization"] == "token t0ken"
        assert headers["content-type"] == "application/json"
        assert "cookie" not in headers


@pytest.mark.parametrize("failure", [500, 403, None, "garbage"])
async def test_failures_are_tried_again(failure):
    async with open_scheduler(failure, failure) as scheduler:
        await tell_scheduler(scheduler.address, "t", {})
    assert len(scheduler.heard) == 3


@pytest.mark.parametrize(
    ("failure", "text"), [(500, "HTTP status 500"), (302, "302"), (None, "disconnected"), ("garbage", "take messages")]
)
async def test_in_the_end_the_user_hears_of_it(failure, text):
    async with open_scheduler(failure, failure) as scheduler:
        with pytest.raises(SchedulerUnreachable, match=text) as caught:
            await tell_scheduler(scheduler.address, "t0ken", {}, attempts=2)
    assert isinstance(caught.value, Conflict)
    assert "t0ken" not in str(caught.value)
    assert len(scheduler.heard) == 2


async def test_nobody_listens():
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))  # bound, and never listening
    address = "http://{}:{}".format(*listener.getsockname())
    with listener, pytest.raises(SchedulerUnreachable, match="does not take messages"):
        await tell_scheduler(address, "t", {})


async def test_a_scheduler_that_never_answers(autojump_clock):
    async with open_scheduler(*["silent"] * 3) as scheduler:
        with pytest.raises(SchedulerUnreachable, match="no answer within 5 s"):
            await tell_scheduler(scheduler.address, "t", {})


async def test_a_cancelled_message_is_given_up_at_once():
    async with open_scheduler() as scheduler:
        with trio.move_on_after(0) as scope:
            await tell_scheduler(scheduler.address, "t", {})
        assert scope.cancelled_caught


# --- is it there? -----------------------------------------------------------------------------------------------------


async def test_a_scheduler_is_asked_without_a_secret():
    async with open_scheduler() as scheduler:
        assert await ask_scheduler(scheduler.address, "t0ken") == Asked(Answer.HERE)
    ((method, target, headers, body),) = scheduler.heard
    assert (method, target, body) == ("GET", "/api/health", b"")
    assert "t0ken" not in str(headers)


@pytest.mark.parametrize(("failure", "text"), [(500, "HTTP status 500"), (404, "404"), (None, "disc"), ("garbage", "")])
async def test_what_no_scheduler_says_is_no_answer(failure, text):
    async with open_scheduler(failure) as scheduler:
        asked = await ask_scheduler(scheduler.address, "t")
    assert asked.answer is Answer.SILENT
    assert text in asked.words


async def test_a_port_at_which_nobody_listens_refuses():
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    with listener:
        asked = await ask_scheduler("http://{}:{}".format(*listener.getsockname()), "t")
    assert asked.answer is Answer.REFUSED


async def test_a_scheduler_that_hangs_does_not_answer(monkeypatch, autojump_clock):
    ours, _theirs = trio.testing.memory_stream_pair()

    async def connect(self, *_):
        await trio.lowlevel.checkpoint()
        return ours

    monkeypatch.setattr(Dialer, "connect", connect)
    start = trio.current_time()
    asked = await ask_scheduler("http://127.0.0.1:1", "t")
    assert asked.answer is Answer.SILENT
    assert trio.current_time() - start == pytest.approx(2 * ATTEMPT_DEADLINE)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (OSError(errno.EMFILE, "Too many open files"), Answer.NOT_ASKED),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), Answer.NOT_ASKED),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Answer.SILENT),
        (TimeoutError("no answer within 5 s"), Answer.SILENT),
        (RefusedDestination("it is this host"), Answer.SILENT),
        (LookUpError("the name server is gone again"), Answer.NOT_ASKED),
    ],
)
async def test_what_is_the_gateway_s_own_says_nothing_of_the_scheduler(monkeypatch, error, answer):
    async def connect(self, *_):
        await trio.lowlevel.checkpoint()
        raise error

    monkeypatch.setattr(Dialer, "connect", connect)
    asked = await ask_scheduler("http://127.0.0.1:1", "t")
    assert asked.answer is answer
    assert asked.words


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), Answer.NOT_ASKED),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), Answer.SILENT),
    ],
)
async def test_a_name_server_s_silence_is_not_the_scheduler_s(monkeypatch, error, answer):
    def look_up(*_, **__):
        raise error

    monkeypatch.setattr(resolver.socket, "getaddrinfo", look_up)
    asked = await ask_scheduler("http://node.example:1", "t")
    assert asked.answer is answer
    assert "node.example cannot be looked up" in asked.words


async def test_a_name_server_that_hangs(monkeypatch, autojump_clock):
    async def hang(self, *_):
        await trio.sleep_forever()

    monkeypatch.setattr(Dialer, "look_up", hang)
    asked = await ask_scheduler("http://node.example:1", "t")
    assert asked == Asked(Answer.NOT_ASKED, "its name cannot be looked up in time")
