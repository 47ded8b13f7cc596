"""Listening sockets that systemd hands over (`LISTEN_FDS`, sd_listen_fds(3)), and other inherited ones.

An administrator can name them (`systemd:NAME`), or leave the configuration as
it is: a socket at which systemd listens already, at the very address that an
option names, is taken instead of a new one. Then nothing is refused while the
gateway is restarted, and ports below 1024 need no rights. One that nobody
takes would leave its clients waiting for ever, and is an error.
"""

import os
import socket
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import field, frozen

from gateway.addresses import Address

_FIRST = 3  # sd_listen_fds(3)
_ANY = ("0.0.0.0", "::")  # noqa: S104


@frozen
class HandedOver:
    """What one process was handed. `names` are those of the sockets, in their order."""

    count: int = 0
    names: Sequence[str] = ()
    _taken: set[int] = field(factory=set, init=False)

    @classmethod
    def to_this_process(cls, environment: Mapping[str, str] | None = None) -> "HandedOver":
        """What systemd has handed to this very process; nothing if it was not started with sockets."""
        environment = os.environ if environment is None else environment
        if environment.get("LISTEN_PID") != str(os.getpid()):
            return cls()
        return cls(int(environment.get("LISTEN_FDS", "0")), environment.get("LISTEN_FDNAMES", "").split(":"))

    def called(self, name: str) -> list[socket.socket]:
        """The sockets of this name; all of them, if it is empty. Raises ValueError when there are none."""
        if not self.count:
            raise ValueError("systemd has handed no sockets to this process")
        wanted = [n for n in range(self.count) if not name or (n < len(self.names) and self.names[n] == name)]
        if not wanted:
            raise ValueError(f"systemd has handed over {self.count} sockets, none is called {name!r}")
        return [self._take(n) for n in wanted]

    def at(self, *wanted: Address | str) -> list[socket.socket]:
        """The sockets at any of these addresses, whose hosts are no names, or at these paths."""
        return [self._take(n) for n in range(self.count) if any(_is_at(_name(_FIRST + n), place) for place in wanted)]

    def descriptor(self, number: int) -> socket.socket:
        """The inherited socket of that number, whoever has handed it over. Raises ValueError and OSError."""
        if 0 <= number - _FIRST < self.count:
            self._taken.add(number - _FIRST)
        return _inherited(number)

    def left(self) -> list[str]:
        """Where those listen that nobody has taken."""
        return [_shown(_name(_FIRST + n)) for n in range(self.count) if n not in self._taken]

    def _take(self, number: int) -> socket.socket:
        self._taken.add(number)
        return _inherited(_FIRST + number)


def _inherited(descriptor: int) -> socket.socket:
    """The listening socket of that number; our own duplicate, so that closing it is ours alone.

    Raises ValueError when it does not listen, OSError when there is none.
    """
    listener = socket.fromfd(descriptor, -1, -1)
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise ValueError(f"file descriptor {descriptor} is no listening socket")
    return listener


def _name(descriptor: int) -> tuple[object, ...] | str:
    with socket.fromfd(descriptor, -1, -1) as listener:
        name: tuple[object, ...] | str = listener.getsockname()
        return name


def _is_at(name: tuple[object, ...] | str, place: Address | str) -> bool:
    if isinstance(place, str) or isinstance(name, str):
        return name == place
    host, port = str(name[0]), name[1]
    if port != place.port or not port:
        return False
    if place.host in ("", *_ANY):
        return host == place.host or (place.host != "0.0.0.0" and host in _ANY)  # noqa: S104
    return _ip(host) == _ip(place.host)


def _ip(host: str) -> IPv4Address | IPv6Address:
    return ip_address(host.partition("%")[0])


def _shown(name: tuple[object, ...] | str) -> str:
    return f"unix:{name}" if isinstance(name, str) else str(Address(str(name[0]), int(str(name[1]))))
