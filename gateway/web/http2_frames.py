"""The frames of HTTP/2 as a peer sends them: where they begin, what they cost, where to pause; pure.

h2 takes whatever has been received at once, looks at the size of a frame when
all of it is there, and says nothing of frames that it ignores. So the stream
of bytes is followed here, before h2 sees it: `FrameCutter.cut` hands it on in
parts, none of which is much work, and counts what brings no request forward.
"""

from collections.abc import Iterator
from typing import Final

from attrs import frozen

#: Bytes of a frame's payload, the default of the protocol.
LARGEST_FRAME: Final = 16 * 1024
#: Bytes of a request's compressed headers, over all of their frames.
LARGEST_HEADERS: Final = 64 * 1024
#: Settings in one frame; there are seven that mean something.
MOST_SETTINGS: Final = 32
#: Bytes of data that make a frame of them worth its while; an empty one, or one with a byte, only costs.
WORTHWHILE: Final = 256
#: Work for one part: so many frames, or this share of them that begin requests.
_PART_WORK: Final = 32
_REQUEST_WORK: Final = 8
_PART_BYTES: Final = 32 * 1024

_PREFACE: Final = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD: Final = 9
_DATA, _HEADERS, _SETTINGS, _CONTINUATION = 0, 1, 4, 9
_END_HEADERS, _PADDED = 4, 8


class TooLargeFrame(Exception):
    """A frame is larger than has been agreed upon: FRAME_SIZE_ERROR."""


class TooMuchOfIt(Exception):
    """More headers or settings than anybody needs: ENHANCE_YOUR_CALM."""


@frozen
class Part:
    """Some of a connection's bytes. `cost` is how many frames begin in it that bring no request forward."""

    data: bytes
    cost: int


class FrameCutter:
    """Follows what one client sends, from the connection preface on."""

    def __init__(self) -> None:
        self._head = b""
        self._left = _PREFACE  # bytes of what has begun
        self._headers = 0  # bytes of the headers that have begun and are not complete

    def cut(self, data: bytes) -> Iterator[Part]:
        """The same bytes in parts. Raises `TooLargeFrame` or `TooMuchOfIt` at a frame that is not to be handed on."""
        start = position = work = cost = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position, start + _PART_BYTES - position)
                self._left -= step
                position += step
            else:
                begun = data[position : position + _HEAD - len(self._head)]
                self._head += begun
                position += len(begun)
                if len(self._head) < _HEAD:
                    break
                more_work, more_cost = self._begin(self._head)
                work += more_work
                cost += more_cost
                self._head = b""
            if work >= _PART_WORK or position - start >= _PART_BYTES:
                yield Part(data[start:position], cost)
                start, work, cost = position, 0, 0
        if position > start:
            yield Part(data[start:position], cost)

    def _begin(self, head: bytes) -> tuple[int, int]:
        """A frame begins: its share of a part's work, and its cost."""
        size, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        if size > LARGEST_FRAME:
            raise TooLargeFrame(f"a frame of {size} bytes")
        self._left = size
        if kind == _DATA:
            useful = size - 256 if flags & _PADDED else size
            return 1, 0 if useful >= WORTHWHILE else 1
        if kind in (_HEADERS, _CONTINUATION):
            self._headers += size
            if self._headers > LARGEST_HEADERS:
                raise TooMuchOfIt(f"headers of more than {LARGEST_HEADERS} bytes")
            if flags & _END_HEADERS:
                self._headers = 0
            return _REQUEST_WORK, int(kind == _CONTINUATION)
        if kind == _SETTINGS:
            settings = size // 6
            if settings > MOST_SETTINGS:
                raise TooMuchOfIt(f"{settings} settings in one frame")
            return 1 + settings, 1 + settings
        return 1, 1
