"""What the commands of administrators have in common: which gateway they ask, and for whom they print.

What is printed is a table for people at a terminal, and JSON for programs.
"""

import os
import sys
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import click

from gateway.config.chosen import Chosen
from gateway.web.admin.client import AdminClient
from gateway.web.admin.place import USUAL, socket_path


def admin_client(chosen: Chosen, file: Path | None, path: str | None) -> AdminClient:
    """The client of the socket at `path`, or where the configuration says. Raises click.UsageError for none."""
    if path:
        return AdminClient(path)
    configured = chosen.and_then(file, None).load().gateway.admin_socket
    if configured is None:
        raise click.UsageError("This gateway has no administrator's socket: c.DaskGateway.admin_socket is None")
    return AdminClient(socket_path(configured, os.environ.get("RUNTIME_DIRECTORY", "")) or USUAL)


#: For the commands that show something.
as_json = click.option("--json/--table", "as_json", default=None, help="JSON, or a table (the default at a terminal).")


def at_terminal() -> bool:
    """Whether people read what is printed."""
    return sys.stdout.isatty()


def wants_json(chosen: bool | None) -> bool:
    """Whether to print JSON: if asked for, or for programs."""
    return not at_terminal() if chosen is None else chosen


def asks_gateway(function: Callable[..., None]) -> Callable[..., None]:
    """For a command, or a group of them: their object is a function that returns the client of the gateway to ask."""

    @click.option("-f", "--config", "file", type=click.Path(path_type=Path), help="The gateway's configuration file.")
    @click.option("--socket", "path", help="The administrator's socket, in place of what the configuration says.")
    @click.pass_context
    @wraps(function)
    def remember(context: click.Context, /, **arguments: Any) -> None:
        file, path = arguments.pop("file"), arguments.pop("path")
        context.obj = partial(admin_client, context.obj, file, path)  # not now: --help needs no configuration
        function(**arguments)

    return remember
