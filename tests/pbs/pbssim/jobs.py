"""One job: its id, what was asked for, and where it stands.

An array is a job with `children`; its subjobs are jobs with a `parent`. Only
subjobs run. Times are wall-clock seconds.
"""

import re
import time
from dataclasses import dataclass, field

from pbssim.errors import ILLEGAL_ID, bad_value, unknown_resource

RUNNING = "RSEU"
ENDED = "FXM"

_ID = re.compile(r"(\d+)(?:\[(\d+(?:-\d+)?(?::\d+)?)?(\])?)?(?:\.(.+))?", re.ASCII)
_SIZE = re.compile(r"(\d+)([kmgtp]?)(b|w)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
RESOURCES = ("cput", "mem", "ncpus", "ngpus", "mpiprocs", "ompthreads", "vmem", "walltime", "place", "select", "host")


@dataclass(frozen=True)
class Target:
    """An id as somebody wrote it. `indices` is None for a plain job, () for a whole array."""

    sequence: int
    indices: tuple[int, ...] | None
    text: str


def parse_id(text: str, server: str) -> Target:
    """An id, with or without the server's name. Raises ILLEGAL_ID."""
    match = _ID.fullmatch(text)
    if match is None or (match[4] not in (None, server)) or (("[" in text) != bool(match[3])):
        raise ILLEGAL_ID.about(text)
    full = text if match[4] else f"{text}.{server}"
    if not match[3]:
        return Target(int(match[1]), None, full)
    if match[2] is None:
        return Target(int(match[1]), (), full)
    return Target(int(match[1]), parse_range(match[2]) or (), full)


def parse_range(text: str) -> tuple[int, ...] | None:
    """The indices of `3`, `0-9` or `1-5:2`; None when it is no range."""
    match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", text, re.ASCII)
    if match is None:
        return None
    return tuple(range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1)))


