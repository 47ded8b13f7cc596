"""What holds for all clusters of a gateway: the site's options, and what follows from them (pure)."""

from attrs import frozen

from gateway.config.backend import DBBackendBase

#: So often a scheduler that does not answer is asked, at least, before it is believed to have ended.
LEAST_QUESTIONS = 3


@frozen(kw_only=True)
class Rules:
    """The `options` of the backend, where jobs reach the gateway (`api_url`), and the interface on which they listen.

    For `requeue_timeout` seconds a lost worker's job may come back to the queue, where the site lets jobs run again,
    before the worker is replaced. A message to a scheduler is tried `scheduler_api_retries` times.
    """

    options: DBBackendBase
    api_url: str
    host: str
    requeue_timeout: float = 60.0
    scheduler_api_retries: int = 3

    @property
    def late(self) -> float:
        """Seconds after the last heartbeat from which on the next one is late: a reason to look, none to act."""
        return min(1.5 * self.options.cluster_heartbeat_period, 0.75 * self.options.heartbeat_timeout)

    @property
    def ask_again(self) -> float:
        """How many seconds to wait before a scheduler that has not answered is asked again."""
        longest = self.options.cluster_unreachable_timeout / (LEAST_QUESTIONS - 1)
        return min(self.options.cluster_heartbeat_period, longest)
