"""Whether an address is one of this host's, as the kernel sees it: rtnetlink(7), `ip route get`.

The kernel is asked anew each time, for addresses come and go, and it knows
whole networks that are local without being on any interface.
"""

import errno
import ipaddress
import os
import socket
import struct

_RTM_GETROUTE, _NLM_F_REQUEST, _NLMSG_ERROR = 26, 1, 2
_RTA_DST = 1
_RTN_LOCAL = 2
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, bits of the destination, ..., the type of route before the last
_ATTRIBUTE = struct.Struct("=HH")  # length, type
#: Errors that say "there is no way to that address".
_NO_ROUTE = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH))


def is_this_host(address: str) -> bool:
    """Return whether this host reaches itself under an address.

    Raises OSError when the kernel cannot be asked, and `ValueError` for what is no address in digits.
    """
    parsed = ipaddress.ip_address(address)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    destination = parsed.packed
    body = _ROUTE.pack(family, 8 * len(destination), 0, 0, 0, 0, 0, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(destination), _RTA_DST) + destination
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as netlink:
        netlink.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 1, 0) + body)
        answer = netlink.recv(65536)  # the kernel has answered before `send` returns
    if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        code = -int.from_bytes(answer[_HEADER.size : _HEADER.size + 4], "little", signed=True)
        if code in _NO_ROUTE:
            return False
        raise OSError(code, os.strerror(code))
    return bool(_ROUTE.unpack_from(answer, _HEADER.size)[7] == _RTN_LOCAL)
