"""To which addresses the gateway connects for others; pure.

A cluster's addresses come from its scheduler, that is from a user, and the
gateway connects to them from its own place in the network: past the firewall,
on the loopback interface, from an address that others trust. So an address is
looked at when it is connected to, after a name was resolved.

- Never to our own listeners: one request would become as many as there are file descriptors.
- Where jobs run on other hosts, not to this one: not to loopback, link-local or its own addresses.
- Where the administrator has listed networks (c.Proxy.scheduler_networks), to those alone. A wide network (10.0.0.0/8)
  does not open what is special within it; whoever wants that names it: 127.0.0.0/8, or this host as 10.0.0.5/32.
"""

from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_LINK_LOCAL = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"))
_OPTION = "c.Proxy.scheduler_networks"


class Destinations:
    """Decides to which addresses the gateway connects.

    `is_here(address)` says whether an address is one of this host's; it may raise OSError.
    `listeners` are our own (an address in digits and a port), `jobs_here()` is True while jobs may run on this host,
    and `networks` are those of `c.Proxy.scheduler_networks`.
    """

    def __init__(
        self,
        is_here: Callable[[str], bool],
        *,
        listeners: Iterable[tuple[str, int]] = (),
        networks: Iterable[str] = (),
        jobs_here: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_here = is_here
        self._listeners = [(_plain(ip_address(host)), port) for host, port in listeners]
        self._networks = [ip_network(network) for network in networks]
        self._jobs_here = jobs_here

    def refusal(self, host: str, port: int) -> str:
        """Return why nothing is connected to this address and port, or an empty text when it may be.

        Raises `ValueError` for a host that is no address in digits.
        """
        address = _reached_by(_plain(ip_address(host)))
        if address.is_multicast or address == IPv4Address("255.255.255.255"):
            return f"{host} is not the address of a host"
        try:
            here = address.is_loopback or self._is_here(str(address))
        except OSError as error:
            return f"{host} may be this host's own address, which cannot be found out: {error}"
        if here and self._is_listener(address, port):
            return f"{host}:{port} is where this gateway itself listens"
        if self._networks:
            return "" if self._is_listed(address, here) else f"{host} is in none of the networks of {_OPTION}"
        if not (here or address.is_link_local) or self._jobs_here():
            return ""
        kind = _kind(address, here)
        return f"{host} is {kind}, and jobs run elsewhere; if schedulers may be there, list it in {_OPTION}"

    def _is_listener(self, address: _Address, port: int) -> bool:
        return any(port == other and (bound.is_unspecified or bound == address) for bound, other in self._listeners)

    def _is_listed(self, address: _Address, here: bool) -> bool:
        containing = [network for network in self._networks if address in network]
        if self._jobs_here():
            return bool(containing)
        for special in (*_LOOPBACK, *_LINK_LOCAL):
            if address in special:
                return any(network.prefixlen >= special.prefixlen for network in containing)
        return any(not here or network.num_addresses == 1 for network in containing)


def _kind(address: _Address, here: bool) -> str:
    if address.is_loopback:
        return "a loopback address"
    return "this host's own address" if here else "a link-local one"


def _plain(address: _Address) -> _Address:
    """The address without an interface; what is written as IPv6 and means IPv4 is that."""
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


def _reached_by(address: _Address) -> _Address:
    """Who connects to no address in particular gets to loopback."""
    if address.is_unspecified:
        return IPv4Address("127.0.0.1") if address.version == 4 else IPv6Address("::1")
    return address
