"""What clusters hold, and what may be held by each user, by groups, and by all together (pure).

The ledger has an *allowance* for each user, for each group that is limited, and
for all: the limits, and what is held. Each cluster has an *account*, which
counts in several allowances:

- the cluster with its scheduler, from when it is asked for until nothing of it is left;
- its workers, from their intent until their rows are gone (rows.py enters both).

Who asks takes in the same step of the same task, so nobody else can take it
between the two, and nothing that is taken exceeds a limit. Who gets less than
asked for is woken when some of what is in the way is given back. What was there
before a restart is counted, whatever the limits are now.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from math import inf

from attrs import define, field

from gateway.clusters.demand import WorkerLimit, own_limit
from gateway.config.cluster import ClusterConfig
from gateway.config.limits import KINDS, Limit, Limits, shown_amount
from gateway.errors import InvalidRequest
from gateway.models import Role

#: So much of each of `KINDS`; memory is in bytes.
Amounts = Mapping[str, float]


NOTHING: Amounts = dict.fromkeys(KINDS, 0)


class LimitReached(InvalidRequest):
    """There is no room for another cluster; it `passes` when those that are about to end have ended."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message)
        self.passes = passes


@define(eq=False)
class Allowance:
    """What somebody may hold, and what they hold. `holder` says who that is, in the middle of a sentence."""

    holder: str
    limits: Mapping[str, Limit]
    together: bool = False
    held: dict[str, float] = field(factory=lambda: dict(NOTHING), init=False)
    accounts: set["Account"] = field(factory=set, init=False)
    waiting: dict["Account", None] = field(factory=dict, init=False)

    def room(self, amounts: Amounts, given_back: Amounts = NOTHING) -> tuple[float, str]:
        """Return how often these amounts can be taken, and the kind of which there is least.

        It is how often they can be taken now, or when so much was `given_back`.
        """
        times = (
            (max(0, limit.most - self.held[kind] + given_back[kind]) // amounts[kind], kind)
            for kind, limit in self.limits.items()
            if amounts[kind]
        )
        return min(times, default=(inf, ""))

    def add(self, amounts: Amounts, times: int = 1) -> None:
        """Enter so much as held, whether or not there is room; what is given back is below 0."""
        for kind in KINDS:
            self.held[kind] += times * amounts[kind]
        if times < 0:
            woken, self.waiting = self.waiting, {}
            for account in woken:
                account.wake()

    def leave(self, account: "Account") -> None:
        """Forget an account that holds nothing any more."""
        self.accounts.discard(account)
        self.waiting.pop(account, None)

    def will_have_room(self, amounts: Amounts) -> bool:
        """Return whether these amounts can be taken when all clusters that are about to end have ended."""
        ending = [account.held for account in self.accounts if account.ending]
        sums = {kind: sum(held[kind] for held in ending) for kind in KINDS}
        return self.room(amounts, sums)[0] >= 1

    def says(self, kind: str) -> str:
        """Return the limit, and what is in use, for the middle of a sentence."""
        limit, verb, together = self.limits[kind], *(("have", " together") if self.together else ("has", ""))
        return (
            f"{self.holder} may have {_amount(kind, limit.most)}{together} ({limit.option}) and {verb}"
            f" {shown_amount(kind, self.held[kind])}"
        )


@define(eq=False)
class Account:
    """What one cluster holds. `wake` is called once when there may be more than it got at last."""

    _allowances: Collection[Allowance]
    _cluster: Amounts
    _worker: Amounts
    _own: WorkerLimit
    _left: Callable[[], None]
    wake: Callable[[], None] = lambda: None
    workers: int = field(default=0, init=False)
    is_open: bool = field(default=False, init=False)
    ending: bool = field(default=False, init=False)

    @property
    def held(self) -> Amounts:
        """What the cluster holds now."""
        return {kind: self.is_open * self._cluster[kind] + self.workers * self._worker[kind] for kind in KINDS}

    def open(self) -> None:
        """Count a new cluster with its scheduler. Raises `LimitReached`; when that passes, it is woken."""
        short = [allowance for allowance in self._allowances if allowance.room(self._cluster)[0] < 1]
        if not short:
            self.adopt()
            return
        passes = all(allowance.will_have_room(self._cluster) for allowance in short)
        if passes:
            short[0].waiting[self] = None
        raise LimitReached(self._refusal(short[0]), passes=passes)

    def _refusal(self, allowance: Allowance) -> str:
        _, kind = allowance.room(self._cluster)
        needs = self._cluster[kind]
        share = "" if kind == "clusters" else f"; its scheduler takes {shown_amount(kind, needs)}"
        if needs > allowance.limits[kind].most:
            advice = "Ask the administrators of this gateway"
        elif allowance.together:
            advice = "Try again when others have given some back"
        else:
            advice = (
                "Stop one, and try again" if kind == "clusters" else "Stop a cluster or some workers, and try again"
            )
        ending = sum(account.ending for account in allowance.accounts)
        about_to_end = f" ({ending} of these clusters {'is' if ending == 1 else 'are'} being stopped)" if ending else ""
        return f"There is no room for another cluster: {allowance.says(kind)}{share}{about_to_end}. {advice}"

    def adopt(self) -> None:
        """Count a cluster with its scheduler, whether or not there is room."""
        self.is_open = True
        self._add(self._cluster)

    def close(self) -> None:
        """Nothing is left of the cluster, or it was not made after all."""
        if self.is_open:
            self._add(self._worker, -self.workers)
            self._add(self._cluster, -1)
        self.is_open, self.ending, self.workers = False, False, 0
        for allowance in self._allowances:
            allowance.leave(self)
        self._left()

    def add_workers(self, count: int) -> None:
        """So many more workers are counted, or fewer."""
        self.workers += count
        self._add(self._worker, count)

    def grant(self, wanted: int) -> int:
        """Return as many of the `wanted` workers as may be started now; they count when they are added.

        If these are fewer, the account wakes when there may be more.
        """
        room, _, allowance = self._tightest()
        if allowance is None or room >= wanted:
            return wanted
        allowance.waiting[self] = None
        return int(room)

    def missing(self, count: int) -> tuple[int, str]:
        """Return how many of `count` workers there is no room for now, and why, for the end of a sentence."""
        room, kind, allowance = self._tightest()
        missing = count - self.workers - room
        return (0, "") if allowance is None or missing <= 0 else (int(missing), allowance.says(kind))

    @property
    def worker_limit(self) -> WorkerLimit:
        """The most workers that the cluster could have if there were no other."""
        found = [self._own] if self._own.most is not None else []
        for allowance in self._allowances:
            for kind, limit in allowance.limits.items():
                if self._worker[kind]:
                    most = max(0, limit.most - self._cluster[kind]) // self._worker[kind]
                    found.append(WorkerLimit(int(most), limit.option))
        return min(found, key=lambda limit: limit.most or 0, default=WorkerLimit())

    def _tightest(self) -> tuple[float, str, Allowance | None]:
        """How many workers may be added now, and what keeps them from being more."""
        room: float = inf
        kind, tightest = "", None
        for allowance in self._allowances:
            times, least = allowance.room(self._worker)
            if times < room:
                room, kind, tightest = times, least, allowance
        return room, kind, tightest

    def _add(self, amounts: Amounts, times: int = 1) -> None:
        for allowance in self._allowances:
            allowance.add(amounts, times)


class Ledger:
    """All accounts of a gateway."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._users: dict[str, Allowance] = {}
        self._groups = {
            group: Allowance(f"the members of group {group}", self._limits.of_group(group), together=True)
            for group in self._limits.limited_groups
        }
        self._all = Allowance("all users", self._limits.of_all(), together=True)

    def account(self, user: str, groups: Collection[str], config: ClusterConfig) -> Account:
        """Return the account of a cluster of this user, who is in these groups. It holds nothing yet."""
        limits = self._limits.of_user(groups)
        own = self._users.setdefault(user, Allowance(f"user {user}", limits))
        own.limits = limits  # they change with the groups
        limited = [self._groups[group] for group in sorted(groups) if group in self._groups]
        allowances = (own, *limited, self._all)
        account = Account(
            allowances, _cluster_of(config), _worker_of(config), own_limit(config), partial(self._left, user)
        )
        for allowance in allowances:
            allowance.accounts.add(account)
        return account

    @property
    def users(self) -> Mapping[str, Allowance]:
        """The allowances of those who have a cluster that has not ended."""
        return self._users

    @property
    def shared(self) -> Sequence[Allowance]:
        """Those that many share: of groups that are limited, and of all."""
        return (*self._groups.values(), self._all)

    def _left(self, user: str) -> None:
        if user in self._users and not self._users[user].accounts:
            del self._users[user]


def _cluster_of(config: ClusterConfig) -> Amounts:
    return {"clusters": 1, "workers": 0, **_job_of(config, Role.SCHEDULER)}


def _worker_of(config: ClusterConfig) -> Amounts:
    return {"clusters": 0, "workers": 1, **_job_of(config, Role.WORKER)}


def _job_of(config: ClusterConfig, role: Role) -> Amounts:
    return {"cores": config.job_cores(role), "memory": config.job_memory(role)}


def _amount(kind: str, number: float) -> str:
    """So much of a kind, as sentences have it."""
    if kind == "memory":
        return f"{shown_amount(kind, number)} of memory"
    return f"{shown_amount(kind, number)} {kind[:-1] if number == 1 else kind}"
