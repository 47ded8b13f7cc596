"""Users go on while their batch system does not: one story, whatever the system."""

import time

from tests.e2e.test_slurm import (
    compute,
    create,
    events,
    scale,
    scale_when_running,
    status,
    told_that_nobody_answers,
    wait_until,
)


def live_through(house, trouble, seconds):
    """The names of two clusters that run afterwards: alice's, which did before, and bob's, asked for meanwhile.

    `trouble` is the context in which the batch system does not answer, entered for `seconds` at least, and until both
    users have been told.
    """
    old = house.client(create, {})
    house.client(scale_when_running, old, 1, timeout=90)
    assert house.client(compute, old, 1, timeout=120)
    with trouble:
        began = time.monotonic()
        # Its worker has connected, which the gateway may hear of a moment later than the client.
        assert house.client(scale, old, 3) in ([], ["1 worker waits in the queue"])
        new = house.client(create, {}, user="bob")
        assert house.client(compute, old, 1) == [1, 2, 3, 4, 5]
        wait_until(lambda: told_that_nobody_answers(house, old, "alice"))
        wait_until(lambda: told_that_nobody_answers(house, new, "bob"))
        wait_until(lambda: time.monotonic() - began > seconds, seconds + 60)
        assert house.client(status, old) == "RUNNING", events(house, old)
        assert house.client(status, new, user="bob") == "PENDING", events(house, new, "bob")
    assert house.client(compute, old, 3, timeout=150) == [1, 2, 3, 4, 5]
    wait_until(lambda: house.client(status, new, user="bob") == "RUNNING", 120)
    return old, new
