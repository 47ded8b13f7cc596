"""A peer that speaks HTTP/2 frame by frame, as no library would; and the gateway with HTTPS for it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

import hpack
import trio

from tests.attacks.attacked import Attacked, open_attacked
from tests.support.proxy_peers import connect, gateways_tls

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32
PROTOCOL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, ENHANCE_YOUR_CALM = 1, 6, 7, 11


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def setting(identifier: int, value: int) -> bytes:
    return identifier.to_bytes(2, "big") + number(value)


def headers(method: str, path: str, *others: tuple[str, str]) -> bytes:
    """A request's headers; the table for compressing is not used, so any number of them is the same."""
    fields = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost"), *others]
    return bytes(hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields]))


class Secure(Protocol):
    """A gateway with HTTPS, or what is needed of it."""

    @property
    def port(self) -> int: ...

    @property
    def tls(self) -> ssl.SSLContext | None: ...


@asynccontextmanager
async def connected(
    gateway: Secure, *alpn: str, first: bytes = PREFACE + frame(SETTINGS, 0, 0), source: str = ""
) -> AsyncIterator["Peer"]:
    """One connection, on which `first` has been said."""
    assert gateway.tls is not None
    bare = await connect(("127.0.0.1", gateway.port), source=source)
    gateway.tls.set_alpn_protocols(list(alpn or ("h2",)))
    stream = trio.SSLStream(bare, gateway.tls, server_hostname="localhost", https_compatible=True)
    try:
        await stream.do_handshake()
        await stream.send_all(first)
        yield Peer(stream)
    finally:
        await trio.aclose_forcefully(stream)


class Peer:
    """One HTTP/2 connection, without a care for what is right."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.goodbye: int | None = None
        self.resets: dict[int, int] = {}
        self.ended = trio.Event()
        self._data = b""

    async def send(self, data: bytes) -> None:
        """Send, as far as the gateway takes it."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_all(data)

    async def next(self) -> tuple[int, int, int, bytes] | None:
        """What the gateway says: kind, flags, stream and payload of a frame; None at the end of the connection."""
        while len(self._data) < 9 or len(self._data) < 9 + int.from_bytes(self._data[:3], "big"):
            try:
                data = await self.stream.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.ended.set()
                return None
            self._data += data
        end = 9 + int.from_bytes(self._data[:3], "big")
        kind, flags, stream = self._data[3], self._data[4], int.from_bytes(self._data[5:9], "big")
        payload, self._data = self._data[9:end], self._data[end:]
        if kind == GOAWAY:
            self.goodbye = int.from_bytes(payload[4:8], "big")
        elif kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        return kind, flags, stream, payload

    async def read_to_end(self) -> None:
        """Read until the gateway closes."""
        while await self.next():
            pass


@asynccontextmanager
async def open_secure(folder: Path, *lines: str) -> AsyncIterator[Attacked]:
    """A gateway with HTTPS on its public port."""
    _, client = gateways_tls(folder)
    files = (f"c.Proxy.tls_cert = {str(folder / 'server.crt')!r}", f"c.Proxy.tls_key = {str(folder / 'server.key')!r}")
    async with open_attacked(folder, *files, *lines, tls=client) as gateway:
        yield gateway
