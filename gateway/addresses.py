"""Addresses to listen at and to connect to, as they are written.

`host:port`, `:port` for all interfaces and `[v6]:port` are addresses in the
narrow sense. A listener may also be a Unix socket (`unix:/path`), a file
descriptor (`fd://3`) or what systemd hands over (`systemd`, `systemd:NAME`).

Schedulers say where they are as `tls://host:port` and `http://host:port`.
"""

import re
from ipaddress import ip_address
from typing import NamedTuple

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")
_OTHER = re.compile(r"unix:/[^\0]{1,106}|fd://[0-9]{1,9}|systemd(:[^\s:]+)?")  # unix(7): 108 bytes, one is a NUL
#: RFC 1123 2.1, and underscores, which some sites have.
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_URL = re.compile(
    r"(?P<scheme>[a-z]{1,10})://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)
#: Characters: a scheme, the longest name of a host, a port.
_LONGEST_URL = 300


#: Hosts that stand for all interfaces.
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104


class Address(NamedTuple):
    """A host (a name, or an address without brackets; empty: all interfaces) and a TCP port (0: any)."""

    host: str
    port: int

    @property
    def is_everywhere(self) -> bool:
        """True for all interfaces of a machine."""
        return self.host in EVERYWHERE

    def reached_at(self, host: str) -> "Address":
        """Return where to connect to who listens there: at `host`, if that is all interfaces."""
        return Address(host, self.port) if self.is_everywhere else self

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """The address that a text means. Raises ValueError with what it must be."""
    match = _ADDRESS.fullmatch(text)
    if match is None or (port := int(match["port"])) > 65535:
        raise ValueError("must be HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT, with a port up to 65535")
    return Address(match["v6"] or match["host"], port)


def parse_url(text: str, scheme: str = "") -> Address:
    """The address in `scheme://host:port` with nothing else; of any scheme, if none is named.

    Raises ValueError with the text and what it must be.
    """
    match = _URL.fullmatch(text[: _LONGEST_URL + 1])
    port = int(match["port"]) if match else 0
    host = (match["v6"] or match["host"]).lower() if match else ""
    if match is None or match["scheme"] != (scheme or match["scheme"]) or not 0 < port < 65536 or not _is_host(host):
        raise ValueError(f"{text[:_LONGEST_URL]!r} is not an address of the form {scheme or 'scheme'}://host:port")
    return Address(host, port)


def _is_host(host: str) -> bool:
    """An IP address or a DNS name. Others are no mere failures: looking up `a..b` raises an UnicodeError."""
    if len(host) < 254 and _DNS_NAME.fullmatch(host):  # as IPv4 addresses are, too
        return True
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def is_loopback(text: str) -> bool:
    """Whether only processes of this machine can reach what listens at an address, as far as the text tells.

    A Unix socket is for a server in front, which may serve anybody, and what another program hands over may be any.
    """
    try:
        host = parse_address(text).host
    except ValueError:
        return False
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def check_listener(text: str) -> None:
    """Raises ValueError for what no listener can be made of."""
    if not _OTHER.fullmatch(text):
        try:
            parse_address(text)
        except ValueError as error:
            raise ValueError(f"{error}; or unix:/PATH, fd://NUMBER, systemd or systemd:NAME") from None
