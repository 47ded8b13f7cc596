"""What users' clusters may take up: how many are remembered, and how much of what users have said about them; pure.

A cluster counts from when it is asked for until it is forgotten, a while after
its end: all of that is held in memory, stored, and told in lists.
"""

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, frozen

from gateway.errors import InvalidRequest

#: Bytes of one cluster's options, as they are stored. No form that a person fills in comes near it.
OPTIONS_LIMIT = 64 * 1024

#: Bytes of the options of all clusters of a user: lists show them all.
OPTIONS_LIMIT_OF_USER = 64 * OPTIONS_LIMIT


def stored_size(options: Mapping[str, Any]) -> int:
    """Bytes that a cluster's options take up in the database."""
    return len(json.dumps(options))


@frozen
class Limits:
    """Clusters that may be remembered: of one user, and of all."""

    per_user: int
    total: int


@define
class _Share:
    clusters: int = 0
    size: int = 0


class Quota:
    """The books."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shares: dict[str, _Share] = {}
        self._total = 0

    def ask(self, user: str, size: int) -> None:
        """Count one more cluster, whose options have `size` bytes. Raises `InvalidRequest` when there is no room."""
        share = self._shares.get(user, _Share())
        if size > OPTIONS_LIMIT:
            raise InvalidRequest(
                f"These cluster options take up {size} bytes; a cluster may have {OPTIONS_LIMIT}. Put what is large "
                "into a file that the cluster's jobs read"
            )
        if share.clusters >= self._limits.per_user:
            raise InvalidRequest(
                f"You have {share.clusters} clusters, counting those that have ended and are still remembered, and "
                f"may have {self._limits.per_user} (c.DBBackendBase.clusters_per_user). Those that have ended are "
                "forgotten after a while (c.DBBackendBase.db_cluster_max_age)"
            )
        if share.size + size > OPTIONS_LIMIT_OF_USER:
            raise InvalidRequest(
                f"The options of your clusters, counting those that have ended and are still remembered, would take up "
                f"{share.size + size} bytes; they may have {OPTIONS_LIMIT_OF_USER}. Choose shorter ones, or try again "
                "when ended clusters have been forgotten"
            )
        if self._total >= self._limits.total:
            raise InvalidRequest(
                f"The gateway remembers {self._total} clusters of all users, as many as the site allows "
                "(c.DBBackendBase.max_clusters). Please try again later, or ask your administrators"
            )
        self.add(user, size)

    def add(self, user: str, size: int) -> None:
        """Count a cluster of before a restart."""
        share = self._shares.setdefault(user, _Share())
        share.clusters += 1
        share.size += size
        self._total += 1

    def give_back(self, user: str, size: int) -> None:
        """A cluster is forgotten, or was not made after all."""
        share = self._shares[user]
        share.clusters -= 1
        share.size -= size
        self._total -= 1
        if not share.clusters:
            del self._shares[user]
