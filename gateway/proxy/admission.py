"""Who may connect: counts of connections against their limits (pure)."""

from gateway.proxy.limits import Limits


class Admission:
    """Counts open connections, in total, by client address, and those that have not asked for anything yet.

    Each port has its own counts: whoever fills the public one does not keep jobs out of the private one.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_address: dict[str, int] = {}
        self.total = 0
        self.undecided = 0

    def refusal(self, address: str) -> str:
        """Why a connection from `address` cannot be taken; empty when it can."""
        limits = self._limits
        if self.total >= limits.max_connections:
            return f"{limits.max_connections} connections are open, the most that max_connections allows"
        if self._by_address.get(address, 0) >= limits.max_connections_per_address:
            return f"{limits.max_connections_per_address} connections of one address, the most that are allowed"
        if self.undecided >= limits.max_undecided:
            return f"{limits.max_undecided} connections have not asked for anything yet, the most that are allowed"
        return ""

    def enter(self, address: str) -> None:
        """A connection has been taken."""
        self.total += 1
        self._by_address[address] = self._by_address.get(address, 0) + 1

    def leave(self, address: str) -> None:
        """A connection that was taken has ended."""
        self.total -= 1
        left = self._by_address[address] - 1
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]
