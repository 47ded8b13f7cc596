"""The PROXY protocol, versions 1 and 2: who the client is, said by a fronting proxy.

https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt. A header stands
before the first byte of the client: a line of text (version 1), or a binary
block (version 2). The parser follows the contract of client_hello.py: all bytes
received so far in, `ProxyHeader` or `NeedMoreData` out, `MalformedProxyHeader` raised.
"""

import ipaddress

from attrs import frozen

from gateway.proxy.client_hello import NeedMoreData

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_MAX_LINE = 107  # with its line end, section 2.1
_MAX_BINARY = 4096  # room for the certificate's names that proxies may append, section 2.2.5
_FAMILIES = {0x11: 4, 0x21: 16}  # TCP over IPv4, over IPv6 → bytes of an address


class MalformedProxyHeader(Exception):
    """A trusted proxy did not introduce its client as it should."""


@frozen
class ProxyHeader:
    """`size` bytes introduce `client`, an IP address; it is empty when the proxy speaks for itself."""

    size: int
    client: str


def parse_proxy_header(data: bytes) -> ProxyHeader | NeedMoreData:
    """Parse all bytes received so far; raises `MalformedProxyHeader` when no further byte could make sense of them."""
    if not data:
        return NeedMoreData(1)
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _binary(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _line(data)
    raise MalformedProxyHeader("no PROXY header before the first bytes")


def _line(data: bytes) -> ProxyHeader | NeedMoreData:
    end = data.find(b"\r\n", 0, _MAX_LINE)
    if end < 0:
        if len(data) >= _MAX_LINE:
            raise MalformedProxyHeader("a PROXY line that does not end")
        return NeedMoreData(len(data) + 1)
    words = data[:end].decode("latin1").split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(end + 2, "")
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise MalformedProxyHeader("a PROXY line that names no TCP connection")
    try:
        return ProxyHeader(end + 2, str(ipaddress.ip_address(words[2])))
    except ValueError:
        raise MalformedProxyHeader("a PROXY line without an address") from None


def _binary(data: bytes) -> ProxyHeader | NeedMoreData:
    if len(data) < 16:
        return NeedMoreData(16)
    version, family = data[12], data[13]
    size = 16 + int.from_bytes(data[14:16], "big")
    if version not in (0x20, 0x21):
        raise MalformedProxyHeader(f"PROXY version and command {version:#x}")
    if size > _MAX_BINARY:
        raise MalformedProxyHeader(f"a PROXY header of {size} bytes")
    if len(data) < size:
        return NeedMoreData(size)
    if version == 0x20 or family not in _FAMILIES:  # LOCAL, or an address that is none of TCP
        return ProxyHeader(size, "")
    length = _FAMILIES[family]
    if size < 16 + 2 * length + 4:
        raise MalformedProxyHeader("a PROXY header too short for its addresses")
    return ProxyHeader(size, str(ipaddress.ip_address(data[16 : 16 + length])))
