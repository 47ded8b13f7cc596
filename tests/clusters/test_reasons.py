"""The sentences about clusters that do not run."""

import pytest

from gateway.clusters.reasons import BY_GATEWAY, BY_SCHEDULER, BY_USER, by_scheduler, cannot_start, not_running
from gateway.models import ClusterStatus
from tests.support.houses import record

RAN = {"scheduler_address": "tls://n1:8786"}
WHY = {"reason": "no such partition"}
IDLE = by_scheduler(600)
S = ClusterStatus


@pytest.mark.parametrize(
    ("status", "fields", "words"),
    [
        (S.PENDING, {}, " yet: its scheduler has not reported"),
        (S.STOPPING, WHY, ": it failed to start: no such partition"),
        (S.FAILED, WHY, ": it failed to start: no such partition"),
        (S.FAILED, WHY | RAN, ": it failed: no such partition"),
        (S.STOPPING, RAN, ": it is being stopped"),
        (S.STOPPED, RAN, ": it has stopped"),  # recorded by an earlier version
        (S.STOPPING, {"stopped": BY_USER}, ": it is being stopped: its user has stopped it"),
        (S.STOPPED, {"stopped": BY_USER}, ": it has stopped: its user has stopped it"),
        (
            S.STOPPED,
            {"stopped": IDLE},
            ": it has stopped: it was idle for 10 min (its idle timeout) and stopped itself",
        ),
    ],
)
def test_why_it_does_not_run(status, fields, words):
    assert not_running(record(status=status, **fields)) == "Cluster c0ffee is not running" + words


@pytest.mark.parametrize(
    ("status", "fields", "words"),
    [
        (S.PENDING, {}, ""),
        (S.RUNNING, RAN, ""),
        (S.STOPPED, {"stopped": BY_USER}, ""),
        (S.STOPPED, {}, ""),
        (S.FAILED, WHY, "Cluster c0ffee failed to start: no such partition"),
        (S.STOPPING, WHY, "Cluster c0ffee failed to start: no such partition"),
        (S.FAILED, WHY | RAN, "Cluster c0ffee failed: no such partition"),
        (S.STOPPED, {"stopped": IDLE}, f"Cluster c0ffee is already stopped: {IDLE}"),
        (S.STOPPED, {"stopped": BY_GATEWAY}, f"Cluster c0ffee is already stopped: {BY_GATEWAY}"),
    ],
)
def test_why_nobody_needs_to_wait_for_it(status, fields, words):
    assert cannot_start(record(status=status, **fields)) == words


def test_a_scheduler_without_an_idle_timeout_has_reasons_of_its_own():
    assert by_scheduler(0) == BY_SCHEDULER
    assert "for 1 h " in by_scheduler(3600.0)
