"""PBS's server is away or frozen, or has no history, while users go on: nothing is killed, nothing submitted twice."""

import pytest

from tests.e2e.outage import live_through
from tests.e2e.test_pbs import open_house, pbs_jobs, stop
from tests.e2e.test_slurm import connect_fails, create, events, status, wait_until
from tests.pbs.simulation import Simulation
from tests.slurm.real import allow_dask, folder_of_dask, installation
from tests.support.users import ensure_dask, ensure_users, is_root, miniconda

pytestmark = [
    pytest.mark.root,
    pytest.mark.host,
    pytest.mark.skipif(not is_root(), reason="jobs of several users need root"),
    pytest.mark.timeout(400),
]


@pytest.fixture
def simulation():
    ensure_dask()
    allow_dask()
    with (
        miniconda(installation(), ensure_users()),
        Simulation.start(queues={"dask": True}, memory=256 << 30) as simulation,
    ):
        yield simulation


def away(simulation):
    """Commands fail at once."""
    return simulation.away()


def frozen(simulation):
    """Commands hang."""
    return simulation.frozen()


@pytest.mark.parametrize(
    ("trouble", "seconds"),
    [
        pytest.param(away, 5, id="away"),
        pytest.param(frozen, 0, id="frozen"),
        pytest.param(away, 120, id="away-two-minutes", marks=pytest.mark.soak),
    ],
)
def test_users_go_on_while_the_server_does_not(simulation, trouble, seconds):
    with folder_of_dask() as folder, open_house(folder, simulation.bin, "c.PBSBackend.command_timeout = 5\n") as house:
        old, new = live_through(house, trouble(simulation), seconds)
        # The scheduler, the first worker, and the group of two: a request that hung may have arrived, but only once.
        assert len(pbs_jobs(simulation.bin, old)) == 3
        assert len(pbs_jobs(simulation.bin, new)) == 1
        assert house.client(connect_fails, old) is None
        house.client(stop, old)
        house.client(stop, new, user="bob")
        wait_until(lambda: not pbs_jobs(simulation.bin))


def test_queued_for_long_without_a_history_is_not_failed(simulation):
    """The original failed such clusters at its first look."""
    simulation.set(history=False, queues={"dask": False})
    config = "c.PBSBackend.cluster_start_timeout = 3\n"
    with folder_of_dask() as folder, open_house(folder, simulation.bin, config) as house:
        name = house.client(create, {})
        wait_until(lambda: any("Queue not started" in message for message in events(house, name)))
        # Looks are two seconds apart, and each asks qselect thrice.
        known = len(simulation.calls("qselect"))
        wait_until(lambda: len(simulation.calls("qselect")) > known + 9)
        assert house.client(status, name) == "PENDING"
        house.client(stop, name)
        simulation.set(queues={"dask": True})
        failing = house.client(create, {"scheduler_setup": "echo the message; exit 4"})
        assert "the message" in house.client(connect_fails, failing)
        wait_until(lambda: not pbs_jobs(simulation.bin))
