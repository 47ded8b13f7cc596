"""Where jobs report: the URL that they are told, and somebody who answers there while no gateway runs."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from gateway.addresses import parse_address
from gateway.config.load import Config
from gateway.errors import StartError
from gateway.proxy.listeners import open_listeners
from gateway.proxy.systemd_sockets import HandedOver

#: Seconds and bytes that a request may take.
_PATIENCE = 10.0
_MOST = 8192
_BODY = b'{"version": "doctor"}'
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"


def jobs_url(config: Config) -> str:
    """The URL that jobs are told; empty when it is only known to the gateway when it runs (server/own_names.py)."""
    if config.backend.api_url:
        return config.backend.api_url
    address, prefix = (
        (config.gateway.address, "") if config.gateway.address else (config.proxy.address, config.proxy.prefix)
    )
    try:
        place = parse_address(address).reached_at(config.backend.default_host or socket.gethostname())
    except ValueError:
        return ""
    return f"http://{place}{prefix}/api" if place.port else ""


@asynccontextmanager
async def somebody_answers(config: Config) -> AsyncIterator[None]:
    """A gateway that listens there, or else we, for as long as the context lasts."""
    listeners: list[trio.SocketListener] = []
    with suppress(StartError):  # a gateway is there, or what is in its place will be told by the job
        address = config.gateway.address or config.proxy.address
        if not address.startswith(("fd://", "systemd", "unix:")):
            opened = await open_listeners(address, HandedOver())
            listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in opened]
    async with trio.open_nursery() as nursery:
        if listeners:
            nursery.start_soon(trio.serve_listeners, _answer, listeners)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
            for listener in listeners:
                listener.socket.close()


async def _answer(stream: trio.SocketStream) -> None:
    said = b""
    with trio.move_on_after(_PATIENCE), suppress(trio.BrokenResourceError, OSError):
        async with stream:
            while b"\r\n\r\n" not in said and len(said) < _MOST:
                piece = await stream.receive_some(_MOST)
                if not piece:
                    return
                said += piece
            await stream.send_all(_ANSWER % (len(_BODY), _BODY))
