"""The demo shows what went wrong when it fails. (That it works is what `make demo` shows.)"""

import re
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from gateway import log
from gateway.server.demo import program as demo
log.set_up("CRITICAL")
sys.exit(demo.run(False, dict([sys.argv[1].split("=", 1)])))
"""


def demo(option):
    command = [sys.executable, "-c", PROGRAM, option]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("ClusterConfig.worker_cmd=/nonexistent/dask", "failed: workers could not be submitted: The command"),
        ("ClusterConfig.scheduler_cmd=/nonexistent/dask", "failed to start: the scheduler could not be submitted: The"),
        ("ClusterConfig.scheduler_cmd=/bin/false", "failed to start: the scheduler's job ended: exit code 1"),
    ],
)
def test_a_demo_that_fails_shows_the_reason_and_the_events(option, reason):
    code, stdout, stderr = demo(option)
    assert code == 1
    assert "Traceback" not in stdout + stderr
    assert re.search(rf"\[client\] that did not work: Cluster \w+ {re.escape(reason)}", stdout)
    told = stdout.partition("what happened to the cluster:")[2]
    assert re.search(r"\d\d:\d\d:\d\d  F(?:ailed|ailed to start): ", told)
    assert stdout.endswith("the demo failed; what went wrong stands above\n")
