"""Virtual time only: every test that waits runs on trio's autojump clock."""

import itertools

import pytest
import structlog
import trio
from trio.testing import MockClock

from gateway import metrics
from gateway.errors import JobRefused
from gateway.supervise import TooManyRestarts, describe, supervise


class Child:
    """Runs its steps one after another: an error to raise, or seconds to live before a clean return."""

    def __init__(self, *steps: BaseException | float) -> None:
        self.steps = list(steps)
        self.starts: list[float] = []

    async def run(self) -> None:
        self.starts.append(trio.current_time())
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        await trio.sleep(step)


def started_after(child: Child) -> list[float]:
    """The pauses between starts, in seconds."""
    return [round(later - earlier, 6) for earlier, later in itertools.pairwise(child.starts)]


async def test_returns_when_the_child_returns(autojump_clock: MockClock) -> None:
    child = Child(3.0)
    await supervise("child", child.run)
    assert len(child.starts) == 1


async def test_delays_double_up_to_the_longest(autojump_clock: MockClock) -> None:
    child = Child(*[ValueError("x")] * 6, 0.0)
    await supervise("child", child.run, limit=9, base_delay=1.0, max_delay=10.0, uniform=lambda: 1.0)
    assert started_after(child) == [1, 2, 4, 8, 10, 10]


async def test_delays_are_jittered(autojump_clock: MockClock) -> None:
    draws = iter([0.0, 0.5, 1.0])
    child = Child(*[ValueError("x")] * 3, 0.0)
    await supervise("child", child.run, base_delay=1.0, uniform=lambda: next(draws))
    assert started_after(child) == [0.5, 1.5, 4.0]


async def test_too_many_failures_end_it_and_name_the_last_error(autojump_clock: MockClock) -> None:
    child = Child(ValueError("first"), ValueError("second"), JobRefused("No such queue."))
    with pytest.raises(TooManyRestarts) as caught:
        await supervise("watching jobs", child.run, limit=3, window=60)
    assert str(caught.value) == "watching jobs failed 3 times within 60 seconds, at last with: No such queue."
    assert isinstance(caught.value.__cause__, ExceptionGroup)


async def test_a_limit_of_one_never_restarts(autojump_clock: MockClock) -> None:
    child = Child(ValueError("boom"))
    with pytest.raises(TooManyRestarts, match="child failed at its only attempt: ValueError: boom"):
        await supervise("child", child.run, limit=1)


async def test_failures_outside_the_window_are_forgotten(autojump_clock: MockClock) -> None:
    starts: list[float] = []

    async def fail_now_and_then() -> None:
        starts.append(trio.current_time())
        if len(starts) > 8:
            return
        await trio.sleep(40)
        raise OSError("lost")

    # Never more than two failures within 60 s; so the delay never grows beyond that of the second.
    await supervise("child", fail_now_and_then, limit=3, window=60, base_delay=1.0, uniform=lambda: 1.0)
    pauses = [later - earlier - 40 for earlier, later in itertools.pairwise(starts)]
    assert [round(pause, 6) for pause in pauses] == [1, 2, 2, 2, 2, 2, 2, 2]


async def test_a_group_of_errors_is_a_failure(autojump_clock: MockClock) -> None:
    child = Child(ExceptionGroup("", [ValueError("a"), ExceptionGroup("", [KeyError("b"), ValueError("a")])]), 0.0)
    await supervise("child", child.run)
    child = Child(ExceptionGroup("", [ValueError("a"), KeyError("b")]))
    with pytest.raises(TooManyRestarts, match="ValueError: a; KeyError: 'b'"):
        await supervise("child", child.run, limit=1)


@pytest.mark.parametrize("wait", ["running", "pausing"])
async def test_cancellation_passes_through(autojump_clock: MockClock, wait: str) -> None:
    child = Child(1000.0) if wait == "running" else Child(ValueError("x"))
    with trio.move_on_after(5) as scope:
        await supervise("child", child.run, base_delay=100.0)
    assert scope.cancelled_caught
    assert len(child.starts) == 1


async def test_cancellation_together_with_an_error_is_still_a_cancellation(autojump_clock: MockClock) -> None:
    async def fail_when_cancelled() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

    with trio.move_on_after(5) as scope:
        await supervise("child", fail_when_cancelled)
        pytest.fail("went on after a cancellation")  # pragma: no cover
    assert scope.cancelled_caught


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
async def test_what_is_no_exception_passes_through(autojump_clock: MockClock, error: BaseException) -> None:
    with pytest.raises(BaseException) as caught:
        await supervise("child", Child(error).run)
    assert caught.value is error


async def test_restarts_are_logged(autojump_clock: MockClock) -> None:
    with structlog.testing.capture_logs() as entries:
        await supervise("heartbeats", Child(ValueError("x"), 0.0).run, uniform=lambda: 1.0)
    (entry,) = entries
    assert (entry["event"], entry["child"], entry["delay"]) == ("restarting after a failure", "heartbeats", 0.1)
    assert entry["log_level"] == "warning"
    assert isinstance(entry["exc_info"], ExceptionGroup)


async def test_restarts_are_counted_from_zero_on_and_by_kind(autojump_clock: MockClock) -> None:
    def counted(kind: str) -> float | None:
        return metrics.REGISTRY.get_sample_value("dask_gateway_child_restarts_total", {"child": kind})

    seen: list[float | None] = []

    async def run() -> None:
        seen.append(counted("child of a test"))
        if len(seen) < 3:
            raise ValueError("x")

    await supervise("child 17 of a test", run, kind="child of a test")
    assert seen == [0, 1, 2]
    assert counted("child 17 of a test") is None


def test_describe() -> None:
    assert describe(JobRefused("No such queue.")) == "No such queue."
    assert describe(ValueError()) == "ValueError"
    assert describe(OSError(28, "No space left")) == "OSError: [Errno 28] No space left"
