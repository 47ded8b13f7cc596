"""As much of the messages between Dask's clients and schedulers as it takes to turn a client away (pure).

A message is a number of frames behind their lengths; a message without large
data is one frame in msgpack. A connection begins with a handshake of both
sides, then a client says `register-client` and waits for `stream-start`. If
that holds an `error`, the client raises it as an ImportError with this text
and does not try again: Dask says so that versions do not fit together.
"""

import struct
from collections.abc import Mapping

#: Bytes of a client's message. What it says here are its versions.
MAX_MESSAGE = 1 << 20

_LENGTH = struct.Struct("<Q")
LENGTH_SIZE = _LENGTH.size

Value = str | int | None | Mapping[str, "Value"] | list["Value"]


def handshake() -> bytes:
    """Render what a scheduler says first: no compression, and an old pickle, since nothing of either will be used."""
    return message({"compression": None, "python": [3, 11, 0], "pickle-protocol": 4})


def turned_away(reason: str) -> bytes:
    """Render the answer to `register-client` that makes the client raise this reason, of less than 64 KiB."""
    return message([{"op": "stream-start", "error": reason}])


def registers(payload: bytes) -> bool:
    """Return whether a message (all that follows its length) asks for a client's registration."""
    return b"register-client" in payload


def length(head: bytes) -> int:
    """Parse a message's first `LENGTH_SIZE` bytes: how many follow. Raises `ValueError` above `MAX_MESSAGE`."""
    (size,) = _LENGTH.unpack(head)
    if size > MAX_MESSAGE:
        raise ValueError(f"a message of {size} bytes")
    return int(size)


def message(value: Value) -> bytes:
    """Render a message of one frame; `msgpack` says of what."""
    frame = msgpack(value)
    prelude = _LENGTH.pack(1) + _LENGTH.pack(len(frame))
    return _LENGTH.pack(len(prelude) + len(frame)) + prelude + frame


def msgpack(value: Value) -> bytes:
    """Encode texts below 64 KiB, numbers from 0 to 127, None, and lists and mappings of less than 16 of these.

    What is said here is ours: no other value is expected, or refused.
    """
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        return bytes((value,))
    if isinstance(value, str):
        data = value.encode(errors="replace")
        return b"\xda" + struct.pack(">H", len(data)) + data
    if isinstance(value, list):
        return bytes((0x90 | len(value),)) + b"".join(map(msgpack, value))
    pairs = [msgpack(name) + msgpack(item) for name, item in value.items()]
    return bytes((0x80 | len(pairs),)) + b"".join(pairs)
