"""Many users at once, each with clusters that grow and shrink, on a fake batch system that counts.

    async with open_crowd(limits) as crowd:
        name = await crowd.create("u1", groups=["students"])
        await crowd.scale(name, 5)

Whenever the batch system gets jobs, all that it has is compared with the limits. Workers run at once, and connect with
the next heartbeat, which schedulers send every 15 seconds, and when a test says how many workers one wants (`beat`).
"""

from collections import Counter
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from gateway.clusters import cluster as cluster_module
from gateway.clusters import manager as manager_module
from gateway.clusters.heartbeat import Heartbeat
from gateway.config.limits import KINDS
from gateway.errors import GatewayError, InvalidRequest
from gateway.models import JobState, Role, User
from tests.support.fakes import FakeDriver
from tests.support.houses import open_house


class CountingDriver(FakeDriver):
    """Counts what each user, each group and all have in it, by holder and kind; forgets what has ended."""

    def __init__(self, crowd):
        super().__init__(runs_at_once=True, on_submit=self._began)
        self.crowd = crowd
        self.held = Counter()

    def _began(self, job):
        self._count(job, 1)
        if job.name == job.spec.names[-1]:
            self.crowd.check(self.held, job.spec.cluster.username)

    def _count(self, job, sign):
        config, role = job.spec.cluster.config, job.spec.role
        amounts = {"cores": config.job_cores(role), "memory": config.job_memory(role)}
        amounts["workers"] = int(role is Role.WORKER)
        for holder in self.crowd.holders(job.spec.cluster.username):
            for kind, amount in amounts.items():
                self.held[holder, kind] += sign * amount

    def report(self, what, state, reason="", **more):
        jobs = [job for job in self.select(what) if job.report.state is not JobState.GONE]
        super().report(what, state, reason, **more)
        if state is JobState.GONE:
            for job in jobs:
                self._count(job, -1)
                self._forget(job.spec)

    def _forget(self, spec):
        """Forget a submission of which all jobs have ended."""
        jobs = [job for job in self.jobs.values() if job.spec is spec]
        if all(job.report.state is JobState.GONE for job in jobs):
            for job in jobs:
                del self.jobs[job.id]


class Crowd:
    """The users, and what is true of them at any time."""

    def __init__(self, limits):
        self.limits = limits
        self.driver = CountingDriver(self)
        self.users = {}  # everybody's groups
        self.wanted = {}  # by cluster
        self.refused = []
        self.warned = []
        self.exceeded = []
        self.most_held = Counter()

    # ---- what users do

    async def create(self, user, groups=(), **options):
        """A new cluster's name, once its scheduler has reported; None when it was refused."""
        self.users[user] = frozenset(groups)
        try:
            cluster = await self.manager.create(User(user, groups), options)
        except InvalidRequest as error:
            self.refused.append(str(error))
            return None
        self._check_clusters(user)
        await cluster._wait(lambda: bool(cluster.rows.by_job) or not cluster._machine.active)
        await self.beat(cluster.name, 0)
        return cluster.name

    async def scale(self, name, count):
        """Ask for workers; what the user is told is in `warned`."""
        self.wanted[name] = count
        try:
            told = await self.manager.find(name).scale(count)
        except GatewayError:
            return
        self.warned += [told] if told else []
        await self.beat(name)

    async def beat(self, name, wanted=None):
        """The scheduler reports, if it is there, and so do the workers whose jobs run."""
        if wanted is not None:
            self.wanted[name] = wanted
        jobs = [self.driver.jobs[job] for job in self.manager.find(name).rows.by_job if job in self.driver.jobs]
        mine = [job for job in jobs if job.spec.role is Role.WORKER]
        if len(mine) == len(jobs):
            return
        running = [job.name for job in mine if job.report.state is JobState.RUNNING]
        addresses = "tls://n1:8786", "http://n1:8787", "http://n1:9000"
        active, closing = running[: self.wanted[name]], running[self.wanted[name] :]
        try:
            await self.manager.find(name).heartbeat(
                Heartbeat(*addresses, self.wanted[name], frozenset(active), frozenset(closing), [])
            )
        except GatewayError:
            return
        for job in mine:
            if job.name in closing and job.id in self.driver.jobs:
                self.driver.end(job.id)

    async def stop(self, name):
        """Its user stops it."""
        await self.manager.find(name).stop()

    async def report(self):
        """All schedulers report, again and again."""
        while True:
            await trio.sleep(15)
            for name in list(self.wanted):
                await self.beat(name)

    # ---- what is true

    def holders(self, user):
        """In whose name a user holds something."""
        return [("user", user), ("all", ""), *(("group", group) for group in self.users[user])]

    def _most(self, kind, name):
        if kind == "user":
            return self.limits.of_user(self.users[name])
        return self.limits.of_group(name) if kind == "group" else self.limits.of_all()

    def check(self, sums, user):
        """Note whether what a user, their groups and all hold exceeds a limit; that is found at the end."""
        for holder in self.holders(user):
            for kind, limit in self._most(*holder).items():
                amount = sums[holder, kind]
                if amount > limit.most:  # nothing that is raised here would get to the test
                    self.exceeded.append(f"{holder} has {amount} {kind} of {limit}")
                self.most_held[kind] = max(self.most_held[kind], amount)

    def _check_clusters(self, user):
        sums = Counter()
        for cluster in self.manager._clusters.values():
            if not cluster.ended:
                sums.update((holder, "clusters") for holder in self.holders(cluster.record.username))
        self.check(self.driver.held | sums, user)

    def check_books(self):
        """The ledger agrees with the batch system, in which nothing is under way."""
        books = self.manager._services.ledger._all.held
        for kind in KINDS:
            assert kind == "clusters" or self.driver.held[("all", ""), kind] == books[kind]

    async def stop_all(self):
        """Stop one cluster after the other; at once others take what is given back."""
        for cluster in self.manager._clusters.values():
            await cluster.stop()
            await cluster.wait_ended()
            await trio.testing.wait_all_tasks_blocked()
            self.check_books()
            assert self.hungry() == []
        ledger = self.manager._services.ledger
        assert set(ledger._all.held.values()) == {0}
        assert not ledger._users
        assert not ledger._all.accounts
        assert not ledger._all.waiting

    def hungry(self):
        """The clusters that could have more workers than they have, and want them."""
        found = []
        for name, wanted in self.wanted.items():
            cluster = self.manager.find(name)
            has = len(cluster.rows.workers)
            if cluster._machine.active and has < wanted and cluster._account.grant(1):
                found.append(name)
        return found


@asynccontextmanager
async def open_crowd(limits, **options):
    """A gateway with these limits, for a virtual clock: no certificates, and schedulers that take every message."""

    async def no_certificate(function, *arguments):
        await trio.lowlevel.checkpoint()
        return "cert", "key"

    async def tell(address, token, message, *, attempts):
        await trio.lowlevel.checkpoint()

    crowd = Crowd(limits)
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(manager_module.trio.to_thread, "run_sync", no_certificate)
        patches.setattr(cluster_module, "tell_scheduler", tell)
        async with open_house(limits=limits, driver=crowd.driver, **options) as house, trio.open_nursery() as nursery:
            crowd.manager, crowd.store = house.manager, house.store
            nursery.start_soon(crowd.report)
            yield crowd
            nursery.cancel_scope.cancel()
    assert crowd.exceeded == []
