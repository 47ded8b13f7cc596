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
#: What a client says whose server dies at some moment: text (with the program and the server's name) and exit code.
_AUTH = """\
pbs_iff: cannot connect to host
auth: error returned: -1
auth: Unable to authenticate connection ({server}:15001)
"""
DEATHS = {
    "away": ("Connection refused\n{cannot} (errno=15010)", 162),
    "going": ("Communication failure.\n{cannot} (errno=15031)", 183),
    "unauthenticated": (_AUTH + "{cannot} (errno=-1)", 255),
    "unauthenticated, with 0": (_AUTH.rstrip(), 0),
    "end of file": ("{program}: End of File", 183),
    "end of message": ("{program}: Premature end of message", 183),
    "broken pipe": ("{program}: End of File\nqsub: SIGPIPE received, job submission interrupted.: Success", 1),
    "crash": ("", 139),
    "silence": ("", 0),
}
#: Who was seen to say that, but for the first three, which all say. Nobody has seen the others.
SEEN = {
    "qsub": ("end of file", "end of message", "broken pipe"),
    "qselect": ("end of message",),
    "qdel": ("end of message", "unauthenticated, with 0", "crash", "silence"),
}
COMMON = ("away", "going", "unauthenticated")
REFUSED_EXIT = {("qstat", "away"): 255}


class Away(Exception):
    """No server answers. The text is what the command says about it, `code` what it exits with."""

    def __init__(self, program: str, server: str, death: str = "away") -> None:
        text, code = DEATHS[death]
        self.code = REFUSED_EXIT.get((program, death), code)
        cannot = f"{program}: cannot connect to server {server}"
        if program == "qdel":
            text, cannot = text.partition(" (errno")[0], f"Couldn't connect to cluster: {server}"
        super().__init__(text.format(program=program, server=server, cannot=cannot))


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
        answer = call(HOME / "server.sock", {"program": program, **request})
    except OSError:
        raise Away(program, server_name()) from None
    if "death" in answer:
        raise Away(program, server_name(), answer["death"])
    return answer


def put(text: str) -> None:
    """Write to stdout, bytes intact."""
    sys.stdout.buffer.write(os.fsencode(text))


def complain(text: str) -> None:
    """Write a line to stderr, bytes intact; nothing for an empty text."""
    if not text:
        return
    sys.stdout.flush()
    sys.stderr.buffer.write(os.fsencode(text) + b"\n")
    sys.stderr.flush()
