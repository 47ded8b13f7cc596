"""To wait until a driver has looked at its batch system again, whatever it has found there."""

from gateway.backends.watch import Watch
from gateway.models import JobReport


async def looks(watch: Watch, count: int) -> list[JobReport]:
    """Have the driver look so many times more, and return what has changed meanwhile."""
    found: list[JobReport] = []
    watch.awaits_answer = True
    for _ in range(count + 1):  # one may be under way
        watch.poll_now()
        found += (await watch.wait_changes()).values()
    watch.awaits_answer = False
    return found
