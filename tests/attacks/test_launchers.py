"""Users who own the launcher's process: they stop it, have it print anything, and end it."""

from contextlib import contextmanager, nullcontext, suppress

import pytest
import trio
import trio.testing
from attrs import frozen

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.driver import BatchDriver
from gateway.backends.batch.poller import Queue
from gateway.backends.launcher.client import MAX_ANSWER, Launcher
from gateway.backends.launcher.socket_client import SocketLauncher
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.backends.slurm.dialect import Slurm
from gateway.errors import AnswerLost, BackendUnavailable, JobError, JobRefused
from gateway.models import Role
from tests.attacks.memory import peak_growth
from tests.support.launcher_daemon import gateway_of, open_daemon
from tests.support.users import ensure_dask, ensure_users, is_root

# What stands for sudo and the launcher: alice's process does what alice has thought of.
PROGRAM = """
case $1 in alice) %s;; esac
cat >/dev/null
echo '{"ok": true, "returncode": 0, "stdout": "4711", "stderr": ""}'
"""

# The batch command that the daemon runs. Its process obeys alice, as she may trace it; the launcher's she can stop and
# end.
COMMAND = """
case $(id -un) in alice) %s;; esac
cat >/dev/null
echo 4711
"""


@frozen
class OwnedLauncher(Launcher):
    attack: str = ""

    def _argv(self, username):
        return ("/bin/sh", "-c", PROGRAM % self.attack, "launcher", username)


class Way:
    """A way to the launcher: `stop` and `kill` are what alice does to her process of it, `killed` what comes of it."""

    def __init__(self, launcher, *, stop, kill, killed, staging="/nowhere/{username}"):
        self.launcher = launcher
        self.stop = stop
        self.kill = kill
        self.killed = killed
        self.config = SlurmClusterConfig(staging_directory=staging)

    def driver(self, attack, command_timeout=60):
        backend = SlurmBackend(command_timeout=command_timeout)
        return BatchDriver(backend, self.launcher(attack), Queue(dialect=Slurm(), command_timeout=30))

    def spec(self, username, number=0):
        return JobSpec(
            cluster=ClusterRef(name=f"{username}{number}", username=username, config=self.config),
            role=Role.WORKER,
            group="w1",
            count=1,
            command=("dask", "worker"),
            environment={},
            secrets={},
        )


def by_sudo():
    return nullcontext(
        Way(
            lambda attack: OwnedLauncher(path="", impersonate=True, own_name="dask", attack=attack),
            stop="kill -STOP $$",
            kill="kill -KILL $$",
            killed=BackendUnavailable,
        )
    )


@contextmanager
def by_daemon():
    ensure_dask()
    ensure_users()
    with open_daemon("gateway = dask\ngroups = dask_users") as daemon, gateway_of("dask"):

        def launcher(attack):
            daemon.command("sbatch", COMMAND % attack)
            return SocketLauncher(daemon.path)

        staging = daemon.folder / "staging"
        staging.mkdir()
        staging.chmod(0o1777)
        yield Way(
            launcher,
            stop="kill -STOP $PPID $$",
            kill="kill -KILL $PPID $$",
            killed=AnswerLost,
            staging=f"{staging}/{{username}}",
        )


as_root = [pytest.mark.root, pytest.mark.skipif(not is_root(), reason="becomes other users")]


@pytest.fixture(params=[pytest.param(by_sudo, id="sudo"), pytest.param(by_daemon, id="daemon", marks=as_root)])
def way(request):
    with request.param() as way:
        yield way


async def test_stopped_launchers_of_one_user_delay_no_other(way):
    """Forty launchers that stop themselves; bob's submission does not wait for the deadline of any of them."""
    driver = way.driver(way.stop)
    ended = 0

    async def submit_for_alice(number):
        nonlocal ended
        with suppress(JobError):
            await driver.submit(way.spec("alice", number))
        ended += 1

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(submit_for_alice, number)
        await trio.testing.wait_all_tasks_blocked(0.1)
        for number in range(3):
            assert await driver.submit(way.spec("bob", number)) == ("4711",)
        assert ended == 0
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("way", [by_sudo], ids=["sudo"], indirect=True)
async def test_an_endless_answer_costs_little_memory_and_ends(way):
    driver = way.driver("exec cat /dev/zero")
    with peak_growth() as growth:
        for number in range(3):
            with pytest.raises(AnswerLost, match="more than 1048576 bytes"):
                await driver.submit(way.spec("alice", number))
    assert growth() < 32 * MAX_ANSWER
    assert await driver.submit(way.spec("bob")) == ("4711",)


@pytest.mark.parametrize("way", [pytest.param(by_daemon, id="daemon", marks=as_root)], indirect=True)
async def test_an_endless_answer_of_a_command_ends(way):
    """How little memory it costs the launcher is measured in backends/launcher/test_output.py."""
    driver = way.driver("exec cat /dev/zero", command_timeout=1)
    with pytest.raises(AnswerLost, match="sbatch did not answer within 1 seconds"):
        await driver.submit(way.spec("alice"))
    assert await driver.submit(way.spec("bob")) == ("4711",)


async def test_a_launcher_that_is_killed_harms_its_user_alone(way):
    driver = way.driver(way.kill)
    with pytest.raises(way.killed):
        await driver.submit(way.spec("alice"))
    assert await driver.submit(way.spec("bob")) == ("4711",)


@pytest.mark.parametrize("way", [by_sudo], ids=["sudo"], indirect=True)
@pytest.mark.parametrize(
    ("attack", "error"),
    [
        ("echo '{\"ok\": true}'; exit", AnswerLost),
        ("head -c 500000 /dev/zero | tr '\\0' '['; exit", BackendUnavailable),
    ],
)
async def test_a_launcher_that_lies_harms_its_user_alone(way, attack, error):
    driver = way.driver(attack)
    with pytest.raises(error):
        await driver.submit(way.spec("alice"))
    assert await driver.submit(way.spec("bob")) == ("4711",)


@pytest.mark.parametrize("way", [pytest.param(by_daemon, id="daemon", marks=as_root)], indirect=True)
@pytest.mark.parametrize(
    ("attack", "error", "words"),
    [
        ("echo '{\"ok\": true}'; exit", AnswerLost, "id"),
        ("echo 4711; echo 4712; exit", AnswerLost, "more than one line"),
        # Neither the conversation itself nor the memory of its process can be reached.
        ("echo 1 >/proc/$PPID/fd/1; echo x >/proc/$PPID/mem; echo no >&2; exit 1", JobRefused, "no"),
    ],
)
async def test_a_command_that_lies_harms_its_user_alone(way, attack, error, words):
    driver = way.driver(attack)
    with pytest.raises(error, match=words):
        await driver.submit(way.spec("alice"))
    assert await driver.submit(way.spec("bob")) == ("4711",)
