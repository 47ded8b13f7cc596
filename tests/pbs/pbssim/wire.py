"""One request a connection: a JSON line there, a JSON line back.

A client finds its server's directory by the place of its own file. JSON
escapes what is not UTF-8 (as lone surrogates), so any bytes travel.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent.parent.parent  # <dir>/lib/pbssim/wire.py → <dir>
REFUSED_EXIT = {"qstat": 255}


class Away(Exception):
    """No server answers. `code` is what the command exits with."""

    def __init__(self, program: str, server: str) -> None:
        self.code = REFUSED_EXIT.get(program, 162)
        tail = f"{program}: cannot connect to server {server} (errno=15010)"
        super().__init__(f"Couldn't connect to cluster: {server}" if program == "qdel" else tail)


def server_name() -> str:
    """The server's name, as pbs.conf would tell it."""
    return (HOME / "server_name").read_text().strip()


def call(path: str | Path, request: dict[str, Any]) -> dict[str, Any]:
    """One request, one answer. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            answer: dict[str, Any] = json.loads(stream.readline())
            return answer


def ask(program: str, request: dict[str, Any]) -> dict[str, Any]:
    """A request to the server. Raises Away."""
    try:
        return call(HOME / "server.sock", {"program": program, **request})
    except OSError:
        raise Away(program, server_name()) from None


def put(text: str) -> None:
    """Write to stdout, bytes intact."""
    sys.stdout.buffer.write(os.fsencode(text))


def complain(text: str) -> None:
    """Write a line to stderr, bytes intact."""
    sys.stdout.flush()
    sys.stderr.buffer.write(os.fsencode(text) + b"\n")
    sys.stderr.flush()
