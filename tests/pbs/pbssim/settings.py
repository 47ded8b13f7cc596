"""What an administrator would set, the machine's size, and how long things take."""

from dataclasses import dataclass, field


@dataclass
class Settings:
    """What qmgr would set, and the machine's size."""

    server: str = "pbs"
    queues: dict[str, bool] = field(default_factory=lambda: {"workq": True})  # name → started
    disabled: list[str] = field(default_factory=list)  # queues that take no jobs
    limits: dict[str, str] = field(default_factory=dict)  # "queue workq max_queued" → as qmgr was told (limits.py)
    operators: list[str] = field(default_factory=lambda: ["root", "dask"])
    history: bool = True
    history_duration: float = 14 * 86400.0
    query_other_jobs: bool = True
    root_may_submit: bool = False
    max_array_size: int = 10_000
    ncpus: int = 64
    memory: int = 64 << 30
    nodes_up: bool = True  # False: what the scheduler may believe after a restart of the server
    unstored: int = 0  # how many of the next submissions are given an id and forgotten, as when the server crashes then

    @property
    def host(self) -> str:
        """The short name of the server's and the node's host."""
        return self.server.partition(".")[0]


@dataclass
class Timing:
    """Seconds, as recorded; tests that wait make some of them shorter."""

    start: float = 0.01  # submitted → R/41
    session: float = 0.5  # R/41 → R/42
    end: float = 0.05  # process ended → E
    exit: float = 0.1  # E → F
    delete: float = 1.2  # qdel of a running job → F
    kill: float = 10.0  # TERM → KILL
    poll: float = 10.0  # how often the MoM looks at limits
    hold: float = 3.0  # failed attempts to start → H
    stagein: float = 3.0  # failed stage-in → W
    undelivered: float = 3.0  # E when output cannot be copied
    back: float = 2.0  # a restarted server → it knows what happened meanwhile
