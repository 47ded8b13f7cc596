"""One cluster on a fake batch system, and everything around it."""

from contextlib import asynccontextmanager

import trio
import trio.testing

from gateway.clusters.cluster import Cluster
from gateway.clusters.hearing import Hearing
from gateway.clusters.heartbeat import Heartbeat
from gateway.clusters.ledger import Ledger
from gateway.clusters.scheduler_client import Asked
from gateway.clusters.services import Services
from gateway.clusters.silence import Answer
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import with_overrides
from gateway.models import ClusterRecord
from tests.support.fake_store import FakeStore
from tests.support.fakes import RULES, FakeDriver, FakeRoutes, adopted


class LoneCluster:
    """One cluster and everything around it.

    When it is asked, its scheduler gives the next of `answers`, the last one again and again; as a rule its port
    refuses. `asked` has the times.
    """

    def __init__(self, nursery, *, rules=RULES, overrides=None, config=None, driver=None, store=None, limits=None):
        self.driver = driver or FakeDriver()
        self.store = store or FakeStore()
        self.routes = FakeRoutes()
        self.hearing = Hearing()
        self.ledger = Ledger(limits)
        self.answers = [Answer.REFUSED]
        self.asked = []
        self.nursery = nursery
        self.rules = rules
        self.config = with_overrides(config or ClusterConfig(), overrides or {})
        self.record = ClusterRecord(
            name="c0ffee",
            username="alice",
            token="token",
            tls_cert="cert",
            tls_key="key",
            options={},
            config={},
            start_time=1,
        )

    async def open(self, record=None, submissions=()):
        services = Services(
            driver=self.driver,
            store=self.store,
            routes=self.routes,
            rules=self.rules,
            hearing=self.hearing,
            ledger=self.ledger,
            ask=self.ask,
        )
        account = adopted(self.config, self.ledger)
        self.cluster = Cluster(record or self.record, self.config, services, submissions, account=account)
        await self.store.save(self.cluster.record)
        self.scope = trio.CancelScope()

        async def run():
            with self.scope:
                await self.cluster.run()

        self.nursery.start_soon(run)
        return self.cluster

    async def ask(self, api_address, token):
        assert token == self.record.token
        self.asked.append(trio.current_time())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await trio.sleep(5 if answer is Answer.SILENT else 0)
        return Asked(answer, "no answer" if answer is Answer.SILENT else "")

    async def beat(self, count=0, *, active=(), closing=(), closed=(), host="node1"):
        await self.cluster.heartbeat(
            Heartbeat(
                f"tls://{host}:8786",
                f"http://{host}:8787",
                f"http://{host}:9000",
                count,
                frozenset(active),
                frozenset(closing),
                list(closed),
            )
        )

    async def running(self):
        await self.open()
        await self.driver.wait_submissions(1)
        self.driver.run("scheduler")
        await self.beat()

    async def status(self, status):
        with trio.fail_after(1000):
            seen = self.cluster.changes.count
            while self.cluster.record.status is not status:
                seen = await self.cluster.changes.wait(seen)

    @property
    def told(self):
        return [event.message for event in self.cluster.events]


@asynccontextmanager
async def open_house(**options):
    async with trio.open_nursery() as nursery:
        yield LoneCluster(nursery, **options)
        nursery.cancel_scope.cancel()


async def settle():
    await trio.testing.wait_all_tasks_blocked()
