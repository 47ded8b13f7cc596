"""ClientHellos for tests: built to any shape, written by OpenSSL, or recorded."""

import contextlib
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "data" / "hellos"


def openssl_hello(name: str | None, *, maximum: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> bytes:
    """The first flight of this machine's OpenSSL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = maximum
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def recorded() -> Iterator[tuple[str, bytes]]:
    """(server name, bytes) of each recorded hello; the file's name ends in the server name."""
    for path in sorted(RECORDED.glob("*.bin")):
        yield path.stem.partition("@")[2], path.read_bytes()


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def server_name(*names: tuple[int, bytes]) -> bytes:
    """The server_name extension; its entries are (type, name)."""
    entries = b"".join(bytes([kind]) + len(name).to_bytes(2, "big") + name for kind, name in names)
    return extension(0, len(entries).to_bytes(2, "big") + entries)


def handshake(extensions: bytes | None, *, session: bytes = b"s" * 32, kind: int = 1) -> bytes:
    """A ClientHello message without records; None leaves the extensions out altogether."""
    body = b"\x03\x03" + b"r" * 32 + bytes([len(session)]) + session + b"\x00\x02\x13\x01" + b"\x01\x00"
    if extensions is not None:
        body += len(extensions).to_bytes(2, "big") + extensions
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def records(message: bytes, sizes: Iterable[int] = ()) -> bytes:
    """`message` in handshake records of the given sizes; what is left goes into further ones."""
    out, rest = b"", message
    for size in [*sizes, *[16384] * (len(message) // 16384 + 1)]:
        piece, rest = rest[:size], rest[size:]
        if piece:
            out += b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece
    return out


def split(hello: bytes, sizes: Iterable[int]) -> bytes:
    """The same hello in records of other sizes."""
    message = b""
    while hello:
        length = int.from_bytes(hello[3:5], "big")
        message, hello = message + hello[5 : 5 + length], hello[5 + length :]
    return records(message, sizes)


def big_hello(name: bytes, size: int) -> bytes:
    """A hello whose name stands behind `size` bytes of other extensions (post-quantum keys are of that kind)."""
    filler = b""
    while size > 0:
        filler += extension(0xFE00, b"x" * min(size, 60000))
        size -= 60000
    return records(handshake(filler + server_name((0, name))))
