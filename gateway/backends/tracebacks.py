"""What went wrong, by the Python tracebacks in a log (pure).

A program that fails raises one error because of another, and the log ends with
the last of them, which is often the least telling: `RuntimeError: Nanny failed
to start.` The first error of such a chain is the cause, with exceptions:

- errors that only pass another one on (a wrapper, a group) are no cause;
- nor are those that any program raises when it is ended (`KeyboardInterrupt`);
- a look-up that fails (`KeyError`) and is handled by something that fails as
  well may have been a question, not an error: then both are told.

Of several chains in a log the last one that has a cause counts, up to the line
that says that the job was ended. Logs are read as they come: with lines of
other processes in between, with a prefix before each line, and from somewhere
in the middle.
"""

import re
from collections.abc import Iterator

from attrs import define, evolve, field, frozen

#: The line in a job's log that says that its script has been reached.
STARTED = "dask-gateway: the job's script begins"

#: Characters that the sentence has at most.
MAX_LENGTH = 500

_HEADER = "Traceback (most recent call last):"
_FRAME = re.compile(r'\s*File "(?P<file>[^"]*)", line (?P<line>\d+)')
_LINKS = {
    "The above exception was the direct cause of the following exception:": False,
    "During handling of the above exception, another exception occurred:": True,
}
#: `package.module.Name: text`. What is no exception's name is sorted out by `_exception`.
_EXCEPTION = re.compile(r"(?P<name>(?:[A-Za-z_]\w*\.)*(?P<last>[A-Za-z_]\w*))(?P<text>:(?: .*)?)?$")
_TYPICAL = re.compile(r"(?:Error|Exception|Interrupt|Exit|Timeout|Cancelled|Iteration|Group|Warning|Refused|Closed)$")
#: Words before a colon that begin messages of other programs.
_NO_NAMES = frozenset(("Error", "Exception", "Warning"))
#: The edge that the traceback of a group draws at its left, and the line above each of its members.
_EDGE = re.compile(r"\A\s*[|+] ?")
_MEMBER = re.compile(r"\s*\+(?:-\+)?-{10,} (?P<number>\d+|\.\.\.) -{10,}$")
_GROUP_END = re.compile(r"\s*\+-{20,}$")
#: From here on a log shows how a job is ended, not why; `cause` takes what a batch system adds.
_ENDED = r"distributed\._signals - INFO - Received signal"
#: From here on it shows that again: the job was requeued, and goes on with the same log.
_BEGUN = re.compile(rf"Start Nanny at|State start$|Start worker at|{STARTED}$")

#: Raised wherever a program is ended or a peer has gone.
_NOISE = frozenset(
    (
        *("CancelledError", "Cancelled", "KeyboardInterrupt", "SystemExit", "GeneratorExit"),
        *("CommClosedError", "StreamClosedError", "BrokenPipeError", "ConnectionResetError", "EOFError"),
    )
)
_GROUPS = frozenset(("ExceptionGroup", "BaseExceptionGroup", "RemoteTraceback", "_RemoteTraceback"))
#: Errors that say no more than that there was another one.
_EMPTY = re.compile(
    r"failed to start\.?$|^AssertionError: Status\.|Event loop is closed|cannot schedule new futures|^RuntimeError$"
    r"|[Uu]nhandled (?:errors|exceptions) in a TaskGroup"
)
_LOOK_UPS = frozenset(("KeyError", "IndexError", "LookupError", "AttributeError", "StopIteration"))


@frozen
class Raised:
    """One error of a chain. `handled` says that the next one was raised while this one was handled."""

    name: str
    text: str
    place: str = ""
    source: str = ""
    handled: bool = False

    @property
    def words(self) -> str:
        """As Python prints it."""
        return f"{self.name}: {self.text}" if self.text else self.name

    @property
    def short_name(self) -> str:
        """Its class, without the module."""
        return self.name.rpartition(".")[2]

    @property
    def is_noise(self) -> bool:
        """Whether it comes with any end of a program."""
        return self.short_name in _NOISE

    @property
    def is_empty(self) -> bool:
        """Whether it only stands for others."""
        return self.short_name in _GROUPS or _EMPTY.search(self.words) is not None


