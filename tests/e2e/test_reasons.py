"""Reasons that reach people: what the published client tells of clusters that do not run."""

import pytest

from tests.e2e.gateway_process import open_gateway


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    config = """
    from dask_gateway_server.options import Integer, Options, Select

    def handler(options):
        bad = "sh -c 'echo no luck today; exit 3'"
        return {
            "scheduler_cmd": bad if options.bad == "scheduler" else "dask scheduler",
            "worker_cmd": bad if options.bad == "worker" else "dask worker",
            "idle_timeout": options.idle_timeout,
        }

    c.Backend.cluster_options = Options(
        Select("bad", ["nothing", "scheduler", "worker"], default="nothing"),
        Integer("idle_timeout", default=0, min=0),
        handler=handler,
    )
    """
    with open_gateway(tmp_path_factory.mktemp("reasons"), config) as house:
        yield house


def test_everything_asked_of_a_cluster_that_failed_tells_the_reason(house):
    async def script(gateway):
        cluster = await gateway.new_cluster(bad="worker", shutdown_on_close=False)
        await cluster.scale(1)
        while (await gateway.get_cluster(cluster.name)).status.name != "FAILED":
            await asyncio.sleep(0.1)
        told = []

        async def tell(what):
            try:
                await what
            except (GatewayClusterError, ImportError, OSError) as error:
                told.append([type(error).__name__, str(error)])

        await tell(cluster.scale(2))
        await tell(cluster.adapt(minimum=1, maximum=2))
        await tell(gateway.connect(cluster.name))
        await tell(cluster.get_client(set_as_default=False))
        await cluster.close()
        return told

    told = house.client(script, timeout=120)
    assert [name for name, _ in told] == ["GatewayClusterError"] * 3 + ["ImportError"]
    # What may pass is tried again by the client for a while, and then it says that it has timed out.
    for _, reason in told:
        assert "workers in a row failed to start" in reason
        assert "no luck today" in reason
    assert "is not running: it failed: " in told[0][1]


def test_a_cluster_that_never_ran_failed_to_start(house):
    async def script(gateway):
        name = await gateway.submit(bad="scheduler")
        told = []
        for what in (gateway.connect, lambda name: gateway.scale_cluster(name, 1), gateway.adapt_cluster):
            try:
                await what(name)
            except GatewayClusterError as error:
                told.append(str(error))
        return [name, *told]

    name, connect, *scaled = house.client(script)
    assert connect.startswith(f"Cluster {name} failed to start: ")
    assert len(scaled) == 2
    for reason in (connect, *scaled):
        assert "failed to start: the scheduler's job ended: exit code 3" in reason
        assert "no luck today" in reason


def test_a_cluster_that_was_idle_says_so(house):
    async def script(gateway):
        cluster = await gateway.new_cluster(idle_timeout=1, shutdown_on_close=False)
        while (await gateway.get_cluster(cluster.name)).status.name != "STOPPED":
            await asyncio.sleep(0.1)
        told = []
        for what in (cluster.scale(1), gateway.connect(cluster.name), cluster.get_client(set_as_default=False)):
            try:
                await what
            except (GatewayClusterError, ImportError) as error:
                told.append(str(error))
        await cluster.close()
        return told

    told = house.client(script, timeout=120)
    assert len(told) == 3
    for reason in told:
        assert "it was idle for 1 s (its idle timeout) and stopped itself" in reason
