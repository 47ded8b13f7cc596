"""Every connection that the gateway makes to an address which a cluster has named.

A name is resolved (resolver.py), each of its addresses is checked
(destinations.py), and then that very address is connected to: nothing is
resolved a second time.
"""

import ipaddress
import socket
from collections.abc import Sequence
from functools import lru_cache

import trio

from gateway.addresses import Address
from gateway.proxy.destinations import Destinations
from gateway.proxy.resolver import Resolver, Target


class RefusedDestination(OSError):
    """The gateway does not connect to that address; the text says why."""


class Dialer:
    """Without `destinations`, it connects to whatever it is told: for routes that an administrator has set."""

    def __init__(self, destinations: Destinations | None = None) -> None:
        self._destinations = destinations
        self._resolver = Resolver()

    def refusal(self, host: str, port: int) -> str:
        """Return why this address is not connected to; empty when it may be, or is a name and has to be looked up."""
        if self._destinations is None or numeric_family(host) is None:
            return ""
        return self._destinations.refusal(host, port)

    async def look_up(self, route: str, address: Address) -> Sequence[Target]:
        """Return all that an address may stand for, unchecked. Raises `LookUpError`, an OSError.

        `route` tells whose look-up it is (resolver.py). A deadline is the caller's to set.
        """
        host, port = address
        if (family := numeric_family(host)) is not None:
            return [(family, address)]
        found = await self._resolver.look_up(route, host)
        return [(family, (target[0], port, *target[2:])) for family, target in found]

    def check(self, target: Target) -> None:
        """Raise `RefusedDestination` for an address that is not connected to. To be called right before that."""
        host, port, *_ = target[1]
        if reason := self.refusal(host, port):
            raise RefusedDestination(reason)

    async def connect(self, route: str, address: Address, seconds: float) -> trio.SocketStream:
        """Connect within `seconds`, to the first of its addresses that accepts.

        Raises OSError with the last reason: `RefusedDestination`, `LookUpError`, TimeoutError, or the kernel's.
        """
        end = trio.current_time() + seconds
        with trio.move_on_at(end):
            failure: OSError = TimeoutError(f"{address[0]} has no address")
            targets = await self.look_up(route, address)
            for tried, (family, target) in enumerate(targets):
                # One that does not answer leaves time for the others.
                now = trio.current_time()
                try:
                    self.check((family, target))
                    with trio.fail_at(now + (end - now) / (len(targets) - tried)):
                        return await _connect(family, target)
                except trio.TooSlowError:
                    failure = TimeoutError(f"no answer within {seconds:g} s")
                except OSError as error:
                    failure = error
            raise failure
        raise TimeoutError(f"no answer within {seconds:g} s")


async def _connect(family: int, target: Address) -> trio.SocketStream:
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        await sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)


@lru_cache(maxsize=4096)
def numeric_family(host: str) -> int | None:
    """Return the address family of an address written in digits, None for a name that has to be looked up."""
    try:
        return socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return None
