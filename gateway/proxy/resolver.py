"""Names of hosts, looked up where it harms nobody.

A look-up is a call that blocks a thread, for as long as a name server likes;
and which name server that is may be up to the user who has chosen the name.
So look-ups have threads of their own, a small number of them: those of trio
are left to submissions. A route has one look-up under way at a time, however
many connections wait for it and however often its scheduler moves, and what it
has found, or that there was nothing, is known for some seconds. A look-up ends
by itself, whoever has given up waiting for it: until then its slot is taken.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import trio

#: Look-ups under way, of all routes.
LOOK_UPS = 16
#: Seconds for which an answer holds.
KEPT = 5.0
#: Names whose answers are kept, and addresses of one name that are used.
MOST_NAMES = 1024
_MOST_ADDRESSES = 8

Target = tuple[int, Any]
"""Where to connect to: an address family, and an address as sockets of that family take it."""


class LookUpError(OSError):
    """A name has no address, or nobody knows it."""


class NoSuchName(LookUpError):
    """The name servers have answered: there is no such name."""


_Answer = Sequence[Target] | Exception


class _LookUp:
    """One that is under way. `answer` stays None when it is given up before it has begun."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.done = trio.Event()
        self.answer: _Answer | None = None


class Resolver:
    """Looks names up, for TCP."""

    def __init__(self) -> None:
        self._slots = trio.CapacityLimiter(LOOK_UPS)
        self._under_way: dict[str, _LookUp] = {}
        self._known: dict[str, tuple[float, _Answer]] = {}

    async def look_up(self, route: str, host: str) -> Sequence[Target]:
        """Return the addresses of a host, eight at most, all with port 0. `route` tells whose look-up it is.

        Raises `LookUpError`, of which `NoSuchName` is a kind, and `RuntimeError` for a fault of ours.

        Waits for as long as the system's resolver does: a deadline is the caller's to set.
        """
        while True:
            await trio.lowlevel.checkpoint()
            known = self._known.get(host)
            if known is not None and known[0] > trio.current_time():
                return _unwrapped(known[1])
            if (look_up := self._under_way.get(route)) is None:
                look_up = await self._begin(route, host)
            await look_up.done.wait()
            if look_up.host == host and look_up.answer is not None:
                return _unwrapped(look_up.answer)

    async def _begin(self, route: str, host: str) -> _LookUp:
        look_up = self._under_way[route] = _LookUp(host)
        try:
            await self._slots.acquire_on_behalf_of(look_up)
        except trio.Cancelled:
            del self._under_way[route]
            look_up.done.set()
            raise
        token = trio.lowlevel.current_trio_token()

        def deliver(outcome: Any) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._end, route, look_up, outcome.unwrap())

        trio.lowlevel.start_thread_soon(partial(_addresses, host), deliver, name=f"look-up of {host[:40]}")
        return look_up

    def _end(self, route: str, look_up: _LookUp, answer: _Answer) -> None:
        self._slots.release_on_behalf_of(look_up)
        del self._under_way[route]
        if not isinstance(answer, Exception) or isinstance(answer, LookUpError):
            self._known.pop(look_up.host, None)  # so that the oldest is the first
            self._known[look_up.host] = trio.current_time() + KEPT, answer
            if len(self._known) > MOST_NAMES:
                del self._known[next(iter(self._known))]
        look_up.answer = answer
        look_up.done.set()


def _addresses(host: str) -> _Answer:
    """Runs in a thread: whatever goes wrong is for whoever waits for it."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
        return [(entry[0], entry[4]) for entry in found[:_MOST_ADDRESSES]]
    except (OSError, UnicodeError) as error:  # a..b is a UnicodeError
        kind = NoSuchName if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME else LookUpError
        return kind(f"{host} cannot be looked up: {error}")
    except Exception as error:  # noqa: BLE001 (a fault of ours)
        return error


def _unwrapped(answer: _Answer) -> Sequence[Target]:
    """The addresses; several tasks may have the same answer, so that each gets an error of its own."""
    if isinstance(answer, LookUpError):
        raise type(answer)(str(answer))
    if isinstance(answer, Exception):
        raise RuntimeError("a look-up failed") from answer  # noqa: TRY004 (that is a fault of ours)
    return answer
