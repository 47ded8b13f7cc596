"""One HTTP/2 connection: hypercorn's, with budgets for all that its peer sends and takes.

hypercorn 0.18 and h2 do whatever a peer asks for, as often as it asks, in one
go. Here its bytes are parsed in parts (http2_frames.py) with a turn for
everybody else in between; what leads to nothing has a budget (http_budget.py).
Whoever exceeds it is told ENHANCE_YOUR_CALM. In detail:

- Priorities are not kept. They have been given up by the protocol (RFC 9113, 5.3.2) and by browsers, their tree could
  be made to cost milliseconds for each frame, and it was an error that ended the connection in several ways.
- Windows that have grown are looked at once for each part.
- Settings that mean nothing are kept by h2 for ever: more than a few of them are too many. The table for compressing
  answers stays at 4 KiB, whatever the peer has room for: it is searched from one end to the other.
- Each request that is open costs memory, a hundred of them on each connection: those beyond a few are refused while
  their client's address has too many (REFUSED_STREAM: they may be sent again, and browsers do).
- An answer must be taken, some of it within each minute. Else its stream is reset, and what was kept for it forgotten.
- Over HTTP/2, a piece of a body that comes when its request has been answered already is a KeyError in hypercorn, which
  ends the connection, and with it everything else that a browser does on it. Such pieces are thrown away.
- Whoever asks and cancels at once (CVE-2023-44487) has work done for nothing. A connection on which that happens very
  often is closed, whichever side says that the stream is reset. A reset stream is forgotten, even if it kept nothing.
"""

from collections import deque
from contextlib import suppress
from math import inf
from typing import Any, Final, Protocol, cast

import hpack
import trio
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PriorityUpdated,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hypercorn.events import Closed, RawData
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol import h2

from gateway.proxy.memory_budget import MemoryBudget
from gateway.web.http2_frames import FrameCutter, TooLargeFrame, TooMuchOfIt
from gateway.web.http_budget import REFUSAL, Budgeted

#: A browser that leaves a page cancels a few dozen requests.
CANCELS_PER_SECOND: Final = 100
#: Seconds within which `PROGRESS` bytes of an answer, or all that are ready, must be taken.
PROGRESS_DEADLINE: Final = 60.0
PROGRESS: Final = 16 * 1024
#: Requests of a connection that may be open in any case.
FREE_STREAMS: Final = 8
#: Bytes that an open one takes at most: a task, the state of three libraries, what its peer has not taken (measured).
STREAM_COST: Final = 48 * 1024
#: Different settings that a peer may have mentioned.
_MOST_SETTINGS: Final = 64
_TABLE_SIZE: Final = 4096


class Connected(Budgeted, Protocol):
    """The same, of a connection whose address is known."""

    memory: MemoryBudget
    owner: str


class AnswerBuffer(h2.StreamBuffer):
    """The part of an answer that the peer has not taken yet. `deadline` is when it must have taken some."""

    def __init__(self, event_class: Any) -> None:
        super().__init__(event_class)
        self.deadline = inf
        self.taken = 0  # bytes, so far
        self._taken_then = 0

    async def push(self, data: bytes) -> None:
        """See hypercorn."""
        if data and not self.complete and self.deadline == inf:
            self._renew()
        await super().push(data)

    async def pop(self, max_length: int) -> bytes:
        """See hypercorn."""
        data = await super().pop(max_length)
        self.taken += len(data)
        if not self.buffer:
            self.deadline = inf
        elif self.taken - self._taken_then >= PROGRESS:
            self._renew()
        return data

    async def close(self) -> None:
        """See hypercorn."""
        self.deadline = inf
        await super().close()

    def _renew(self) -> None:
        self.deadline = trio.current_time() + PROGRESS_DEADLINE
        self._taken_then = self.taken


class _Encoder(hpack.Encoder):
    """Compresses with a small table, and remembers no more than two changes of its size that were not told yet."""

    @property
    def header_table_size(self) -> int:
        """Bytes of the table."""
        return int(self.header_table.maxsize)

    @header_table_size.setter
    def header_table_size(self, value: int) -> None:
        self.header_table.maxsize = min(value, _TABLE_SIZE)
        if self.header_table.resized:
            self.table_size_changes.append(self.header_table.maxsize)
            self.table_size_changes = [min(self.table_size_changes), self.header_table.maxsize]


