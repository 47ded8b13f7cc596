"""What connections may send that leads to nothing."""

import hpack
import trio
from trio.testing import wait_all_tasks_blocked

from gateway.web.http2_connection import _Encoder
from gateway.web.http_budget import ALL_BURST, ALL_RATE, BURST, LIGHT_BURST, RATE, Budget, SharedBudget


async def test_a_budget_for_each_second(autojump_clock):
    budget = Budget(SharedBudget())
    assert budget.spend(BURST)
    await trio.sleep(1)
    assert budget.spend(RATE - 1)
    assert not budget.exhausted
    assert not budget.spend(2)
    await trio.sleep(1000)
    assert not budget.spend(0)  # then and from then on
    assert budget.exhausted


async def test_what_is_not_used_is_not_saved(autojump_clock):
    budget = Budget(SharedBudget())
    await trio.sleep(1000)
    assert budget.spend(BURST)
    assert not budget.spend(1)


async def test_acknowledgements_of_what_was_sent_are_free(autojump_clock):
    budget = Budget(SharedBudget())
    for _ in range(10 * int(BURST)):
        budget.earn(1024)
        assert budget.spend(2)


def overdrawn(shared):
    """All together have sent too much, by one unit."""
    for _ in range(int(ALL_BURST / BURST)):
        assert Budget(shared).spend(BURST)
    assert Budget(shared).spend(1)


async def test_while_all_send_too_much_who_has_sent_much_waits(autojump_clock):
    shared = SharedBudget()
    heavy, light = Budget(shared), Budget(shared)
    overdrawn(shared)
    heavy.spend(LIGHT_BURST + 1)
    light.spend(LIGHT_BURST - 1)
    started = trio.current_time()
    await light.turn()
    assert trio.current_time() == started
    await heavy.turn()
    assert 0 < trio.current_time() - started <= (LIGHT_BURST * 2 + 3) / ALL_RATE
    await heavy.turn()  # all is well again


async def test_and_nothing_is_added_to_what_it_has_left(autojump_clock):
    shared = SharedBudget()
    one, other = Budget(shared), Budget(shared)
    overdrawn(shared)
    for _ in range(10):
        other.spend(ALL_RATE / 10)
        one.spend(BURST / 10)
        await trio.sleep(0.1)
    assert not one.spend(BURST / 100)


async def test_who_waits_can_be_cancelled(autojump_clock):
    shared = SharedBudget()
    budget = Budget(shared)
    overdrawn(shared)
    budget.spend(LIGHT_BURST + 1)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(budget.turn)
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught


def test_answers_are_compressed_with_a_small_table_whatever_the_peer_has_room_for():
    encoder, decoder = _Encoder(), hpack.Decoder()
    decoder.max_allowed_table_size = 1 << 30
    for size in (1 << 30, 0, 1 << 20, 100, 1 << 30) * 100:
        encoder.header_table_size = size
    assert len(encoder.table_size_changes) <= 2
    for number in range(2000):
        header = ("x-number", str(number))
        assert [tuple(each) for each in decoder.decode(encoder.encode([header]))] == [header]
    assert encoder.header_table_size == 4096
    assert len(encoder.header_table.dynamic_entries) < 150
