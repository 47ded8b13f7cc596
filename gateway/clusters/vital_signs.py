"""How the gateway is, for whoever watches over the process: a line for people, and parts that must never stop."""

from collections.abc import Awaitable, Callable, Mapping

import trio

from gateway.backends.base import Driver
from gateway.clusters.manager import Manager
from gateway.store.writer import Store


def status_line(address: str, manager: Manager, store: Store) -> str:
    """What is served where, and what fails at the moment."""
    parts = [f"serving at {address}"]
    if count := manager.active:
        parts.append("1 cluster" if count == 1 else f"{count} clusters")
    if not store.healthy:
        parts.append("the database cannot be written")
    if trouble := manager.trouble:
        parts.append(trouble)
    return "; ".join(parts)


def vital_parts(driver: Driver, store: Store) -> Mapping[str, Callable[[], Awaitable[str]]]:
    """The parts that answer, however they are, unless they have stopped; an answer with words says that they have."""

    async def database() -> str:
        await store.respond()
        return ""

    async def polling() -> str:
        await trio.lowlevel.checkpoint()
        return driver.stalled

    return {"database": database, "batch system's driver": polling}
