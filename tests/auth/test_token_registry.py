"""The personal tokens that there are: made, checked, revoked, expired, and kept through restarts."""

from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

from gateway.auth.token_record import DAY, Wish
from gateway.auth.token_registry import PERIOD, TokenRegistry
from gateway.auth.token_text import Presented, written
from gateway.errors import InvalidRequest, TryAgainLater, Unauthorized
from gateway.models import Document
from gateway.store.errors import StoreUnavailable
from tests.support.fake_store import FakeStore

WISH = Wish("nightly", frozenset({"clusters"}), 30 * DAY)


class Clock:
    """The time, which a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


class House:
    """A store, and the registries of the processes that have it one after the other."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.now = Clock()

    def open(self, **options: Any) -> TokenRegistry:
        documents = [*self.store.documents.values(), Document("other", "a/b", {"x": 1})]
        return TokenRegistry(self.store.save, self.store.forget_documents, documents, now=self.now, **options)

    def stored(self) -> set[str]:
        return {name for kind, name in self.store.documents if kind == "token"}


@pytest.fixture
def house() -> House:
    return House()


def refused(registry: TokenRegistry, text: str, claimed: str | None = None) -> str:
    with pytest.raises(Unauthorized) as caught:
        registry.check(Presented(text, claimed))
    said = str(caught.value)
    assert text[15:] not in said or not text[15:]
    return said


async def test_a_new_token_is_good_until_it_ends(house: House) -> None:
    registry = house.open()
    token, text = await registry.make("ann", WISH, groups={"g"}, method="simple")
    assert registry.check(Presented(text)) == token
    assert registry.check(Presented(text, "ann")) == token
    assert registry.of("ann") == [token] == registry.all()
    assert registry.of("bob") == []
    assert (token.user, token.label, token.groups, token.method) == ("ann", "nightly", {"g"}, "simple")
    house.now.seconds += 30 * DAY - 1
    assert registry.check(Presented(text)) == token
    assert registry.has_ended(token) == ""
    house.now.seconds += 1
    assert registry.has_ended(token) == "expired"
    assert "has expired on 1970-02-11 at 13:46 UTC" in refused(registry, text)


async def test_the_store_has_no_secret(house: House) -> None:
    _, text = await house.open().make("ann", WISH)
    assert text[15:] not in repr([document.content for document in house.store.documents.values()])


async def test_they_outlive_a_restart(house: House) -> None:
    registry = house.open()
    kept, text = await registry.make("ann", WISH)
    ended, ended_text = await registry.make("ann", WISH)
    await registry.revoke(ended)
    registry.note_use(kept)
    await registry.tidy()
    registry = house.open()
    assert registry.check(Presented(text)) == kept
    assert registry.used(kept) == 1_000_000_000
    assert "was revoked" in refused(registry, ended_text)


async def test_what_is_refused(house: House) -> None:
    registry = house.open()
    token, text = await registry.make("ann", WISH)
    assert "is not one of user 'bob'" in refused(registry, text, "bob")
    assert "is not one of user ''" in refused(registry, text, "")
    assert f"There is no personal token {token.id} here" in refused(registry, written(token.id, "x" * 43))
    assert "There is no personal token aaaaaaaaaa here" in refused(registry, written("a" * 10, "x" * 43))
    assert "has a typo" in refused(registry, text[:-1])
    with pytest.raises(Unauthorized, match="sent as the password"):
        registry.check(Presented(text, misplaced=True))
    assert registry.used(token) is None


async def test_nothing_is_good_while_the_store_cannot_keep_it(house: House) -> None:
    registry = house.open()
    house.store.broken = StoreUnavailable("The database is full")
    with pytest.raises(StoreUnavailable):
        await registry.make("ann", WISH)
    assert registry.all() == []


async def test_a_revoked_one_is_refused_while_it_is_being_forgotten(house: House) -> None:
    registry = house.open()
    token, text = await registry.make("ann", WISH)
    house.store.held = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.revoke, token)
        await trio.testing.wait_all_tasks_blocked()
        assert "was revoked" in refused(registry, text)
        assert house.stored() == {token.id}
        nursery.cancel_scope.cancel()  # the client has hung up
    assert "was revoked" in refused(registry, text)
    house.store.held = None
    await registry.revoke(token)
    assert (house.stored(), registry.all()) == (set(), [])


async def test_a_revoked_one_is_refused_when_it_cannot_be_forgotten(house: House) -> None:
    registry = house.open()
    token, text = await registry.make("ann", WISH)
    house.store.broken = StoreUnavailable("The database is full")
    with pytest.raises(StoreUnavailable):
        await registry.revoke(token)
    assert "was revoked" in refused(registry, text)
    assert registry.has_ended(token) == "revoked"
    await registry.tidy()
    assert house.stored() == {token.id}
    house.store.broken = None
    await registry.tidy()
    assert (house.stored(), registry.all()) == (set(), [])


