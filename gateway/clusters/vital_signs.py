"""How the gateway is, for whoever watches over it: its parts, a line for people, and what must never stop."""

from collections.abc import Awaitable, Callable, Mapping

import trio
from attrs import frozen

from gateway.backends.base import Driver
from gateway.clusters.manager import Manager
from gateway.store.writer import Store

#: Seconds for which something that has passed is still told.
RECENT = 60.0


@frozen
class Part:
    """A part of the gateway: its trouble in words, empty when all is well, and whether its users have that now."""

    name: str
    trouble: str
    affects_users: bool = True


def parts(manager: Manager, store: Store) -> list[Part]:
    """All parts. What strangers cause by coming in numbers, or was over in a moment, affects nobody for long."""
    hearing, now = manager.hearing, trio.current_time()
    refused, stalled = (now - at < RECENT for at in (hearing.refused_at, hearing.stalled_at))
    return [
        Part("database", "" if store.healthy else "the database cannot be written"),
        Part("batch system", manager.trouble),
        Part("listeners", "connections were turned away" if refused else "", affects_users=False),
        Part("event loop", "the gateway stood still for seconds" if stalled else "", affects_users=False),
    ]


def status_line(address: str, manager: Manager, store: Store) -> str:
    """What is served where, and what fails at the moment."""
    told = [f"serving at {address}"]
    if count := manager.active:
        told.append("1 cluster" if count == 1 else f"{count} clusters")
    return "; ".join((*told, *(part.trouble for part in parts(manager, store) if part.trouble)))


def vital_parts(driver: Driver, store: Store) -> Mapping[str, Callable[[], Awaitable[str]]]:
    """The parts that answer, however they are, unless they have stopped; an answer with words says that they have."""

    async def database() -> str:
        await store.respond()
        return ""

    async def polling() -> str:
        await trio.lowlevel.checkpoint()
        return driver.stalled

    return {"database": database, "batch system's driver": polling}