def cause(text: str, killed: str = "") -> str:
    """The error that made a program fail, in a sentence on one line, by the end of its log; empty when none is seen.

    At most `MAX_LENGTH` characters. The text has to be free of secrets and control characters already. `killed` is a
    pattern of the lines by which the batch system shows that it ended the job.
    """
    for chain in reversed(list(chains(text, killed))):
        if sentence := _sentence(chain):
            return sentence if len(sentence) <= MAX_LENGTH else sentence[: MAX_LENGTH - 1] + "…"
    return ""


def _sentence(chain: list[Raised]) -> str:
    telling = [error for error in chain if not error.is_noise and not error.is_empty]
    if not telling:
        return ""
    shown = [telling[0], telling[-1]]
    if telling[0].short_name in _LOOK_UPS and telling[0].handled:
        shown[1:1] = telling[1:2]
    # One that another one quotes is told by it.
    kept = [error for at, error in enumerate(shown) if not any(error.words in later.words for later in shown[at + 1 :])]
    return ", which led to ".join(map(_told, kept))


def _told(error: Raised) -> str:
    hint = "; is /dev/shm there, and may it be written to?" if "SemLock(" in error.source else ""
    return error.words + (f" ({error.place})" if error.place else "") + hint


def chains(text: str, killed: str = "") -> Iterator[list[Raised]]:
    """The chains of errors whose tracebacks a text holds, each with its first error first.

    For `killed` see `cause`.
    """
    reader = _Reader(re.compile("|".join(filter(None, (_ENDED, killed)))))
    for line in text.split("\n"):
        reader.read(line)
        if reader.complete:
            yield reader.complete
            reader.complete = []
    if reader.chain:
        yield reader.chain


@define
class _Reader:
    """Reads a log line by line; `complete` is a chain to which no more can belong."""

    end: re.Pattern[str]
    chain: list[Raised] = field(factory=list)
    complete: list[Raised] = field(factory=list)
    inside: bool = False  # a traceback: its last line is the next that names an error
    linked: bool = False  # the next traceback belongs to this chain
    skipping: bool = False  # further members of a group
    ended: bool = False
    prefix: str = ""
    place: str = ""
    source: str = ""

    def read(self, line: str) -> None:
        """Take one more line into account."""
        self.ended = self.end.search(line) is not None or (self.ended and not _BEGUN.search(line))
        if self.ended:
            self.inside = False
        elif member := _MEMBER.match(line):
            self.skipping, self.linked = member["number"] != "1", True
            self.inside, self.place, self.source = True, "", ""  # one that was never raised has no header
        elif _GROUP_END.match(line):
            self.skipping = False
        elif not self.skipping:
            before, header, _ = line.partition(_HEADER)
            if header:
                self._begin()
                self.prefix = "" if _EDGE.match(before) else before
            else:
                self._read_within(_EDGE.sub("", line.removeprefix(self.prefix), count=1))

    def _begin(self) -> None:
        if not self.linked:
            self.complete, self.chain = self.chain, []
        self.inside, self.linked, self.place, self.source = True, False, "", ""

    def _read_within(self, line: str) -> None:
        if frame := _FRAME.match(line):
            if not self.inside:  # the header was cut off
                self._begin()
            if not frame["file"].startswith("<"):  # <frozen importlib._bootstrap> tells nobody anything
                self.place = f"{'/'.join(frame['file'].split('/')[-2:])}, line {frame['line']}"
            self.source = ""
        elif line.strip() in _LINKS:
            self.linked = True
            if self.chain:
                self.chain[-1] = evolve(self.chain[-1], handled=_LINKS[line.strip()])
        elif self.inside and line.startswith("    "):
            self.source = self.source or line.strip()
        elif self.inside and (error := _exception(line)):
            self.chain.append(evolve(error, place=self.place, source=self.source))
            self.inside = False


def _exception(line: str) -> Raised | None:
    """The error that a line at the end of a traceback names; None for a line of somebody else."""
    found = _EXCEPTION.match(line.rstrip())
    if found is None:
        return None
    name, last, text = found["name"], found["last"], (found["text"] or "")[1:].strip()
    return Raised(name, text) if name not in _NO_NAMES and ("." in name or _TYPICAL.search(last)) else None
