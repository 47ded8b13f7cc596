"""What an administrator's look at a batch system asks, and what it makes of the answers (values, an interface; pure).

Each batch system has its own in its folder; the driver needs none of it.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from gateway.backends.batch.dialect import Command, Dialect
from gateway.backends.commands import Answer
from gateway.config.cluster import ClusterConfig
from gateway.config.finding import Finding

if TYPE_CHECKING:
    from gateway.backends.batch.options import JobQueueBackend


@frozen(kw_only=True)
class Wishes:
    """What a site wants of its batch system. `account` is the gateway's own."""

    backend: "JobQueueBackend"
    config: ClusterConfig
    account: str


class Examination(Protocol):
    """The questions, by a name of their own, and the verdicts."""

    @property
    def dialect(self) -> Dialect:
        """The batch system's language."""
        ...

    def questions(self, wishes: Wishes) -> Mapping[str, Command]:
        """Commands that change nothing. The first one's failure means that the batch system does not answer."""
        ...

    def findings(self, wishes: Wishes, answers: Mapping[str, Answer]) -> Iterator[Finding]:
        """What these answers tell, one a question; all but the first one may have failed."""
        ...
