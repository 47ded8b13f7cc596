"""What all clusters share: batch system, store, route table, the site's rules, what they hold, what was missed."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from attrs import field, frozen

from gateway.backends.base import Driver
from gateway.clusters.hearing import Hearing
from gateway.clusters.ledger import Ledger
from gateway.clusters.rules import Rules
from gateway.clusters.scheduler_client import Asked, ask_scheduler
from gateway.store.writer import Store


class Routing(Protocol):
    """What a cluster asks of the proxy's route table."""

    def add(self, name: str, scheduler: str, dashboard: str, *, cluster: str) -> None:
        """Lead to these addresses of a cluster from now on."""
        ...

    def remove(self, name: str) -> None:
        """End the route and its connections; an unknown name is fine."""
        ...


@frozen(kw_only=True)
class Services:
    """What clusters share. `ask` asks a scheduler whether it is there: its address for messages, and its token."""

    driver: Driver
    store: Store
    routes: Routing
    rules: Rules
    hearing: Hearing = field(factory=Hearing)
    ledger: Ledger = field(factory=Ledger)
    ask: Callable[[str, str], Awaitable[Asked]] = ask_scheduler
