"""Sockets that listen, from the way an administrator writes them.

| written            | meaning                                                                       |
|--------------------|-------------------------------------------------------------------------------|
| `host:port`        | every address of that host; an IPv6 address stands in brackets                |
| `:port`            | all addresses of this machine, IPv4 and IPv6                                   |
| `[::]:port`        | the same (IPv4 clients are let in on the IPv6 socket)                          |
| `unix:/a/path`     | a Unix socket, for a fronting server; a stale one left by a crash is replaced  |
| `fd://N`           | the listening socket inherited as file descriptor N                            |
| `systemd`          | the sockets that systemd hands over (`LISTEN_FDS`); `systemd:NAME` those named |

Listening sockets belong to the caller, who closes them (they are context
managers). Options that every accepted connection should have are set on the
listener: Linux lets them be inherited, at no cost per connection.
"""

import contextlib
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing

import trio
from attrs import frozen

from gateway.addresses import Address, parse_address
from gateway.errors import StartError

_BACKLOG = 4096  # the kernel lowers it to net.core.somaxconn
_SYSTEMD_FIRST = 3  # sd_listen_fds(3)


async def open_listeners(address: str) -> list[socket.socket]:
    """Listen at `address`, written as above; port 0 takes a free one. Raises `StartError` with the reason."""
    try:
        if address.startswith("fd://"):
            return [_inherited(int(address.removeprefix("fd://")))]
        if address == "systemd" or address.startswith("systemd:"):
            return _from_systemd(address.partition(":")[2])
        if address.startswith("unix:"):
            return [listen_unix(address.removeprefix("unix:"))]
        return await _tcp(address)
    except (OSError, ValueError) as error:
        raise StartError(f"cannot listen at {address!r}: {error}") from error


async def _tcp(address: str) -> list[socket.socket]:
    host, port = parse_address(address)
    if host in ("", "::"):
        return [_any_address(port)]
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listeners: list[socket.socket] = []
    try:
        for family, _, _, _, target in dict.fromkeys(found):
            listeners.append(_listen(family, (target[0], port, *target[2:])))
            port = port or listeners[0].getsockname()[1]  # the same free port for every address of the host
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _any_address(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return _listen(socket.AF_INET6, ("::", port), dual=True)
    return _listen(socket.AF_INET, ("0.0.0.0", port))  # noqa: S104 (that is what the administrator asked for)


def _listen(family: int, target: tuple[object, ...], *, dual: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        listener.bind(target)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def listen_unix(path: str, *, mode: int = 0o666, gid: int = -1) -> socket.socket:
    """Listen on a Unix socket in the place of one that nobody listens on any more. Raises OSError or ValueError.

    As a rule anyone who may enter the directory may connect: that is where access is decided. With another `mode`, and
    a group of its own (`gid`), the socket itself decides.
    """
    if os.path.lexists(path):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ValueError("there is a file of that name that is no socket")
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
            probe.connect(path)
            raise ValueError("another server listens there")
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # which the file has from its first moment
        listener.bind(path)
        if gid != -1:
            os.chown(path, -1, gid)
        os.chmod(path, mode)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _inherited(descriptor: int) -> socket.socket:
    """The listening socket of that number; our own duplicate, so that closing it is ours alone."""
    listener = socket.fromfd(descriptor, -1, -1)
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listener.close()
        raise ValueError(f"file descriptor {descriptor} is no listening socket")
    return listener


def _from_systemd(name: str) -> list[socket.socket]:
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        raise ValueError("systemd has handed no sockets to this process")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names: Sequence[str] = os.environ.get("LISTEN_FDNAMES", "").split(":")
    wanted = [n for n in range(count) if not name or (n < len(names) and names[n] == name)]
    if not wanted:
        raise ValueError(f"systemd has handed over {count} sockets, none is called {name!r}")
    return [_inherited(_SYSTEMD_FIRST + n) for n in wanted]


@frozen(kw_only=True)
class Ports:
    """The sockets that listen. Without a separate port for schedulers, `schedulers` is empty: `public` carries both."""

    public: Sequence[socket.socket]
    schedulers: Sequence[socket.socket]
    private: Sequence[socket.socket]

    @property
    def name(self) -> str:
        """The public port as people write it, with its number where port 0 was asked for."""
        return _name(self.public[0])

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers of the public port; none of a Unix socket."""
        return frozenset(each.getsockname()[1] for each in self.public if each.family != socket.AF_UNIX)

    @property
    def scheduler_name(self) -> str:
        """The port of scheduler traffic in the same way, empty when it is the public one."""
        return _name(self.schedulers[0]) if self.schedulers else ""


async def open_ports(stack: AsyncExitStack, *, public: str, schedulers: str, private: str) -> Ports:
    """Listen at these addresses, of which the latter two may be empty; `stack` closes the sockets.

    Raises what `open_listeners` raises.
    """

    async def listen(address: str) -> Sequence[socket.socket]:
        listeners = await open_listeners(address) if address else []
        for listener in listeners:
            stack.enter_context(closing(listener))
        return listeners

    return Ports(
        public=await listen(public),
        schedulers=await listen(schedulers),
        private=await listen(private),
    )


def _name(listener: socket.socket) -> str:
    name = listener.getsockname()
    return str(Address(*name[:2])) if isinstance(name, tuple) else f"unix:{name}"
