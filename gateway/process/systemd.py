"""What systemd wants to know (`Type=notify`): READY, STOPPING, and a line of status.

The protocol is one datagram of `NAME=value` lines to the socket that the
environment variable NOTIFY_SOCKET names; see sd_notify(3). Without that
variable nothing happens.
"""

import os
import socket

import structlog

_log = structlog.get_logger()


def notify(**fields: str) -> None:
    """Tell systemd, for example `notify(READY="1", STATUS="serving at :8000")`."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path  # @: Linux's abstract names
    message = "\n".join(f"{name}={value}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)  # a full queue is no reason to stand still
            channel.sendto(message.encode(), address)
    except OSError as error:
        _log.warning("cannot notify systemd", socket=path, error=str(error))
