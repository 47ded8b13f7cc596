"""Requests of the simplest kind, as nearly all heartbeats and lists are; pure.

A simple request has its whole head at hand, every header once, a body of
known length if any, and asks for nothing unusual of the connection. It means
the same to every HTTP server: `tests/web/test_fast_parser.py` holds this parser
to h11, which it must agree with on each request that it takes. It takes no
other: None says "not simple", be it unusual, malformed or incomplete, and a
full HTTP server then sees the same bytes from the first one on.
"""

import re

from attrs import frozen

#: Bytes. A longer head is not simple.
HEAD_LIMIT = 16 * 1024

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
#: No `%`, `?` or `//host` in the path: it needs no decoding, and there is one way to read it. Every repetition ends
#: at a character that it cannot contain, so the time is linear in the size of the head.
_HEAD = re.compile(rb"(GET|POST) (/(?!/)[-._~/0-9A-Za-z]*) HTTP/1\.1\r\n((?:" + _TOKEN + rb":[\t\x20-\x7e]*\r\n)+)\r\n")
_LENGTH = re.compile(rb"[0-9]{1,8}")
#: They change what follows on the connection, or how.
_UNUSUAL = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"te", b"trailer", b"http2-settings"))


@frozen
class SimpleRequest:
    """A request's head. `size` is its length and `body_size` that of the body that follows, both in bytes.

    The names of `headers` are in lower case. `keep_alive` is False when the client wants to close.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    body_size: int
    keep_alive: bool
    size: int


def parse_simple_request(data: bytes) -> SimpleRequest | None:
    """The request at the beginning of `data`, None when it is not simple."""
    match = _HEAD.match(data, 0, HEAD_LIMIT)
    if match is None:
        return None
    lines = match[3].split(b"\r\n")
    lines.pop()
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip(b" \t")
    if len(headers) != len(lines) or not _UNUSUAL.isdisjoint(headers) or not headers.get(b"host"):
        return None
    length = headers.get(b"content-length", b"0")
    connection = headers.get(b"connection", b"keep-alive").lower()
    if not _LENGTH.fullmatch(length) or connection not in (b"keep-alive", b"close"):
        return None
    return SimpleRequest(
        match[1].decode(), match[2].decode(), headers, int(length), connection == b"keep-alive", match.end()
    )
