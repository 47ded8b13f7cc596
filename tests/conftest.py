"""What holds for all tests."""

import signal

import pytest
import trio
from hypothesis import HealthCheck, settings

from gateway.clusters import cluster
from gateway.clusters.scheduler_client import SchedulerUnreachable

# Whoever runs them in the background of a script (as CI does) starts them with SIGINT ignored. Every job that a test
# starts would inherit that, and not end at it: the gateway itself hears SIGINT, so that its jobs have the default.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def heard(monkeypatch):
    """What the cluster's scheduler was told."""
    messages = []

    async def tell(address, token, message, *, attempts):
        await trio.lowlevel.checkpoint()
        if messages and messages[0] == "deaf":
            raise SchedulerUnreachable("the scheduler does not take messages")
        messages.append((address, token, message))

    monkeypatch.setattr(cluster, "tell_scheduler", tell)
    return messages
