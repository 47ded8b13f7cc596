"""Who holds the lock of a database, said to whoever else wants it."""

import os
import socket

from gateway.user_text import one_line

#: What holds a lock for as long as it runs; commands hold it for moments.
GATEWAY = "the gateway"


def described(holder: str) -> str:
    """What a holder leaves for others to read; PostgreSQL keeps 63 bytes of it."""
    return f"{holder}, process {os.getpid()} on {socket.gethostname().partition('.')[0]}"


def in_use(database: str, description: str) -> str:
    """The sentence for others; the description is what they have found."""
    who = one_line(description) or "it does not say which"
    return f"Another process uses the database {database} ({who}): stop it first, or wait until it has ended."
