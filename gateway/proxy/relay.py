"""Bytes both ways between a client and a scheduler, until both have said all."""

import trio

_CHUNK = 65536


async def relay(client: trio.SocketStream, upstream: trio.SocketStream) -> None:
    """Carry bytes until both directions have ended, each by itself (half-close).

    A reset on one side resets the other. Reading waits for writing, so that a slow reader holds back its peer.
    """
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_carry, client, upstream)
            nursery.start_soon(_carry, upstream, client)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        reset(client)
        reset(upstream)


async def _carry(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    while data := await source.receive_some(_CHUNK):
        await sink.send_all(data)
    await sink.send_eof()


def reset(stream: trio.SocketStream) -> None:
    """Let the coming close of this connection be a reset, so that the peer learns that something is missing."""
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
