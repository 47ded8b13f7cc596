"""Users who own the launcher's process: they stop it, have it print anything, and end it."""

from contextlib import suppress

import pytest
import trio
import trio.testing
from attrs import frozen

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.driver import BatchDriver
from gateway.backends.batch.poller import Queue
from gateway.backends.launcher.client import MAX_ANSWER, Launcher
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.backends.slurm.dialect import Slurm
from gateway.errors import AnswerLost, BackendUnavailable, JobError
from gateway.models import Role
from tests.attacks.memory import peak_growth

# What stands for sudo and the launcher: alice's process does what alice has thought of.
PROGRAM = """
case $1 in alice) %s;; esac
cat >/dev/null
echo '{"ok": true, "returncode": 0, "stdout": "4711", "stderr": ""}'
"""


@frozen
class OwnedLauncher(Launcher):
    attack: str = ""

    def _argv(self, username):
        return ("/bin/sh", "-c", PROGRAM % self.attack, "launcher", username)


def a_driver(attack):
    launcher = OwnedLauncher(path="", impersonate=True, own_name="dask", attack=attack)
    return BatchDriver(SlurmBackend(command_timeout=60), launcher, Queue(dialect=Slurm(), command_timeout=30))


def a_spec(username, number=0):
    return JobSpec(
        cluster=ClusterRef(name=f"{username}{number}", username=username, config=SlurmClusterConfig()),
        role=Role.WORKER,
        group="w1",
        count=1,
        command=("dask", "worker"),
        environment={},
        secrets={},
    )


async def test_stopped_launchers_of_one_user_delay_no_other(nursery):
    """Forty launchers that stop themselves; bob's submission does not wait for the deadline of any of them."""
    driver = a_driver("kill -STOP $$")
    ended = 0

    async def submit_for_alice(number):
        nonlocal ended
        with suppress(JobError):
            await driver.submit(a_spec("alice", number))
        ended += 1

    for number in range(40):
        nursery.start_soon(submit_for_alice, number)
    await trio.testing.wait_all_tasks_blocked(0.1)
    for number in range(3):
        assert await driver.submit(a_spec("bob", number)) == ("4711",)
    assert ended == 0
    nursery.cancel_scope.cancel()


async def test_an_endless_answer_costs_little_memory_and_ends():
    driver = a_driver("exec cat /dev/zero")
    with peak_growth() as growth:
        for number in range(3):
            with pytest.raises(AnswerLost, match="more than 1048576 bytes"):
                await driver.submit(a_spec("alice", number))
    assert growth() < 32 * MAX_ANSWER
    assert await driver.submit(a_spec("bob")) == ("4711",)


async def test_a_launcher_that_is_killed_or_lies_harms_its_user_alone():
    for attack, error in (
        ("kill -KILL $$", BackendUnavailable),
        ("echo '{\"ok\": true}'; exit", AnswerLost),
        ("head -c 500000 /dev/zero | tr '\\0' '['; exit", BackendUnavailable),
    ):
        driver = a_driver(attack)
        with pytest.raises(error):
            await driver.submit(a_spec("alice"))
        assert await driver.submit(a_spec("bob")) == ("4711",)
