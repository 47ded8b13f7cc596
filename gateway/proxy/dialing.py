"""Connections to schedulers while they are made."""

import os
import select
import socket
from collections.abc import Sequence
from typing import Protocol

from gateway.proxy.detect import Arrival
from gateway.proxy.resolver import Target
from gateway.proxy.routes import Route


class Caller(Protocol):
    """For whom a connection is made."""

    def connected(self, dial: "Dial") -> None:
        """The scheduler has accepted."""

    def refused(self, dial: "Dial", reason: str) -> None:
        """It has not, at this address."""


class Dial:
    """The watcher of a connection to a scheduler that is being made for an arrival.

    `others` are the addresses left to try when this one does not accept.
    """

    __slots__ = ("arrival", "caller", "others", "route", "sock")

    def __init__(
        self, caller: Caller, arrival: Arrival, route: Route, sock: socket.socket, others: Sequence[Target] = ()
    ) -> None:
        self.caller = caller
        self.arrival = arrival
        self.route = route
        self.sock = sock
        self.others = others

    def ready(self, mask: int) -> None:
        """The connection stands, or there is none."""
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.caller.refused(self, os.strerror(error))
        elif mask & select.EPOLLOUT:
            self.caller.connected(self)

    def expire(self) -> None:
        """Time is up for this address."""
        self.caller.refused(self, "no answer")

    def abort(self) -> None:
        """The route has gone, the port closes, or something unforeseen happened: no address is tried any more."""
        self.others = ()
        self.caller.refused(self, "given up")
