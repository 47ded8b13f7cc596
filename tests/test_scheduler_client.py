"""Messages to schedulers, over real connections to schedulers of all kinds."""

from contextlib import asynccontextmanager
from functools import partial

import h11
import orjson
import pytest
import trio

from gateway import scheduler_client
from gateway.errors import Conflict
from gateway.scheduler_client import SchedulerUnreachable, tell_scheduler


class FakeScheduler:
    """Answers with the next of `statuses`; None is a connection that is closed without an answer."""

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


async def test_a_scheduler_that_never_answers(monkeypatch):
    monkeypatch.setattr(scheduler_client, "ATTEMPT_DEADLINE", 0)
    async with open_scheduler() as scheduler:
        with pytest.raises(SchedulerUnreachable, match="no answer within 0 s"):
            await tell_scheduler(scheduler.address, "t", {})


async def test_a_cancelled_message_is_given_up_at_once():
    async with open_scheduler() as scheduler:
        with trio.move_on_after(0) as scope:
            await tell_scheduler(scheduler.address, "t", {})
        assert scope.cancelled_caught
