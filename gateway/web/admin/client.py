"""The other end of the administrator's socket, for commands: one request, one answer, every failure as a sentence."""

import http.client
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from gateway.errors import GatewayError
from gateway.user_text import one_line

#: Seconds that the gateway has for an answer.
DEADLINE = 60.0
#: Seconds before what was cut off is followed again.
PAUSE = 1.0


class AdminError(GatewayError):
    """The gateway cannot be asked, or refuses."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, deadline: float) -> None:
        super().__init__("localhost", timeout=deadline)
        self._path = path

    def connect(self) -> None:
        """See http.client."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class AdminClient:
    """Asks the gateway whose administrator's socket is at `path`."""

    def __init__(self, path: str, *, deadline: float = DEADLINE) -> None:
        self.path = path
        self._deadline = deadline

    def ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """What the gateway answers, None for nothing. Raises `AdminError`."""
        with self._answer(method, path, body) as answer:
            return self._read(answer.status, answer.read())

    def follow(self, path: str) -> Iterator[tuple[str, Any]]:
        """What is sent as it happens, each with its kind ("message", or one of its own), as JSON. Raises `AdminError`.

        It begins again where it was cut off, and ends with what it tells of.
        """
        last, ended, again = "", False, False
        while not ended:
            if again:
                time.sleep(PAUSE)  # a gateway that stops ends each answer as soon as it has begun
            again = True
            headers = {"Last-Event-ID": last} if last else {}
            with self._answer("GET", path, headers=headers) as answer:
                if answer.status != 200:
                    self._read(answer.status, answer.read())
                    return
                for id, kind, data in events_in(answer):
                    last, ended = id or last, kind == "end"
                    if kind == "error":
                        raise AdminError(one_line(str(json.loads(data).get("error"))))
                    if not ended:
                        yield kind, json.loads(data)

    @contextmanager
    def _answer(
        self, method: str, path: str, body: Mapping[str, object] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        connection = _Connection(self.path, self._deadline)
        try:
            declared = {} if body is None else {"Content-Type": "application/json"}
            sent = None if body is None else json.dumps(body)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read all
                connection.request(method, path, sent, {**declared, **(headers or {})})
            yield connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise AdminError(
                f"No gateway listens at {self.path}. Does it run, and has it an administrator's socket there?"
                " c.DaskGateway.admin_socket says where; -f FILE reads it, --socket PATH names it"
            ) from error
        except PermissionError as error:
            raise AdminError(
                f"You may not use {self.path}: root may, the gateway's account, and the members of the group in"
                " c.DaskGateway.admin_group. Try it with sudo"
            ) from error
        except TimeoutError as error:
            raise AdminError(
                f"The gateway at {self.path} has not answered within {self._deadline:g} seconds"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise AdminError(f"The gateway at {self.path} cannot be asked: {error or type(error).__name__}") from error
        finally:
            connection.close()

    def _read(self, status: int, said: bytes) -> Any:
        try:
            content = json.loads(said) if said else None
        except ValueError as error:
            raise AdminError(
                f"What listens at {self.path} is no gateway: it answers in a language of its own"
            ) from error
        if status >= 400:
            sentence = content.get("error") if isinstance(content, dict) else None
            raise AdminError(one_line(str(sentence or f"The gateway refuses, with status {status}")))
        return content


def events_in(lines: Iterable[bytes]) -> Iterator[tuple[str, str, str]]:
    """Server-sent events, each with its id, its kind and its data; what is not complete is none."""
    id, kind, data = "", "", ""
    for line in lines:
        field, _, value = line.decode("utf-8", "replace").rstrip("\n").partition(": ")
        if field == "id":
            id = value
        elif field == "event":
            kind = value
        elif field == "data":
            data = value
        elif not field and data:
            yield id, kind or "message", data
            id, kind, data = "", "", ""
