"""What h11 says of requests, and what ours says instead."""

import h11
import pytest

from gateway.web.http1_connection import _Parser
from gateway.web.http_budget import Budget, SharedBudget

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("behind", [REQUEST, b"\r\n", b"x"])
@pytest.mark.parametrize("request_", [REQUEST, LAST])
async def test_the_last_answer_is_complete_before_what_comes_behind_its_request_is_looked_at(
    request_: bytes, behind: bytes
) -> None:
    parser = _Parser(1024, Budget(SharedBudget()))
    parser.receive_data(request_ + behind)
    assert isinstance(parser.next_event(), h11.Request)
    assert isinstance(parser.next_event(), h11.EndOfMessage)
    assert parser.next_event() is h11.PAUSED
    parser.send(h11.Response(status_code=401, headers=[("content-length", "1"), ("connection", "close")]))
    assert parser.next_event() is h11.PAUSED
    parser.send(h11.Data(data=b"x"))
    parser.send(h11.EndOfMessage())
    with pytest.raises(h11.RemoteProtocolError):
        parser.next_event()


async def test_the_end_of_a_client_is_seen_while_the_last_answer_is_sent() -> None:
    parser = _Parser(1024, Budget(SharedBudget()))
    parser.receive_data(LAST)
    assert isinstance(parser.next_event(), h11.Request)
    assert isinstance(parser.next_event(), h11.EndOfMessage)
    assert parser.next_event() is h11.NEED_DATA
    parser.receive_data(b"")
    assert isinstance(parser.next_event(), h11.ConnectionClosed)
