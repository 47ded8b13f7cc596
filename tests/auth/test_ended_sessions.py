"""Sessions that were ended stay so, after a restart too, and what is remembered of them is bounded."""

import pytest

from gateway.auth.ended_sessions import KIND, MOST_OF_USER, EndedSessions
from gateway.store.errors import StoreError
from tests.support.fake_store import FakeStore

DAY = 86400.0


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


async def opened(store: FakeStore) -> EndedSessions:
    return EndedSessions(DAY, store.save, store.forget_documents, await store.load_documents())


async def test_one_session(store: FakeStore) -> None:
    ended = await opened(store)
    await ended.end("ann", "a", now=100.0)
    for again in (ended, await opened(store)):
        assert again.has_ended("ann", "a", begun=50.0)
        assert not again.has_ended("ann", "b", begun=50.0)
        assert not again.has_ended("bob", "a", begun=50.0)


async def test_all_of_a_user(store: FakeStore) -> None:
    ended = await opened(store)
    await ended.end("ann", "a", now=90.0)
    await ended.end_all("ann", now=100.0)
    for again in (ended, await opened(store)):
        assert again.has_ended("ann", "a", begun=50.0)
        assert again.has_ended("ann", "b", begun=100.0)
        assert not again.has_ended("ann", "c", begun=100.1)
        assert not again.has_ended("bob", "b", begun=50.0)
    assert len(store.documents) == 1


async def test_what_would_have_ended_by_itself_is_forgotten(store: FakeStore) -> None:
    ended = await opened(store)
    await ended.end("ann", "a", now=0.0)
    await ended.end("bob", "b", now=2.0)
    await ended.tidy(DAY + 1)
    assert [name for _, name in store.documents] == ["bob/b"]
    assert not ended.has_ended("ann", "a", 0.0)


async def test_whoever_ends_very_many_ends_all_older_ones(store: FakeStore) -> None:
    ended = await opened(store)
    for number in range(MOST_OF_USER + 1):
        await ended.end("ann", f"s{number}", now=float(number))
    assert len(store.documents) <= MOST_OF_USER
    assert all(ended.has_ended("ann", f"s{number}", float(number)) for number in range(MOST_OF_USER + 1))
    assert not ended.has_ended("ann", "new", MOST_OF_USER + 1.0)
    for number in range(MOST_OF_USER):  # those that have ended by themselves make room first
        await ended.end("bob", f"s{number}", now=0.0)
    await ended.end("bob", "last", now=2 * DAY)
    assert not ended.has_ended("bob", "other", 0.0)


async def test_a_store_that_fails_is_told(store: FakeStore) -> None:
    ended, store.broken = await opened(store), StoreError("The disk is full.")
    with pytest.raises(StoreError):
        await ended.end("ann", "a", now=1.0)
    assert ended.has_ended("ann", "a", 0.0)
    assert (KIND, "ann/a") not in store.documents
