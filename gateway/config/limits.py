"""What users, groups and all together may have at a time.

Counted is what their clusters hold: each cluster, its scheduler included, from
when it is asked for until its last job has ended, whether that runs or waits
in the queue. What a job holds are the options of its cluster (`worker_cores`,
`worker_memory`, times `worker_processes`).
"""

from collections.abc import Collection, Mapping
from typing import Any

from attrs import field, frozen

from gateway.config.cluster import ClusterConfig
from gateway.config.fields import Memory, configurable, setting
from gateway.models import Role

#: What is limited; options are called `max_` and one of these.
KINDS = ("clusters", "cores", "memory", "workers")


def _no_negatives(limits: Mapping[str, float | None]) -> None:
    for group, most in limits.items():
        if not group:
            raise ValueError("must have the names of groups as keys, none of them empty")
        if most is not None and most < 0:
            raise ValueError(f"must be at least 0 ({group!r} has {most:g})")


@configurable
class UserLimits:
    """What each user may have at a time, in all clusters together.

    A cluster counts with its scheduler from when it is asked for until its last job has ended, a worker from when it is
    submitted: what waits in the queue counts. docs/operations.md says what happens at a limit.
    """

    max_clusters: int | None = setting(default=None, help="Clusters of a user; None: no limit.", minimum=0)
    max_cores: float | None = setting(
        default=None, help="Cores of a user's clusters, their schedulers included; None: no limit.", minimum=0
    )
    max_memory: Memory | None = setting(
        default=None,
        help="Memory of a user's clusters, their schedulers included; None: no limit.",
        unit="bytes",
        minimum=0,
    )
    max_workers: int | None = setting(default=None, help="Workers of a user's clusters; None: no limit.", minimum=0)


@configurable
class MemberLimits:
    """What each member of a group may have at a time, in place of what UserLimits says.

    Each option maps groups of the authenticator to a limit, or to None for no limit. Of a user in several of these
    groups the highest counts; one who is in none of them has the limit of UserLimits.
    """

    max_clusters: Mapping[str, int | None] = setting(
        factory=dict, help='Clusters of each member of a group: {"students": 2}.', validator=_no_negatives
    )
    max_cores: Mapping[str, float | None] = setting(
        factory=dict, help="Cores of each member's clusters, as in UserLimits.", validator=_no_negatives
    )
    max_memory: Mapping[str, Memory | None] = setting(
        factory=dict,
        help='Memory of each member\'s clusters, as in UserLimits: {"students": "64 G", "staff": None}.',
        unit="bytes",
        validator=_no_negatives,
    )
    max_workers: Mapping[str, int | None] = setting(
        factory=dict, help="Workers of each member's clusters, as in UserLimits.", validator=_no_negatives
    )


@configurable
class GroupLimits:
    """What all members of a group may have at a time, together.

    Each option maps groups of the authenticator to a limit. A cluster counts in each group that its owner was in when
    it was made, and all of them must have room for it.
    """

    max_clusters: Mapping[str, int] = setting(
        factory=dict, help='Clusters of a group\'s members: {"students": 40}.', validator=_no_negatives
    )
    max_cores: Mapping[str, float] = setting(
        factory=dict, help="Cores of their clusters, schedulers included.", validator=_no_negatives
    )
    max_memory: Mapping[str, Memory] = setting(
        factory=dict,
        help='Memory of their clusters, schedulers included: {"students": "512 G"}.',
        unit="bytes",
        validator=_no_negatives,
    )
    max_workers: Mapping[str, int] = setting(factory=dict, help="Workers of their clusters.", validator=_no_negatives)


@configurable
class TotalLimits:
    """What all users may have at a time, together."""

    max_clusters: int | None = setting(default=None, help="Clusters of all users; None: no limit.", minimum=0)
    max_cores: float | None = setting(
        default=None, help="Cores of all clusters, their schedulers included; None: no limit.", minimum=0
    )
    max_memory: Memory | None = setting(
        default=None, help="Memory of all clusters, their schedulers included; None: no limit.", unit="bytes", minimum=0
    )
    max_workers: int | None = setting(default=None, help="Workers of all clusters; None: no limit.", minimum=0)


@frozen
class Limit:
    """The most of something that may be had, and the option that says so."""

    most: float
    option: str


@frozen(kw_only=True)
class Limits:
    """All limits of a site: for each kind of `KINDS` that is limited, what limits it."""

    users: UserLimits = field(factory=UserLimits)
    members: MemberLimits = field(factory=MemberLimits)
    groups: GroupLimits = field(factory=GroupLimits)
    total: TotalLimits = field(factory=TotalLimits)

    @property
    def parts(self) -> tuple[object, ...]:
        """The instances with the options."""
        return self.users, self.members, self.groups, self.total

    @property
    def depends_on_groups(self) -> bool:
        """Whether it matters which groups a user is in."""
        return any(_option(section, kind) for section in (self.members, self.groups) for kind in KINDS)

    @property
    def limited_groups(self) -> frozenset[str]:
        """The groups whose members are limited together."""
        return frozenset(group for kind in KINDS for group in _option(self.groups, kind))

    def warnings(self, config: ClusterConfig) -> tuple[str, ...]:
        """What an administrator should know: limits that no scheduler fits in, unless users choose a smaller one."""
        needs = {"cores": config.job_cores(Role.SCHEDULER), "memory": config.job_memory(Role.SCHEDULER)}
        groups = (self.of_group(group) for group in sorted(self.limited_groups))
        return tuple(
            f"{limits[kind].option} leaves no room for a cluster: its scheduler alone takes {needed}"
            for limits in (self.of_user(()), *groups, self.of_all())
            for kind, needed in needs.items()
            if kind in limits and 0 < limits[kind].most < needed
        )

    def of_user(self, groups: Collection[str]) -> Mapping[str, Limit]:
        """Return what a user may have who is in these groups."""
        listed = {kind: _of_groups(_option(self.members, kind), groups) for kind in KINDS}
        highest = {kind: None if None in most else max(most) for kind, most in listed.items() if most}
        others = {kind: _option(self.users, kind) for kind in KINDS if kind not in highest}
        return {**_limits(self.users, others), **_limits(self.members, highest)}

    def of_group(self, group: str) -> Mapping[str, Limit]:
        """Return what the members of a group may have together."""
        return _limits(self.groups, {kind: _option(self.groups, kind).get(group) for kind in KINDS})

    def of_all(self) -> Mapping[str, Limit]:
        """Return what all users may have together."""
        return _limits(self.total, {kind: _option(self.total, kind) for kind in KINDS})


def _option(section: object, kind: str) -> Any:
    return getattr(section, f"max_{kind}")


def _of_groups(by_group: Mapping[str, float | None], groups: Collection[str]) -> list[Any]:
    return [by_group[group] for group in groups if group in by_group]


def _limits(section: object, most: Mapping[str, float | None]) -> dict[str, Limit]:
    """What an option of a section limits."""
    name = type(section).__name__
    return {kind: Limit(number, f"c.{name}.max_{kind}") for kind, number in most.items() if number is not None}


def shown_amount(kind: str, number: float) -> str:
    """So much of a kind, alone: memory in GiB."""
    return f"{number / 2**30:.6g} GiB" if kind == "memory" else f"{number:.10g}"
