"""The clock, which tickets, tokens and credentials are compared with: whether anybody tells the kernel the time."""

import ctypes

from gateway.doctor.finding import Finding, ok, skipped, warning

#: Bytes: `struct timex` of adjtimex(2) has 208 on 64-bit Linux.
_SIZE = 1024
#: What adjtimex returns for a clock that nobody keeps.
_UNSYNCHRONISED = 5


def verdict(state: int) -> Finding:
    """What adjtimex has returned; less than 0 when the kernel does not say."""
    if state < 0:
        return skipped("clock", "the kernel does not say whether it is kept")
    if state == _UNSYNCHRONISED:
        evidence = "nobody keeps it, and logins fail when it is off by more than some minutes"
        return warning("clock", evidence, "timedatectl; systemctl enable --now chrony")
    return ok("clock", "it is kept")


def state() -> int:
    """What the kernel says of its clock, without changing it."""
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_SIZE)))
