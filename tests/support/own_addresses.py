"""Addresses of this machine that only this process uses, for servers that cannot be told to take any free port."""

import os
import socket


def own_loopback(number: int) -> str:
    """A loopback address of this process alone: all of 127.0.0.0/8 is this machine. `number` is from 0 to 2."""
    pid = os.getpid() & 0x3FFFFF
    return f"127.{64 * number + 1 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"


def free_port(host: str) -> int:
    """A port that nobody listens at. On an address of one's own nobody else will, either."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port
