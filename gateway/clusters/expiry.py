"""When a cluster is stopped by the clock: it has run for too long, or no client is connected (pure).

Either is announced before it happens, some time ahead. The time without a
client begins anew at a restart of the gateway, which cuts all connections, and
whenever the gateway could not hear everybody (hearing.py): a client may have
tried to come back in vain. The time for which a cluster runs is counted over
restarts, but what would have been announced meanwhile is announced first.
"""

from collections.abc import Callable
from math import inf

from attrs import define, field

from gateway.clusters.reasons import outlived, span, without_client
from gateway.clusters.timing import Moment
from gateway.config.cluster import ClusterConfig

#: A stop is announced when this part of the time is left, and so many seconds are.
NOTICE_PART, LONGEST_NOTICE = 0.1, 600.0


@define
class Countdown:
    """Runs for `limit` seconds from a beginning; 0: for ever. What it is about is announced once for each beginning."""

    limit: float
    announcement: Callable[[str], str]
    _announced: float = field(default=inf, init=False)
    _since: float = field(default=-inf, init=False)

    @property
    def notice(self) -> float:
        """Seconds between the announcement and the end."""
        return min(NOTICE_PART * self.limit, LONGEST_NOTICE)

    def check(self, since: float, moment: Moment, tell: list[str]) -> bool:
        """Return whether the time is over that began at `since` (infinity: it does not run)."""
        if not self.limit:
            return False
        if since != self._since:
            self._since, self._announced = since, inf
        if self._announced == inf and moment.due(since + self.limit - self.notice):
            self._announced = moment.now
            tell.append(self.announcement(span(max(self.notice, since + self.limit - moment.now))))
        return moment.due(max(since + self.limit, self._announced + self.notice))


class Expiry:
    """Both clocks of one cluster."""

    def __init__(self, config: ClusterConfig, now: float, epoch: float, running_since: int | None) -> None:
        """Begin with what is on record: `running_since`, in milliseconds since the epoch, None before it ran.

        `epoch` is what the time since the epoch is ahead of this clock.
        """
        self._recorded, self._epoch = running_since, epoch
        self._running_since = inf if running_since is None else min(now, running_since / 1000 - epoch)
        self._client_gone_since = now
        self._config = config
        self._lifetime = Countdown(config.max_lifetime, self._announce_end)
        self._absence = Countdown(config.client_disconnect_timeout, self._announce_absence)

    def reported(self, now: float) -> int:
        """Return since when the cluster runs, for its record: since its scheduler first reported."""
        if self._recorded is None:
            self._recorded, self._running_since = round(1000 * (self._epoch + now)), now
        return self._recorded

    def client(self, connected: bool, now: float) -> None:
        """A client is connected to the scheduler, through the gateway; or none is any more."""
        self._client_gone_since = inf if connected else now

    def check(self, moment: Moment, deaf_at: float, tell: list[str]) -> str:
        """Return why the cluster is to be stopped now; empty when it is not."""
        if self._lifetime.check(self._running_since, moment, tell):
            return outlived(self._config.max_lifetime)
        alone_since = max(self._client_gone_since, self._running_since, deaf_at)
        if self._absence.check(alone_since, moment, tell):
            return without_client(self._config.client_disconnect_timeout)
        return ""

    def _announce_end(self, left: str) -> str:
        allowed = span(self._config.max_lifetime)
        return f"The cluster is stopped in {left}: it may run for {allowed} (max_lifetime)"

    def _announce_absence(self, left: str) -> str:
        allowed = span(self._config.client_disconnect_timeout)
        return (
            f"The cluster is stopped in {left} unless a client connects: it may be without one for {allowed}"
            " (client_disconnect_timeout)"
        )