async def test_uses_are_noted_at_once_and_stored_later(house: House) -> None:
    registry = house.open()
    token, _ = await registry.make("ann", WISH)
    writes = len(house.store.history)
    for _ in range(10):
        house.now.seconds += 1
        registry.note_use(token)
    assert registry.used(token) == 1_000_001_000  # uses within a minute are one
    assert len(house.store.history) == writes
    await registry.tidy()
    await registry.tidy()
    assert len(house.store.history) == writes + 1
    house.store.broken = StoreUnavailable("The database is full")
    house.now.seconds += 100
    registry.note_use(token)
    await registry.tidy()
    house.store.broken = None
    await registry.tidy()
    assert house.open().used(token) == 1_000_110_000


async def test_a_use_that_is_stored_late_brings_no_token_back(house: House) -> None:
    registry = house.open()
    token, _ = await registry.make("ann", WISH)
    registry.note_use(token)
    house.store.broken = StoreUnavailable("The database is full")
    with pytest.raises(StoreUnavailable):
        await registry.revoke(token)
    house.store.broken = None
    await registry.tidy()
    assert house.stored() == set()


async def test_expired_ones_are_forgotten_in_time(house: House) -> None:
    registry = house.open()
    token, text = await registry.make("ann", WISH)
    house.now.seconds += 36 * DAY
    await registry.tidy()
    assert "has expired" in refused(registry, text)
    house.now.seconds += 1 * DAY
    await registry.tidy()
    assert house.stored() == set()
    assert "has expired long ago" in refused(registry, text)
    assert registry.get(token.id) is None


async def test_a_user_has_only_so_many(house: House) -> None:
    registry = house.open(most_of_user=2)
    first, _ = await registry.make("ann", Wish("", frozenset({"read"}), 10))
    await registry.make("ann", WISH)
    with pytest.raises(InvalidRequest, match=r"User ann has 2 personal tokens.*tokens_per_user"):
        await registry.make("ann", WISH)
    await registry.make("bob", WISH)
    house.now.seconds += 10
    await registry.make("ann", WISH)  # in the place of the one that has expired
    assert first.id not in house.stored()
    assert len(registry.of("ann")) == 2


async def test_many_that_ask_at_once_have_only_so_many(house: House) -> None:
    registry = house.open(most_of_user=2)
    made = []

    async def make() -> None:
        with suppress(InvalidRequest):
            made.append(await registry.make("ann", WISH))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(make)
    assert len(made) == 2 == len(house.stored())


async def test_all_users_have_only_so_many(house: House) -> None:
    registry = house.open(most=2)
    for name in ("ann", "bob"):
        await registry.make(name, WISH)
    with pytest.raises(TryAgainLater, match="no room"):
        await registry.make("cat", WISH)


async def test_a_shorter_life_holds_for_those_that_are_there(house: House) -> None:
    registry = house.open()
    _, text = await registry.make("ann", WISH, method="simple")
    _, by_root = await registry.make("ann", WISH, made_by="root")
    house.now.seconds += DAY
    stricter = house.open(longest=DAY)
    assert "has expired" in refused(stricter, text)
    stricter.check(Presented(by_root))


async def test_the_newest_come_first(house: House) -> None:
    registry = house.open()
    made = []
    for _ in range(3):
        made.insert(0, (await registry.make("ann", WISH))[0])
        house.now.seconds += 1
    assert registry.of("ann") == made


async def test_without_a_store_they_live_as_long_as_the_process() -> None:
    registry = TokenRegistry()
    token, text = await registry.make("ann", WISH)
    assert registry.check(Presented(text)) == token
    await registry.revoke(token)
    assert registry.all() == []


async def test_they_are_kept_in_the_background_and_at_the_end(house: House, autojump_clock: Any) -> None:
    registry = house.open()
    token, _ = await registry.make("ann", WISH)
    async with registry.kept():
        registry.note_use(token)
        await trio.sleep(PERIOD + 1)
        assert house.open().used(token) == 1_000_000_000
        house.now.seconds += 100
        registry.note_use(token)
    assert house.open().used(token) == 1_000_100_000


async def test_a_database_that_hangs_does_not_hold_up_the_end(house: House, autojump_clock: Any) -> None:
    registry = house.open()
    token, _ = await registry.make("ann", WISH)
    house.store.held = trio.Event()
    with trio.fail_after(10):
        async with registry.kept():
            registry.note_use(token)