class Http2Connection(h2.H2Protocol):
    """Takes the place of hypercorn's class of one connection."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.connection.encoder = _Encoder()
        self._budget = cast("Connected", self.app).budget
        self._memory = cast("Connected", self.app).memory.buffers
        self._owner = cast("Connected", self.app).owner
        self._paid: set[int] = set()  # streams for which memory was taken
        self._cutter = FrameCutter()
        self._cancelled: deque[float] = deque(maxlen=CANCELS_PER_SECOND)
        self._windows: set[int] = set()  # of those streams that grew in this part; 0 for all
        self._answering = trio.Event()
        self._watching = trio.CancelScope()

    async def initiate(self, headers: Any = None, settings: bytes | None = None) -> None:
        """See hypercorn."""
        await super().initiate(headers, settings)
        self.task_group.spawn(self._watch)

    async def handle(self, event: ConnectionEvent) -> None:
        """See hypercorn."""
        if not isinstance(event, RawData):
            self._watching.cancel()
        if not isinstance(event, RawData) or not event.data:
            await super().handle(event)
            return
        try:
            for number, part in enumerate(self._cutter.cut(event.data)):
                if number or part.cost:
                    await self._budget.turn()
                if self.closed:
                    return
                if not self._budget.spend(part.cost):
                    await self._end(ErrorCodes.ENHANCE_YOUR_CALM)
                    return
                await super().handle(RawData(part.data))
        except TooLargeFrame:
            await self._end(ErrorCodes.FRAME_SIZE_ERROR)
        except TooMuchOfIt:
            await self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if not await self._handle_event(event):
                await self._end(ErrorCodes.ENHANCE_YOUR_CALM)
                return
        if self._windows:
            for stream_id in (0,) if 0 in self._windows else self._windows:
                await self._window_updated(stream_id)
            self._windows.clear()
        await self._flush()

    async def _handle_event(self, event: Event) -> bool:
        """False when the peer does too much of it."""
        if isinstance(event, DataReceived) and event.stream_id not in self.streams:
            self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamReset):
            if self._cancels_too_often():
                return False
            await self._forget(event.stream_id)
        elif isinstance(event, WindowUpdated):
            self._windows.add(event.stream_id or 0)
        elif isinstance(event, RemoteSettingsChanged):
            if len(self.connection.remote_settings) > _MOST_SETTINGS:
                return False
            if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                self._windows.add(0)
        elif not isinstance(event, PriorityUpdated):
            await super()._handle_events([event])
        return True

    async def _end(self, error: ErrorCodes) -> None:
        """The last word of this connection."""
        with suppress(ProtocolError):  # it has been said already
            self.connection.close_connection(error)
        await self._flush()
        await self.send(Closed())

    def _cancels_too_often(self) -> bool:
        now = trio.current_time()
        self._cancelled.append(now)
        return len(self._cancelled) == CANCELS_PER_SECOND and now - self._cancelled[0] < 1.0

    async def _forget(self, stream_id: int) -> None:
        """A stream has been reset; what sends notices that when it is asked to send the rest."""
        if (buffer := self.stream_buffers.get(stream_id)) is not None:
            await buffer.close()
            await self._window_updated(stream_id)
        await self._close_stream(stream_id)

    async def _window_updated(self, stream_id: int | None) -> None:
        """Only those streams that have something to send are asked for it."""
        for each in (stream_id,) if stream_id else tuple(self.stream_buffers):
            if (buffer := self.stream_buffers.get(each)) is not None and (buffer.buffer or buffer.complete):
                self.priority.unblock(each)
        await self.has_data.set()

    async def _create_stream(self, request: RequestReceived) -> None:
        if len(self.streams) >= FREE_STREAMS:
            if not self._memory.take(self._owner, STREAM_COST):
                self._budget.spend(REFUSAL)
                self.connection.reset_stream(request.stream_id, ErrorCodes.REFUSED_STREAM)
                return
            self._paid.add(request.stream_id)
        await super()._create_stream(request)

    async def _close_stream(self, stream_id: int) -> None:
        if stream_id in self._paid:
            self._paid.remove(stream_id)
            self._memory.give_back(self._owner, STREAM_COST)
        await super()._close_stream(stream_id)

    async def _send_data(self, stream_id: int) -> None:
        buffer = cast("AnswerBuffer", self.stream_buffers[stream_id])
        before = buffer.taken
        await super()._send_data(stream_id)
        self._budget.earn(buffer.taken - before)

    async def stream_send(self, event: Any) -> None:
        """See hypercorn."""
        self._answering.set()
        await super().stream_send(event)

    async def _watch(self) -> None:
        """Reset streams of which the peer takes nothing."""
        with self._watching:
            while True:
                await self._answering.wait()
                self._answering = trio.Event()
                # No deadline is earlier than that.
                due = trio.current_time() + PROGRESS_DEADLINE
                while due < inf:
                    await trio.sleep_until(due)
                    due = await self._reset_stalled()

    async def _reset_stalled(self) -> float:
        """Returns when to look again."""
        due, now = inf, trio.current_time()
        for stream_id, buffer in tuple(self.stream_buffers.items()):
            deadline = cast("AnswerBuffer", buffer).deadline
            if deadline > now:
                due = min(due, deadline)
                continue
            with suppress(ProtocolError):
                self.connection.reset_stream(stream_id, ErrorCodes.ENHANCE_YOUR_CALM)
            self.task_group.spawn(self._forget, stream_id)  # which may wait for the app
        await self._flush()
        return due
