"""`dask-gateway-server events`, `logs`, `users` and `limits`, over a real socket."""

import json

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from gateway.auth.simple import SimpleAuthenticator
from gateway.config.cluster import ClusterConfig
from gateway.config.limits import Limits, TotalLimits, UserLimits
from tests.support.houses import open_house, with_admin_socket
from tests.web.test_cluster_commands import Commands

LIMITS = Limits(users=UserLimits(max_cores=8), total=TotalLimits(max_memory=64 * 2**30))
CONFIG = ClusterConfig(worker_cores=2, worker_memory=4 * 2**30, scheduler_memory=2**30)


@pytest.fixture
async def house(tmp_path):
    tmp_path.chmod(0o755)
    authenticator = SimpleAuthenticator(password="p")
    async with (
        open_house(authenticator=authenticator, limits=LIMITS, cluster_config=CONFIG) as house,
        with_admin_socket(house, tmp_path / "a.sock"),
    ):
        yield house


@pytest.fixture
def command(house, tmp_path, capsys):
    with capture_logs():  # they would be printed among what the commands print
        yield Commands(tmp_path / "a.sock", capsys)


async def running(house, user="alice"):
    created = await house.ask("POST", "/api/v1/clusters/", user=user, body={}, password="p")
    name = created.json["name"]
    await wait_all_tasks_blocked()
    assert (await house.beat(name)).status == 200
    return name


async def test_events(house, command):
    name = await running(house)
    code, out, _ = await command("events", name, "--table")
    assert code == 0
    assert [line.split("  ")[1] for line in out.splitlines()] == [
        "The scheduler is job 1_0",
        "The scheduler is running",
    ]
    code, out, _ = await command("events", name)
    assert json.loads(out.splitlines()[0])["message"] == "The scheduler is job 1_0"
    code, _, err = await command("events", "nobody")
    assert (code, err) == (1, "Cluster nobody not found\n")


async def test_events_are_followed_to_the_end(house, command):
    name = await running(house)
    async with trio.open_nursery() as nursery:

        async def stop():
            while not house.streams.open:
                await wait_all_tasks_blocked(0.01)
            await house.ask("DELETE", f"/api/v1/clusters/{name}", password="p")
            house.driver.end("scheduler")

        nursery.start_soon(stop)
        with trio.fail_after(30):
            code, out, _ = await command("events", name, "--follow", "--table")
    assert code == 0
    assert out.splitlines()[-1].endswith("  Ended")
    assert (await command("events", name, "--follow"))[0] == 0
    code, _, err = await command("events", "nobody", "--follow")
    assert (code, err) == (1, "Cluster nobody not found\n")


async def test_logs(house, command):
    name = await running(house)
    house.driver.logs[name, "scheduler"] = "hello\nworld\n"
    assert await command("logs", name) == (0, "hello\nworld\n", "")
    code, _, err = await command("logs", name, "--role", "worker")
    assert (code, "Say whose log" in err) == (1, True)
    code, _, err = await command("logs", name, "--job", "w1-0")
    assert (code, "has had no job w1-0" in err) == (1, True)
    house.driver.end("scheduler", "exit code 1")  # it has failed, so its logs stay
    await wait_all_tasks_blocked()
    assert await command("logs", name, "--follow") == (0, "hello\nworld\n", "")


async def test_users_and_limits(house, command):
    code, out, _ = await command("users", "--table")
    assert (code, out) == (0, "USER  CLUSTERS  CORES  MEMORY  WORKERS\n")
    await running(house)
    await running(house)
    await house.beat(await running(house, "bob"), 2)
    await house.driver.wait_submissions(4)
    code, out, _ = await command("users", "--table")
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["alice", "2", "2", "2", "GiB", "0"],
        ["bob", "1", "5", "9", "GiB", "2"],
    ]
    assert json.loads((await command("users"))[1])[1]["workers"] == 2
    code, out, _ = await command("limits", "--table")
    assert [line.split("  ")[0] for line in out.splitlines()] == ["WHOSE", "all users", "user alice", "user bob"]
    assert out.splitlines()[1].split()[2:] == ["memory", "11", "GiB", "64", "GiB", "c.TotalLimits.max_memory"]
    assert json.loads((await command("limits"))[1])[2]["held"] == 5


async def test_without_limits(tmp_path, capsys):
    tmp_path.chmod(0o755)
    async with (
        open_house(authenticator=SimpleAuthenticator(password="p")) as house,
        with_admin_socket(house, tmp_path / "a.sock"),
    ):
        with capture_logs():
            _, out, _ = await Commands(tmp_path / "a.sock", capsys)("limits", "--table")
        assert out.startswith("No limits are set")
