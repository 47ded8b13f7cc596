"""What a site says about the life of clusters (values)."""

from attrs import frozen

#: So often a scheduler that does not answer is asked, at least, before it is believed to have ended.
LEAST_QUESTIONS = 3


@frozen(kw_only=True)
class ClusterTimeouts:
    """Seconds.

    A `queue` of 0 is no limit. `heartbeat_period` is what schedulers are told to keep. For `requeue` seconds a lost
    worker's job may come back to the queue, where the site lets jobs run again, before the worker is replaced.
    """

    queue: float = 0.0
    start: float
    heartbeat: float
    heartbeat_period: float
    worker_start: float
    unreachable: float = 30.0
    requeue: float = 60.0

    @property
    def late(self) -> float:
        """How long after the last heartbeat the next one is late: a reason to look, none to act."""
        return min(1.5 * self.heartbeat_period, 0.75 * self.heartbeat)

    @property
    def ask_again(self) -> float:
        """How long to wait before a scheduler that has not answered is asked again."""
        return min(self.heartbeat_period, self.unreachable / (LEAST_QUESTIONS - 1))


@frozen(kw_only=True)
class Rules:
    """What holds for all clusters of a gateway. Times are seconds.

    Jobs reach the gateway at `api_url`, and listen on the interface `host`.
    """

    api_url: str
    host: str
    timeouts: ClusterTimeouts
    worker_start_failure_limit: int
    backoff_base_delay: float
    backoff_max_delay: float
    scheduler_api_retries: int = 3
