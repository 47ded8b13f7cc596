"""Who may connect, and who has to go for that: counts of connections against their limits (pure).

A port that is full refuses nobody as long as it has somebody to give up: else
whoever fills it would keep everybody out. Each open connection is a `Guest` and
stands in one of four crowds:

    silent   has not asked for anything yet
    idle     HTTP, between two requests (or before the first one)
    busy     HTTP, whose request is being answered
    known    has proved to be a job (its cluster's token) or is relayed to a scheduler

When a limit is reached, the oldest silent one is ended, or the longest idle
one: of the address that has most of them, and of the kind of which one address
has more. So whoever fills the port is who makes room. Busy and known ones are
ended only for an address that has fewer by two at least, the newest first:
those that have been there for long are in use.

Neither those that are known nor those that are not may take the last eighth of
the connections: it is kept for the others.

Hosts choose among 2^64 IPv6 addresses: all of a /64 count as one.
"""

import ipaddress
from collections.abc import Callable, Sequence
from functools import lru_cache

from gateway.config.proxy import Proxy


def group_of(address: str) -> str:
    """Return the address that counts for this one: itself, or the /64 of an IPv6 address.

    Raises `ValueError` for a text with a colon that is no address.
    """
    return _network(address) if ":" in address else address


@lru_cache(maxsize=4096)
def _network(address: str) -> str:
    number = int(ipaddress.IPv6Address(address.partition("%")[0]))
    return f"{ipaddress.IPv6Address(number >> 64 << 64)}/64"


def _nothing() -> None:
    """The end of a connection that nobody has to be told of."""


class Guest:
    """An open connection. `end()` closes it, and is its owner's to set.

    Once it is `gone`, its place belongs to others, and nothing that is said of it counts any more. It is `served` when
    a request of its was answered.
    """

    __slots__ = ("_admission", "address", "crowd", "end", "gone", "group", "served")

    def __init__(self, admission: "Admission", address: str) -> None:
        self._admission = admission
        self.address = address
        self.group = group_of(address)
        self.end: Callable[[], None] = _nothing
        self.crowd: Crowd | None = None
        self.gone = False
        self.served = False

    def waits(self) -> None:
        """Note that its request for HTTP has been answered: from now on it is idle."""
        self.served = True
        self._admission.idles(self)

    def works(self) -> None:
        """Note that a request of its is being answered."""
        self._admission.works(self)

    def is_known(self) -> None:
        """Note that it has shown a cluster's token."""
        self._admission.knows(self)


class Crowd:
    """Connections of one kind, in the order in which they came to it.

    Finds those of the address that has most of them, at the price of some dictionary entries for each change.
    """

    def __init__(self) -> None:
        self.total = 0
        self.most = 0
        self._members: dict[str, dict[Guest, None]] = {}
        self._groups: dict[int, dict[str, None]] = {}  # those that have so many members

    def add(self, guest: Guest) -> None:
        """Add a connection, the newest of its address. It must be in no crowd."""
        group = guest.group
        members = self._members.get(group)
        if members is None:
            members = self._members[group] = {}
        members[guest] = None
        size = len(members)
        self.total += 1
        if size > 1:
            self._leave_groups(group, size - 1)
        self._join_groups(group, size)
        if size > self.most:
            self.most = size

    def remove(self, guest: Guest) -> None:
        """Remove a member."""
        group = guest.group
        members = self._members[group]
        del members[guest]
        size = len(members)
        self.total -= 1
        self._leave_groups(group, size + 1)
        if size:
            self._join_groups(group, size)
        else:
            del self._members[group]
        if self.most not in self._groups:
            self.most -= 1

    def renew(self, guest: Guest) -> None:
        """Make a member the newest of its address."""
        members = self._members[guest.group]
        del members[guest]
        members[guest] = None

    def size_of(self, group: str) -> int:
        """Return how many members an address has."""
        return len(self._members.get(group, ()))

    def oldest_of(self, group: str) -> Guest | None:
        """Return the oldest member of an address, None without any."""
        return next(iter(self._members.get(group, ())), None)

    @property
    def oldest(self) -> Guest:
        """The oldest member of the address that has most. Raises `KeyError` in an empty crowd."""
        return next(iter(self._members[self._largest]))

    @property
    def newest(self) -> Guest:
        """The newest member of the address that has most. Raises `KeyError` in an empty crowd."""
        return next(reversed(self._members[self._largest]))

    @property
    def _largest(self) -> str:
        return next(iter(self._groups[self.most]))

    def _join_groups(self, group: str, size: int) -> None:
        groups = self._groups.get(size)
        if groups is None:
            self._groups[size] = {group: None}
        else:
            groups[group] = None

    def _leave_groups(self, group: str, size: int) -> None:
        groups = self._groups[size]
        if len(groups) == 1:
            del self._groups[size]
        else:
            del groups[group]


