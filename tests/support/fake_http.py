"""Servers in memory, for what asks others over HTTP (gateway/auth/http_json.py)."""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl

import attrs
import h11
import httpcore
import trio


@attrs.frozen
class Asked:
    """A request as a server sees it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form that was sent."""
        return dict(parse_qsl(self.body.decode()))


class FakeServer(httpcore.AsyncNetworkBackend):
    """Answers what it is asked with `answer(asked)`: a pair of a status and of what becomes JSON, or bytes as they are.

    None: nothing, ever. An exception is raised where the connection is used; set `refused` to have it raised when a
    connection is made.
    """

    def __init__(self, answer: Callable[[Asked], Any]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections: list[tuple[str, int]] = []
        self.refused: Exception | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        await trio.lowlevel.checkpoint()
        self.connections.append((host, port))
        if self.refused:
            raise self.refused
        return _Stream(self)


class _Stream(httpcore.AsyncNetworkStream):
    """A connection, with a server at its other end."""

    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._protocol = h11.Connection(h11.SERVER)
        self._request: h11.Request
        self._body = b""
        self._answer: Any = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await trio.lowlevel.checkpoint()
        if not buffer:  # which would mean that the client has hung up
            return
        self._protocol.receive_data(buffer)
        while (event := self._protocol.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self._request, self._body = event, b""
            elif isinstance(event, h11.Data):
                self._body += event.data
            elif isinstance(event, h11.EndOfMessage):
                headers = {name.decode().lower(): value.decode() for name, value in self._request.headers}
                asked = Asked(self._request.method.decode(), self._request.target.decode(), headers, self._body)
                self._server.asked.append(asked)
                self._answer = self._server.answer(asked)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        answer, self._answer = self._answer, b""
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, bytes):
            return answer
        status, value = answer
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        head = h11.Response(status_code=status, headers=[("Content-Length", str(len(body)))])
        said = [self._protocol.send(event) or b"" for event in (head, h11.Data(data=body), h11.EndOfMessage())]
        if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
            self._protocol.start_next_cycle()
        return b"".join(said)

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        await trio.lowlevel.checkpoint()
        return self

    def get_extra_info(self, info: str) -> Any:
        return False if info == "is_readable" else None
