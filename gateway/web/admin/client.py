"""The other end of the administrator's socket, for commands: one request, one answer, every failure as a sentence."""

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

from gateway.errors import GatewayError
from gateway.user_text import one_line

#: Seconds that the gateway has for an answer.
DEADLINE = 60.0


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
        connection = _Connection(self.path, self._deadline)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            said = answer.read()
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
        return self._read(answer.status, said)

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