class Admission:
    """The guests of one port: whoever fills the public one does not keep jobs out of the private one.

    `ended(guest, reason)` is called for each that was ended to make room.
    """

    def __init__(self, options: Proxy, ended: Callable[[Guest, str], None] = lambda guest, reason: None) -> None:
        self._options = options
        self._ended = ended
        self._share = options.max_connections - options.max_connections // 8
        self._by_group: dict[str, int] = {}
        self._silent, self._idle, self._busy, self._known = Crowd(), Crowd(), Crowd(), Crowd()
        self.total = 0
        self._scarce = "file descriptors or memory are used up"
        allowed = "the most that are allowed"
        self._too_many = f"{options.max_connections} connections are open, the most that max_connections allows"
        self._too_many_of_one = f"{options.max_connections_per_address} connections of one address, {allowed}"
        self._too_many_silent = f"{options.max_undecided} connections have not asked for anything yet, {allowed}"

    # ---- coming and going

    def make_room(self, address: str) -> str:
        """End somebody when one more of `address` needs that; return why there is no room even so, or an empty text."""
        options, group = self._options, group_of(address)
        if self._by_group.get(group, 0) >= options.max_connections_per_address and not self._end_one_of(group):
            return self._too_many_of_one
        if self._silent.total >= options.max_undecided:
            self._end(self._silent.oldest, self._too_many_silent)
        if self.total - self._known.total >= self._share and not self._end_unknown(group):
            return self._too_many
        if self.total >= options.max_connections and not (self._end_unknown(group) or self._end_known(group)):
            return self._too_many
        return ""

    def spare(self, count: int) -> int:
        """End `count` connections at most, since something else is used up; return how many were ended."""
        ended = 0
        while ended < count and self._end_unknown("", self._scarce):
            ended += 1
        return ended

    def enter(self, address: str) -> Guest:
        """Count a connection that was accepted, and return its guest, who is in no crowd yet."""
        guest = Guest(self, address)
        self._count_in(guest)
        return guest

    def leave(self, guest: Guest) -> None:
        """Count a connection out that has ended; a second time does nothing."""
        if not guest.gone:
            guest.gone = True
            guest.end = _nothing
            self._move(guest, None)
            self._count_out(guest)

    def introduce(self, guest: Guest, address: str) -> str:
        """Count a connection as that of the client whom a trusted proxy names.

        Return why there is no room for that client, or an empty text.
        """
        crowd = guest.crowd
        self._move(guest, None)
        self._count_out(guest)
        reason = self.make_room(address)
        guest.address, guest.group = address, group_of(address)
        self._count_in(guest)
        self._move(guest, crowd)
        return reason

    # ---- what they do

    def is_silent(self, guest: Guest) -> None:
        """Note that it has not asked for anything yet."""
        self._move(guest, self._silent)

    def has_asked(self, guest: Guest) -> None:
        """Note that it is silent no longer."""
        self._move(guest, None)

    def idles(self, guest: Guest) -> None:
        """Note that it is HTTP, and waits for a request from now on."""
        if guest.crowd is self._idle:
            self._idle.renew(guest)
        elif guest.crowd is not self._known:
            self._move(guest, self._idle)

    def works(self, guest: Guest) -> None:
        """Note that it is HTTP, and that a request of its is being answered."""
        if guest.crowd is not self._known:
            self._move(guest, self._busy)

    def knows(self, guest: Guest) -> bool:
        """Note that it has proved to be a job, or is to be relayed; False when there is no room among those."""
        if guest.crowd is not self._known:
            if self._known.total >= self._share and not self._end_known(guest.group):
                return False
            self._move(guest, self._known)
        return True

    # ---- making room

    def _end_one_of(self, group: str) -> bool:
        guest = self._silent.oldest_of(group) or self._idle.oldest_of(group)
        if guest is not None:
            self._end(guest, self._too_many_of_one)
        return guest is not None

    def _end_unknown(self, group: str, reason: str = "") -> bool:
        if self._idle.most > self._silent.most:
            self._end(self._idle.oldest, reason or self._too_many)
        elif self._silent.most:
            self._end(self._silent.oldest, reason or self._too_many)
        elif self._busy.most > self._busy.size_of(group) + 1:
            self._end(self._busy.newest, reason or self._too_many)
        else:
            return False
        return True

    def _end_known(self, group: str) -> bool:
        if self._known.most <= self._known.size_of(group) + 1:
            return False
        self._end(self._known.newest, self._too_many)
        return True

    def _end(self, guest: Guest, reason: str) -> None:
        self._ended(guest, reason)
        end = guest.end
        self.leave(guest)
        end()

    # ---- counts

    def _move(self, guest: Guest, crowd: Crowd | None) -> None:
        if guest.crowd is not None:
            guest.crowd.remove(guest)
        guest.crowd = None if guest.gone else crowd
        if guest.crowd is not None:
            guest.crowd.add(guest)

    def _count_in(self, guest: Guest) -> None:
        self.total += 1
        self._by_group[guest.group] = self._by_group.get(guest.group, 0) + 1

    def _count_out(self, guest: Guest) -> None:
        self.total -= 1
        left = self._by_group[guest.group] - 1
        if left:
            self._by_group[guest.group] = left
        else:
            del self._by_group[guest.group]


class Trust:
    """A set of addresses and networks; `unix` stands for peers on a Unix socket. Raises `ValueError` for others."""

    def __init__(self, trusted: Sequence[str]) -> None:
        self._unix = "unix" in trusted
        self._networks = [ipaddress.ip_network(text) for text in trusted if text != "unix"]
        self._check = lru_cache(maxsize=1024)(self._contains)

    def __contains__(self, address: str) -> bool:
        if not self._networks:
            return self._unix and address == "unix"
        return self._check(address)

    def _contains(self, address: str) -> bool:
        if address == "unix":
            return self._unix
        number = ipaddress.ip_address(address)
        return any(number in network for network in self._networks)
