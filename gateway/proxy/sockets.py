"""What the kernel is asked to do for TCP connections: tcp(7)."""

import resource
import socket
from contextlib import suppress

from trio.socket import SocketType

#: Every kernel has it, and lets everybody use it (tcp_allowed_congestion_control).
_WITHIN_HOST = b"reno"


def expect_life(sock: socket.socket | SocketType, seconds: float) -> None:
    """Let the kernel end this TCP connection when its peer shows no life for about `seconds`. Raises OSError.

    An idle peer is asked after a third of the time; one that owes an acknowledgement, or takes nothing at all
    (a window of zero), has the whole. Set on a listener, accepted connections inherit it.
    """
    third = max(1, int(seconds / 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, third)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, third // 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def hurry_within_host(sock: socket.socket) -> None:
    """Let a connected socket whose peer is on this host send as fast as the peer takes it.

    There is no network to be fair to, and the usual algorithms cost a stream half of its speed, and twice the processor
    time: bbr sets a timer for each 64 KiB; cubic takes packets that overtook each other between cores for losses, and
    recovers by the clock. Reno recovers by round trips, which take a fraction of a millisecond here.
    """
    if sock.family == socket.AF_UNIX:
        return
    with suppress(OSError):  # it has been reset meanwhile, or this may not be set: then it stays as it is
        if sock.getsockname()[0] == sock.getpeername()[0]:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _WITHIN_HOST)


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one (getrlimit(2)), and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
