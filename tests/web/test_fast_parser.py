"""Simple requests: those that are taken mean the same to h11, and everything that is not simple is left alone."""

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.web.fast_parser import HEAD_LIMIT, parse_simple_request

GET = b"GET /api/v1/clusters/ HTTP/1.1\r\nHost: gateway:8000\r\n"
POST = b"POST /api/v1/clusters/c0ffee/heartbeat HTTP/1.1\r\nHost: gateway\r\n"


def test_a_list():
    data = GET + b"Cookie:  a=1; b=2\t\r\nConnection: Keep-Alive\r\n\r\nGET "
    request = parse_simple_request(data)
    assert (request.method, request.path, request.body_size) == ("GET", "/api/v1/clusters/", 0)
    assert request.headers == {b"host": b"gateway:8000", b"cookie": b"a=1; b=2", b"connection": b"Keep-Alive"}
    assert request.keep_alive
    assert data[request.size :] == b"GET "


def test_a_heartbeat_as_tornado_sends_it():
    head = POST + b"Connection: close\r\nContent-Length: 7\r\nAccept-Encoding: gzip\r\n\r\n"
    request = parse_simple_request(head + b'{"a":1}')
    assert (request.method, request.path) == ("POST", "/api/v1/clusters/c0ffee/heartbeat")
    assert (request.size, request.body_size, request.keep_alive) == (len(head), 7, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n" + GET + b"\r\n",
        GET,
        GET + b"\r",
        GET + b"X: y\n\r\n",
        GET + b"X: y\r\n z\r\n\r\n",
        GET + b"X : y\r\n\r\n",
        GET + b"X\r\n\r\n",
        GET + b": y\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b"X: a\rb\r\n\r\n",
        GET + b"X: \xe9\r\n\r\n",
        GET + b"X: 1\r\nx: 2\r\n\r\n",
        GET + b"Host: other\r\n\r\n",
        GET + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        GET + b"Content-Length: -1\r\n\r\n",
        GET + b"Content-Length: +1\r\n\r\n",
        GET + b"Content-Length: 1_0\r\n\r\n",
        GET + b"Content-Length: 1, 1\r\n\r\n",
        GET + b"Content-Length:\r\n\r\n",
        GET + b"Content-Length: 999999999\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n",
        POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        GET + b"Upgrade: h2c\r\n\r\n",
        GET + b"Connection: keep-alive, close\r\n\r\n",
        GET + b"Connection: cookie\r\n\r\n",
        GET + b"X: " + b"x" * HEAD_LIMIT + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /%61 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //a/b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_what_is_not_simple(data):
    assert parse_simple_request(data) is None


def check_against_h11(data):
    """Whatever is taken, h11 takes too, as the same request."""
    request = parse_simple_request(data)
    if request is None:
        return None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (request.method.encode(), request.path.encode())
    assert dict(event.headers) == request.headers
    assert len(event.headers) == len(request.headers)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    rest = data[request.size :]
    assert body == rest[: request.body_size]
    if len(rest) >= request.body_size:
        assert isinstance(event, h11.EndOfMessage)
        assert connection.trailing_data[0] == rest[request.body_size :]
        assert (connection.their_state is h11.MUST_CLOSE) == (not request.keep_alive)
    else:
        assert event is h11.NEED_DATA
    return request


names = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Content-Length",
        b"Connection",
        b"Cookie",
        b"Transfer-Encoding",
        b"Expect",
        b"X-y",
        b"T e",
        b"",
    ]
)
values = st.one_of(
    st.sampled_from([b"x", b"0", b"3", b"03", b"close", b"keep-alive", b"Close", b"chunked", b"100-continue", b""]),
    st.binary(max_size=5),
    st.text("abc \t:;,\x0b\x7f\x85", max_size=6).map(lambda text: text.encode("latin-1")),
)
ends = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"\r\n "])
headers = st.lists(
    st.builds(lambda *parts: b"".join(parts), names, st.sampled_from([b": ", b":", b" :"]), values, ends)
)
targets = st.one_of(st.sampled_from([b"/", b"/a/b-c", b"*", b"//x", b"/a b"]), st.binary(max_size=4))
heads = st.builds(
    lambda method, target, version, first, lines: b"".join((method, b" ", target, version, first, *lines, b"\r\n")),
    st.sampled_from([b"GET", b"POST", b"PUT", b"GE T"]),
    targets,
    st.sampled_from([b" HTTP/1.1\r\n"] * 5 + [b" HTTP/1.0\r\n", b"\r\n", b" HTTP/1.1\n"]),
    st.sampled_from([b"Host: x\r\n", b""]),
    headers,
)


@given(st.builds(lambda head, body: head + body, heads, st.binary(max_size=8)))
@example(POST + b"Content-Length: 003\r\n\r\nabcd")
@example(GET + b"Connection: CLOSE\r\n\r\n")
@example(GET + b"X:\t \r\n\r\n")
def test_h11_agrees(data):
    check_against_h11(data)


@given(
    st.sampled_from([GET, POST]),
    st.dictionaries(
        st.text("abcdefghijklmnop-_.!~'*", min_size=1, max_size=8),
        st.text([chr(code) for code in (9, *range(32, 127))], max_size=20),
        max_size=5,
    ),
    st.integers(0, 12),
    st.binary(max_size=20),
)
def test_ordinary_ones_are_simple(begin, fields, size, rest):
    fields = {f"x-{name}": value for name, value in fields.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    data = begin + f"Content-Length: {size}\r\n{lines}\r\n".encode() + rest
    assert check_against_h11(data) is not None
