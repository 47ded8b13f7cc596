"""Which server does a connection ask for? Read from the first bytes of TLS, without taking part in it.

A TLS client opens with a ClientHello (RFC 8446, 4.1.2; the same shape since
TLS 1.0), and the server name that it wants stands there in clear text (RFC
6066, 3). The message travels in *records* of at most 16 KiB, may be cut into
any number of them, and grows past a TCP segment as soon as post-quantum keys
are offered; hence `NeedMoreData`, which says how many bytes are needed to
decide, so that the caller can sleep until they are there.

`parse_client_hello` is given everything received so far and answers with one of
`ClientHello`, `NeedMoreData`, `PlainText`; it raises `MalformedClientHello`
when no further byte could make sense of it. It never reads past the
ClientHello. With encrypted hellos (ECH) the name is the outer one, which is
meant to be public.

A hello of tiny records must cost no more than its bytes are worth. So a record
is looked at once (a `NeedMoreData` is where the next look begins), a look can
be held to a number of records, and as soon as the length of the message is
known, `NeedMoreData` asks for all that is missing and the one header that must
precede it at least: a hello in records of one byte comes to a decision in some
fifty looks. (Nonsense between may so be found a little later than it could be.)
"""

import struct

from attrs import field, frozen

#: The largest ClientHello accepted, in bytes. The headers of its records count: they wait in the same buffer. In
#: records of one byte, which nobody writes who means well, it may therefore have 10.9 KB; in usual ones, 64 KB.
MAX_HELLO = 65536

# Fatal alerts, RFC 8446, 6: what OpenSSL clients print as "unrecognized name", and so on.
UNRECOGNIZED_NAME = b"\x15\x03\x01\x00\x02\x02\x70"
DECODE_ERROR = b"\x15\x03\x01\x00\x02\x02\x32"
HANDSHAKE_FAILURE = b"\x15\x03\x01\x00\x02\x02\x28"
INTERNAL_ERROR = b"\x15\x03\x01\x00\x02\x02\x50"

_HANDSHAKE = 22  # content type of a record, RFC 8446, 5.1
_CLIENT_HELLO = 1  # handshake type, RFC 8446, 4
_MAX_RECORD = 16384
_RECORD = struct.Struct("!BBxH")  # header of a record: content type, major version, minor version, length
_SERVER_NAME = 0  # extension type, RFC 6066, 3
_HOST_NAME = 0


class MalformedClientHello(Exception):
    """The connection speaks TLS, and wrongly; the text says what is wrong."""


@frozen
class ClientHello:
    """A complete ClientHello. `server_name` is lower case, and empty when the client names no server."""

    server_name: str


@frozen
class NeedMoreData:
    """Not decided yet: look again when `size` bytes have been received in total, at once if so many are there.

    No hello can be whole with fewer. The other fields are for the next look: where the records end that need no other
    one, and what they carried.
    """

    size: int
    start: int = field(default=0, eq=False, repr=False)
    message: bytes = field(default=b"", eq=False, repr=False)


#: Where the first look begins.
START = NeedMoreData(1)


@frozen
class PlainText:
    """The first byte is no TLS handshake; it may well be HTTP."""


def parse_client_hello(
    data: bytes, seen: NeedMoreData = START, most: int = MAX_HELLO
) -> ClientHello | NeedMoreData | PlainText:
    """Parse all bytes received so far, of which `most` records at most after those already `seen`.

    Raises `MalformedClientHello` when no further byte could make sense of them.
    """
    if not data:
        return START
    if data[0] != _HANDSHAKE:
        return PlainText()
    message, start = bytearray(seen.message), seen.start
    size = _message_size(message)
    for _ in range(most):
        end = _record_end(data, start)
        whole = len(message)
        message += data[start + 5 : end]
        if size is None:
            size = _message_size(message)
        if size is not None and len(message) >= size:
            return ClientHello(_server_name(_Reader(bytes(message[4:size]))))
        if end > len(data):
            return _more(_needed(len(data), start, end, len(message), size), start, message[:whole])
        start = end
    return NeedMoreData(start, start, bytes(message))


def _record_end(data: bytes, start: int) -> int:
    """Where the record that begins at `start` ends; as far as its header is there, it is checked."""
    header = data[start : start + 5]
    whole = len(header) == 5
    kind: int
    length: int
    kind, major, length = _RECORD.unpack(header if whole else header + b"\x16\x03\x01\x00\x01"[len(header) :])
    if kind != _HANDSHAKE:
        raise MalformedClientHello("a record that is no handshake in the middle of the ClientHello")
    if major != 3:
        raise MalformedClientHello(f"no TLS version starts with {major}")
    if not whole:
        return start + 5
    if not 0 < length <= _MAX_RECORD:
        raise MalformedClientHello(f"a record of {length} bytes")
    return start + 5 + length


def _message_size(message: bytearray) -> int | None:
    """Size of the handshake message with its header of four bytes, None while that is unknown."""
    if message and message[0] != _CLIENT_HELLO:
        raise MalformedClientHello(f"handshake message {message[0]} in place of a ClientHello")
    if len(message) < 4:
        return None
    size = 4 + int.from_bytes(message[1:4], "big")
    if size > MAX_HELLO:
        raise MalformedClientHello(f"a ClientHello of {size} bytes")
    return size


def _needed(have: int, start: int, end: int, held: int, size: int | None) -> int:
    """How many bytes must be there before the message, of which `held` bytes are, or at least its size can be known.

    `start` and `end` are those of the last record, of which the header or the content is not all there.
    """
    if have < start + 5:
        return end if size is None else end + size - held
    if size is None:
        return min(end, have + 4 - held)
    missing = size - held
    return have + missing if missing <= end - have else have + missing + 5


def _more(size: int, start: int, message: bytearray) -> NeedMoreData:
    if size > MAX_HELLO:
        raise MalformedClientHello(f"a ClientHello of more than {MAX_HELLO} bytes")
    return NeedMoreData(size, start, bytes(message))


class _Reader:
    """Takes length-prefixed pieces off a message; a piece that is cut short is a `MalformedClientHello`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> bytes:
        piece = self.data[self.position : self.position + size]
        if len(piece) < size:
            raise MalformedClientHello("a length that points past the end")
        self.position += size
        return piece

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, prefix: int) -> bytes:
        """Take a piece whose length stands before it in `prefix` bytes."""
        return self.take(self.integer(prefix))

    def __bool__(self) -> bool:
        return self.position < len(self.data)


def _server_name(body: _Reader) -> str:
    body.take(2 + 32)  # legacy version, random
    body.vector(1)  # session id
    body.vector(2)  # cipher suites
    body.vector(1)  # compression methods
    if not body:
        return ""  # TLS 1.0 without extensions
    extensions = _Reader(body.vector(2))
    while extensions:
        kind, content = extensions.integer(2), extensions.vector(2)
        if kind == _SERVER_NAME:
            return _host_name(_Reader(_Reader(content).vector(2)))
    return ""


def _host_name(names: _Reader) -> str:
    while names:
        kind, name = names.integer(1), names.vector(2)
        if kind == _HOST_NAME:
            try:
                return name.decode("ascii").lower()
            except UnicodeDecodeError:
                raise MalformedClientHello("a server name that is not ASCII") from None
    return ""
