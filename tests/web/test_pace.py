"""Whoever gives more work than their share waits, and nobody else."""

import pytest
import trio

from gateway.web.pace import Pace


async def test_a_burst_is_free_and_then_the_rate_holds(autojump_clock):
    pace = Pace(10, 30)
    start = trio.current_time()
    for _ in range(3):
        await pace.spend("mallory", 10)
    assert trio.current_time() == start
    for _ in range(5):
        await pace.spend("mallory", 10)
    assert trio.current_time() == pytest.approx(start + 5)
    await pace.spend("alice", 30)
    assert trio.current_time() == pytest.approx(start + 5)


async def test_who_rests_may_begin_anew(autojump_clock):
    pace = Pace(10, 30)
    await pace.spend("alice", 30)
    await trio.sleep(3)
    start = trio.current_time()
    await pace.spend("alice", 30)
    assert trio.current_time() == start


async def test_only_the_busy_are_remembered(autojump_clock):
    pace = Pace(10, 30)
    for number in range(10_000):
        if number % 50 == 0:
            await trio.sleep(1)
        await pace.spend(str(number), 10)
    assert len(pace._full_at) < 200
