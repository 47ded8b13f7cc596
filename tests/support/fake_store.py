"""A store in memory that a test can slow down or break."""

import hashlib
from collections.abc import Collection

import trio

from gateway.errors import GatewayError
from gateway.models import ClusterRecord, Document, SubmissionRecord


class FakeStore:
    """Keeps what is saved, in `clusters` and `submissions`; `broken` is raised by every write, `held` delays them."""

    def __init__(self) -> None:
        self.clusters: dict[str, ClusterRecord] = {}
        self.submissions: dict[tuple[str, str], SubmissionRecord] = {}
        self.documents: dict[tuple[str, str], Document] = {}
        self.history: list[ClusterRecord | SubmissionRecord | Document] = []
        self.broken: GatewayError | None = None
        self.held: trio.Event | None = None
        self.healthy = True

    async def _write(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.held is not None:
            await self.held.wait()
        if self.broken is not None:
            raise self.broken

    async def load(self) -> list[tuple[ClusterRecord, tuple[SubmissionRecord, ...]]]:
        await trio.lowlevel.checkpoint()
        return [
            (record, tuple(s for (cluster, _), s in self.submissions.items() if cluster == record.name))
            for record in self.clusters.values()
        ]

    async def save(self, *records: ClusterRecord | SubmissionRecord | Document) -> None:
        await self._write()
        for record in records:
            self.history.append(record)
            if isinstance(record, ClusterRecord):
                self.clusters[record.name] = record
            elif isinstance(record, Document):
                self.documents[record.kind, record.name] = record
            else:
                self.submissions[record.cluster, record.group] = record

    async def forget_submissions(self, cluster: str, *groups: str) -> None:
        await self._write()
        for group in groups:
            self.submissions.pop((cluster, group), None)

    async def forget_clusters(self, *names: str) -> None:
        await self._write()
        for name in names:
            self.clusters.pop(name, None)

    async def load_documents(self) -> list[Document]:
        await trio.lowlevel.checkpoint()
        return [document for _, document in sorted(self.documents.items())]

    async def forget_documents(self, kind: str, *names: str) -> None:
        await self._write()
        for name in names:
            self.documents.pop((kind, name), None)

    def derive_keys(self, purpose: bytes) -> tuple[bytes, ...]:
        return (hashlib.sha256(purpose).digest(),)

    def groups(self) -> Collection[str]:
        """The groups that are remembered."""
        return {group for _, group in self.submissions}
