from math import inf

import trio
import trio.lowlevel

from gateway.clusters.hearing import STALL, Hearing, _Rounds, noting_stalls


class Clock:
    """Says what a test wants."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


async def test_what_was_missed_and_when(autojump_clock):
    hearing = Hearing()
    assert hearing.deaf_at == -inf
    await trio.sleep(5)
    hearing.missed("the port was full")
    assert (hearing.deaf_at, hearing.reason) == (trio.current_time(), "the port was full")


async def test_a_round_that_takes_long_is_noted(autojump_clock):
    hearing, clock = Hearing(), Clock()
    rounds = _Rounds(hearing, clock)
    for _ in range(10):  # much to do, and each round is short
        clock.now += STALL
        rounds.before_io_wait(0)
        rounds.after_io_wait(0)
    assert hearing.deaf_at == -inf
    clock.now += STALL + 0.1
    rounds.before_io_wait(1000)
    assert hearing.reason == "the gateway was busy for 2.1 s"
    assert hearing.deaf_at == trio.current_time()


async def test_a_wait_may_take_as_long_as_it_wanted_to(autojump_clock):
    hearing, clock = Hearing(), Clock()
    rounds = _Rounds(hearing, clock)
    rounds.before_io_wait(1000)
    clock.now += 1000
    rounds.after_io_wait(1000)
    assert hearing.deaf_at == -inf
    rounds.before_io_wait(10)
    clock.now += 40  # the process was stopped, or had no processor
    rounds.after_io_wait(10)
    assert hearing.reason == "the gateway did not get to run for 30.0 s"


async def test_a_loop_that_stands_still_is_noted_before_any_clock_rings():
    hearing, clock = Hearing(), Clock()
    with noting_stalls(hearing, clock):
        await trio.lowlevel.checkpoint()
        assert hearing.deaf_at == -inf
        clock.now += 60
        await trio.lowlevel.checkpoint()
        assert hearing.reason == "the gateway was busy for 60.0 s"
    before = hearing.deaf_at
    clock.now += 60
    await trio.lowlevel.checkpoint()
    assert hearing.deaf_at == before
