"""The guide on a machine with a real systemd: the service in both forms, by sudo and by the launcher daemon."""

import pytest

from tests.systemd.machine import needs_machine, played

pytestmark = needs_machine


@pytest.fixture(scope="module")
def play():
    with played() as seen:
        yield seen


@pytest.fixture
def seen(play, request):
    """What the step of the test's name has seen."""
    name = request.node.name.removeprefix("test_")
    assert name in play, f"not reached: {[step['error'] for step in play.values() if 'error' in step]}"
    assert "error" not in play[name], play[name]["error"]
    return play[name]["seen"]


#: A worker: its uid, its umask, and whether it may lock memory as sites with InfiniBand need it.
def workers(seen):
    return {tuple(worker[1:]) for worker in seen["workers"]}


def test_installation(seen):
    assert seen is None


def test_service(seen):
    assert (seen["Type"], seen["ActiveState"], seen["NRestarts"]) == ("notify", "active", "0")
    assert seen["StatusText"] == "serving at [::]:8000"
    assert seen["WatchdogUSec"] == "2min"
    assert [line for line in seen["sockets"] if line.startswith("Listen=")] == [
        f"Listen=[::]:{port} (Stream)" for port in (8000, 8001, 8002)
    ]
    assert seen["verify"] == ""


def test_computes_with_sudo(seen):
    assert seen["result"] == 6
    assert seen["jobs"] == 2
    assert seen["administrators"] == "[]\n"
    assert workers(seen) == {("0o22", seen["limits"])}
    assert seen["sessions"] > 0


def test_the_doctor_with_sudo(seen):
    (problem,) = seen
    assert problem.startswith("configuration: ANYBODY CAN ACT AS ANYBODY")


def test_restarts_keep_clusters_and_refuse_nobody(seen):
    assert seen["same jobs"]
    assert not seen["same process"]
    assert seen["status"] == "serving at [::]:8000; 1 cluster"
    assert seen["result"] == 6
    assert seen["connected"] > 0
    assert seen["refused"] == 0


def test_the_watchdog_ends_a_frozen_gateway(seen):
    assert seen["told"] == [
        "dask-gateway.service: Watchdog timeout (limit 5s)!",
        "dask-gateway.service: Failed with result 'watchdog'.",
    ]
    assert seen["how it ended"] == ["Fatal Python error: Aborted"]
    assert seen["same jobs"]
    assert seen["result"] == 6


def test_mistakes_are_not_tried_for_ever(seen):
    assert seen["failed"]
    (line,) = seen["says"]
    assert "has no option 'adress' (did you mean 'address'?)" in line
    assert "status=2" in seen["status"][0]


def test_a_stopped_service_is_started_by_a_connection(seen):
    assert seen == {"stopped": "inactive", "answer": {"status": "pass"}}


def test_the_daemon_takes_over(seen):
    exposure = seen["exposure"]
    assert exposure["without"] < 2.0
    assert exposure["daemon"] <= 3.0  # it is root's, and becomes others
    assert exposure["with sudo"] <= 6.7
    assert seen["process"] == {"NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0000000000000000"}
    assert seen["socket"] == "0o600"
    assert seen["administrators"] == "[]\n"
    assert seen["daemon"] == "inactive"  # until it is needed
    assert seen["same jobs"]


def test_the_doctor_with_the_daemon(seen):
    (problem,) = seen
    assert problem.startswith("configuration: ANYBODY CAN ACT AS ANYBODY")


def test_computes_with_the_daemon(seen):
    assert seen["result"] == 6
    assert seen["new jobs"] == 1
    assert workers(seen) == {("0o22", seen["limits"])}
    assert seen["new sessions"] == 0
    (line,) = seen["journal"]
    assert line.endswith("are obeyed")
    assert seen["health"] == {"status": "pass"}


def test_what_the_daemon_refuses(seen):
    assert seen.pop("nothing")["ok"]
    refusals = {name: answer["error"] for name, answer in seen.items() if not answer["ok"]}
    for name, words in (
        ("alice", "Permission denied"),
        ("root", "obeys uid"),
        ("as root", "not run as root"),
        ("as carol", "is unknown"),
        ("as dask", "dask may not have jobs"),
        ("as daemon", "is below the minimum_uid"),
        ("other command", "qdel is not among them"),
        ("other path", "is not run as a user"),
    ):
        assert words in refusals.pop(name)
    assert not refusals


def test_the_daemon_is_started_when_it_is_needed(seen):
    assert seen["stopped"] == "inactive"
    assert seen["answer"]["ok"]


def test_it_stops(seen):
    assert (seen["ActiveState"], seen["Result"], seen["ExecMainStatus"]) == ("inactive", "success", "0")
    assert seen["daemon"] == {"ActiveState": "inactive", "Result": "success"}
    assert seen["socket"] is False
