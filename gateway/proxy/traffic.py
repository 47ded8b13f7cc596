"""How much each cluster's connections carry; the kernel counts, we ask.

Every TCP socket counts its bytes, `getsockopt(TCP_INFO)` tells them (struct
tcp_info of linux/tcp.h; the fields used exist since Linux 4.1). So nothing is
counted when a message passes: a relay's numbers are read when it ends, and
those of open ones when somebody wants to know.
"""

import socket
import struct
import time

from attrs import define, evolve

_TCP_INFO = getattr(socket, "TCP_INFO", 11)
#: last_data_sent, last_data_recv (milliseconds ago), bytes_acked, bytes_received
_FIELDS = struct.Struct("=44xI4xI64xQQ")


@define
class Traffic:
    """What a cluster's relays have carried. Bytes, counted from the first to the last handshake."""

    connections: int = 0
    total_connections: int = 0
    bytes_to_scheduler: int = 0
    bytes_to_clients: int = 0
    #: When the last byte passed, in either direction of any connection, on the clock `time.monotonic`; None before.
    last_active: float | None = None

    @property
    def idle_seconds(self) -> float | None:
        """Seconds since the last byte passed, of connections that have ended as well; None when none ever has."""
        return None if self.last_active is None else max(0.0, time.monotonic() - self.last_active)

    def count(self, upstream: socket.socket, *others: "Traffic") -> None:
        """Add what the connection to a scheduler has carried so far, here and to the others.

        Raises OSError for a socket that is closed.
        """
        info = upstream.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _FIELDS.size)
        if len(info) == _FIELDS.size:
            sent, received, acked, got = _FIELDS.unpack(info)
            active = time.monotonic() - min(sent, received) / 1000
            for traffic in (self, *others):
                traffic.bytes_to_scheduler += acked
                traffic.bytes_to_clients += got
                traffic.last_active = active if traffic.last_active is None else max(active, traffic.last_active)

    def with_open(self, upstreams: list[socket.socket]) -> "Traffic":
        """Return this with what these open connections have carried so far. Raises OSError as `count` does."""
        summed = evolve(self, connections=len(upstreams))
        for upstream in upstreams:
            summed.count(upstream)
        return summed
