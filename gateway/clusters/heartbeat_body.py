"""The body of a heartbeat, taken in as it arrives; pure.

`closed_workers` grows for as long as a cluster lives, to megabytes of which
next to nothing means anything: only names of workers that are still awaited
do. So this list is never kept and never made into objects. Each part of the
body is scanned as it comes, the awaited names are picked out, and what is
left, which is bounded by the number of workers that the cluster has, is kept
for the parser. What a heartbeat may cost at once is thereby the cost of one
part, and what it may make the gateway hold is `limit`, however long it is.

The scan knows strings, and what stands between them. Whatever else is found
in the list (lists and objects, as workers' names) is left to the parser, and
so counts towards the limit. A scheduler that writes its list so that it is
misunderstood has said something else about its own workers, and nothing more.
"""

import re
from collections.abc import Collection

from gateway.errors import InvalidRequest, TooLarge

#: Bytes of a name. Longer ones are nobody's.
LONGEST_NAME = 4096

#: Bytes that are scanned at once: a millisecond or two.
WINDOW = 16 * 1024

_LIST = re.compile(rb'"closed_workers"[ \t\r\n]*:[ \t\r\n]*\[')
#: So many bytes of what has been searched may be the beginning of that.
_BEGINNING = 64
_ITEMS = re.compile(rb'(?:[^"\[\]{}]+|"[^"\\]*(?:\\.[^"\\]*)*")*', re.DOTALL)
#: `w3-0`, or `w3-0-1` as workers with several processes are called.
_NAME = re.compile(rb'(?<!\\)"(w[0-9]+-[0-9]+)["-]')


class HeartbeatBody:
    """Takes the parts of one body; the list is searched for `awaited`, and of all else `limit` bytes are kept."""

    def __init__(self, limit: int, awaited: Collection[str] = ()) -> None:
        self._limit = limit
        self._awaited = frozenset(name.encode() for name in awaited)
        self._found: set[bytes] = set()
        self._kept = bytearray()
        self._searched = 0
        self._unread = b""
        self._in_list = False

    @property
    def held(self) -> int:
        """Bytes that are kept at the moment."""
        return len(self._kept) + len(self._unread)

    @property
    def closed(self) -> frozenset[str]:
        """The awaited names that were in the list, as far as it has been taken out."""
        return frozenset(name.decode() for name in self._found)

    def take(self, part: bytes) -> None:
        """The next part, of at most `WINDOW` bytes. Raises `TooLarge` or `InvalidRequest`."""
        while part:
            part = self._take_items(part) if self._in_list else self._keep(part)

    def rest(self) -> bytes:
        """At the end: the body with an empty list, or with what could not be taken out of it."""
        return bytes(self._kept + self._unread)

    def _keep(self, part: bytes) -> bytes:
        """Keep what is before a list; returns what comes after its beginning."""
        self._kept += part
        found = _LIST.search(self._kept, self._searched)
        if found is None:
            self._searched = max(self._searched, len(self._kept) - _BEGINNING)
            after = b""
        else:
            after = bytes(self._kept[found.end() :])
            del self._kept[found.end() :]
            self._searched = found.end()
            self._in_list = True
        if len(self._kept) > self._limit:
            raise TooLarge(
                f"The heartbeat is larger than {self._limit} bytes without its closed workers: it names more workers "
                "than this cluster has"
            )
        return after

    def _take_items(self, part: bytes) -> bytes:
        """Look at items of the list; returns what comes after it."""
        part = self._unread + part
        match = _ITEMS.match(part)
        assert match is not None  # it may be empty
        end = match.end()
        if self._awaited:
            self._found |= self._awaited.intersection(_NAME.findall(part, 0, end))
        part = part[end:]
        if part.startswith(b'"'):  # the end of this name is still to come
            if len(part) > LONGEST_NAME:
                raise InvalidRequest(f"A worker's name in a heartbeat is longer than {LONGEST_NAME} bytes")
            self._unread = part
            return b""
        self._unread = b""
        self._in_list = not part
        return part