def parse_size(text: str, attribute: str) -> tuple[int, str]:
    """Bytes, and the text PBS makes of a size: `256MB` → `256mb`, `256` → `256b`."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise bad_value(attribute)
    return int(match[1]) * _UNITS[match[2].lower()], f"{match[1]}{match[2].lower()}{(match[3] or 'b').lower()}"


def parse_duration(text: str, attribute: str) -> tuple[int, str]:
    """Seconds, and the text PBS makes of a duration: `90` → `00:01:30`."""
    if not re.fullmatch(r"(?:(?:\d+:)?\d+:)?\d+", text, re.ASCII):
        raise bad_value(attribute)
    seconds = 0
    for part in text.split(":"):
        seconds = seconds * 60 + int(part)
    return seconds, f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


@dataclass
class Resources:
    """What a job asks for: the printed list, and the numbers that the scheduler counts with."""

    printed: dict[str, str]
    ncpus: int
    memory: int
    walltime: int | None

    @classmethod
    def parse(cls, options: list[str]) -> "Resources":
        """From the arguments of `-l`. Raises the refusals of qsub."""
        asked: dict[str, str] = {}
        for option in options:
            for item in option.split(","):
                name, _, value = item.partition("=")
                if name not in RESOURCES:
                    raise unknown_resource(f" Resource_List.{name}")
                asked[name] = value
        printed, memory = {"place": asked.get("place", "free" if "select" in asked else "pack")}, 0
        select = asked.get("select", f"1:ncpus={asked.get('ncpus', 1)}")
        chunks, ncpus = 0, 0
        for chunk in select.split("+"):
            first, *parts = chunk.split(":")
            count = int(first) if first.isdecimal() else 1
            chunks += count
            wanted = dict(part.partition("=")[::2] for part in (parts if first.isdecimal() else [first, *parts]))
            for name in wanted:
                if name not in RESOURCES:
                    raise unknown_resource(f": {name}")
            ncpus += count * int(wanted.get("ncpus", 1))
            if "mem" in wanted:
                size, printed["mem"] = parse_size(wanted["mem"], "select.mem")
                memory += count * size
            if "ngpus" in wanted:
                printed["ngpus"] = str(count * int(wanted["ngpus"]))
        printed |= {"ncpus": str(ncpus), "nodect": str(chunks), "select": select}
        walltime = None
        if "walltime" in asked:
            walltime, printed["walltime"] = parse_duration(asked["walltime"], "Resource_List.walltime")
        return cls(dict(sorted(printed.items())), ncpus, memory, walltime)


@dataclass
class Request:
    """What qsub sends: options as they were given, the script or the command, the environment."""

    name: str
    options: dict[str, list[str]]
    arguments: str
    script: str | None
    command: list[str] | None
    variables: list[tuple[str, str]]
    workdir: str

    def option(self, letter: str, default: str = "") -> str:
        """The last value of an option."""
        return self.options.get(letter, [default])[-1]

    @property
    def joined(self) -> str:
        """`oe`, `eo` or `n`: which outputs go into one file."""
        return self.option("j", "n")


@dataclass
class Job:
    """A job, an array, or a subjob. `state` is PBS's letter."""

    sequence: int
    server: str
    owner: str
    request: Request
    queue: str
    resources: Resources
    index: int | None = None
    parent: "Job | None" = None
    children: "list[Job] | None" = None
    state: str = "Q"
    substate: int = 10
    holds: str = "n"
    depends: str = ""
    comment: str = ""
    run_count: int = 0
    exit_status: int | None = None
    execution_time: float | None = None
    created: float = field(default_factory=time.time)
    changed: float = field(default_factory=time.time)
    eligible: float | None = field(default_factory=time.time)
    started: float | None = None
    ended: float | None = None
    history: float | None = None
    slot: int | None = None
    session: int | None = None
    directory: str = ""  # where its process was started
    deleted_by: str = ""
    failed_children: bool = False
    last_exit: int | None = None  # of an array: 0, 1 or 2, after the subjob that changed last
    forgotten: bool = False  # the server has no record of this subjob any more

    @property
    def id(self) -> str:
        """The id as PBS prints it."""
        mark = "" if self.index is None and self.children is None else f"[{'' if self.index is None else self.index}]"
        return f"{self.sequence}{mark}.{self.server}"

    @property
    def running(self) -> bool:
        """True while a process of it may exist."""
        return self.state in RUNNING and self.children is None

    @property
    def over(self) -> bool:
        """True when nothing more will happen to it."""
        return self.state in ENDED

    @property
    def recorded(self) -> bool:
        """False for a subjob of which the server has no record: it never ran, or was forgotten."""
        return self.parent is None or (self.run_count > 0 and not self.forgotten)

    @property
    def placement(self) -> str:
        """Where it runs and on what: `pbs:ncpus=1:mem=262144kb`."""
        memory = f":mem={self.resources.memory // 1024}kb" if self.resources.memory else ""
        return f"{self.server.partition('.')[0]}:ncpus={self.resources.ncpus}{memory}"

    @property
    def rerunnable(self) -> bool:
        """What `-r` said."""
        return self.request.option("r", "y") != "n"

    def change(self, state: str, substate: int) -> None:
        """Enter a state."""
        self.state, self.substate, self.changed = state, substate, time.time()

    def output_path(self, letter: str) -> str:
        """Where `o` or `e` goes, as PBS prints it: `host:/path`."""
        default = f"{self.request.workdir}/{self.request.name}.{letter}{self.sequence}"
        array = self.parent or (self if self.children is not None else None)
        if array is not None:
            default += ".^array_index^"
        path = self.request.option(letter)
        host = "localhost" if path.startswith("/") else self.server.partition(".")[0]
        path = path if path.startswith("/") else f"{self.request.workdir}/{path}" if path else default
        if self.index is not None:
            path = path.replace("^array_index^", str(self.index))
        return f"{host}:{path}"

    def output_file(self, letter: str) -> str:
        """The path of an output file on the node."""
        path = self.output_path(letter).partition(":")[2]
        return f"{path}{self.id}.{'OU' if letter == 'o' else 'ER'}" if path.endswith("/") else path
