"""What users do, with the published client, on local jobs."""

import json

import pytest

from tests.e2e.gateway_process import ClientFailed, open_gateway


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    config = """
    from dask_gateway_server.options import Integer, Options, Select, String

    def handler(options):
        environment = {"GREETING": options.greeting}
        scheduler = {"good": "dask scheduler", "bad": "sh -c 'echo no scheduler today; exit 3'"}[options.scheduler]
        worker = {"good": "dask worker", "bad": "sh -c 'echo no worker today; exit 4'"}[options.worker]
        return {
            "worker_cores": options.worker_cores,
            "environment": environment,
            "scheduler_cmd": scheduler,
            "worker_cmd": worker,
            "idle_timeout": options.idle_timeout,
            "cluster_max_workers": 3,
        }

    c.Backend.cluster_options = Options(
        Integer("worker_cores", default=1, min=1, max=4, label="Cores"),
        String("greeting", default="hello"),
        Select("scheduler", ["good", "bad"], default="good"),
        Select("worker", ["good", "bad"], default="good"),
        Integer("idle_timeout", default=0, min=0),
        handler=handler,
    )
    """
    with open_gateway(tmp_path_factory.mktemp("local"), config) as house:
        yield house


def test_list_options_and_version(house):
    async def script(gateway):
        options = await gateway.cluster_options()
        versions = await gateway._get_versions()
        return [await gateway.list_clusters(), dict(options), versions["server"]["version"]]

    clusters, options, version = house.client(script)
    assert clusters == []
    assert options == {"worker_cores": 1, "greeting": "hello", "scheduler": "good", "worker": "good", "idle_timeout": 0}
    assert version


def test_compute_scale_and_stop(house):
    async def script(gateway):
        async with await gateway.new_cluster(worker_cores=2, greeting="bonjour") as cluster:
            await cluster.scale(2)
            async with cluster.get_client(set_as_default=False) as client:
                client = await client
                await client.wait_for_workers(2, timeout=60)
                total = await client.gather(client.map(inc, range(10)))
                greeting = await client.submit(lambda: __import__("os").environ["GREETING"])
                threads = list((await client.nthreads()).values())
                await cluster.scale(1)
                while len(await client.nthreads()) != 1:
                    await asyncio.sleep(0.1)
            report = (await gateway.list_clusters())[0]
            name = cluster.name
        ended = (await gateway.list_clusters(status=["stopping", "stopped"]))[0]
        return [total, greeting, threads, report.status.name, report.name == name == ended.name, report.dashboard_link]

    total, greeting, threads, status, same, link = house.client(script)
    assert total == list(range(1, 11))
    assert greeting == "bonjour"
    assert threads == [2, 2]
    assert status == "RUNNING"
    assert same
    assert link.startswith(house.url + "/clusters/")


def test_the_limit_is_a_warning(house):
    async def script(gateway):
        async with await gateway.new_cluster() as cluster:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                await cluster.scale(50)
                await cluster.adapt(minimum=0, maximum=40)
            return [str(w.message) for w in caught if w.category is GatewayWarning]

    scale, adapt = house.client(script)
    assert "resource limit of 3 workers" in scale
    assert "maximum=3" in adapt


def test_adaptive_scaling(house):
    async def script(gateway):
        async with await gateway.new_cluster() as cluster:
            await cluster.adapt(minimum=1, maximum=2)
            async with cluster.get_client(set_as_default=False) as client:
                client = await client
                await client.wait_for_workers(1, timeout=60)
                return await client.submit(inc, 41)

    assert house.client(script) == 42


def test_reconnect_by_name_and_shutdown_on_close(house):
    async def leave(gateway):
        cluster = await gateway.new_cluster(shutdown_on_close=False)
        name = cluster.name
        await cluster.close()
        return name

    async def return_(gateway, name):
        cluster = await gateway.connect(name, shutdown_on_close=True)
        await cluster.scale(1)
        client = await cluster.get_client(set_as_default=False)
        result = await client.submit(inc, 1)
        await client.close()
        await cluster.close()
        return result

    async def statuses(gateway):
        reports = await gateway.list_clusters(status=["running", "stopping", "stopped", "failed"])
        return {report.name: report.status.name for report in reports}

    name = house.client(leave)
    assert house.client(statuses)[name] == "RUNNING"
    assert house.client(return_, name) == 2
    assert house.client(statuses)[name] in ("STOPPING", "STOPPED")


def test_users_do_not_see_each_others_clusters(house):
    async def make(gateway):
        return await gateway.submit()

    async def spy(gateway, name):
        answers = [len(await gateway.list_clusters())]
        for call in (gateway.get_cluster, gateway.stop_cluster, gateway.connect):
            try:
                await call(name)
                answers.append("allowed")
            except Exception as error:
                answers.append(getattr(error, "status", str(error)))
        try:
            await gateway.scale_cluster("0" * 32, 1)
        except ValueError as error:
            answers.append(str(error))
        return answers

    async def stop(gateway, name):
        await gateway.stop_cluster(name)

    name = house.client(make, user="alice")
    assert house.client(spy, name, user="bob") == [0, 403, 403, 403, f"Cluster {'0' * 32} not found"]
    house.client(stop, name, user="alice")


def test_idle_clusters_stop(house):
    async def script(gateway):
        cluster = await gateway.new_cluster(idle_timeout=2, shutdown_on_close=False)
        while (await gateway.get_cluster(cluster.name)).status.name == "RUNNING":
            await asyncio.sleep(0.2)
        report = await gateway.get_cluster(cluster.name)
        await cluster.close()
        return report.status.name

    assert house.client(script) in ("STOPPING", "STOPPED")


def test_a_failing_scheduler_says_why(house):
    async def script(gateway):
        await gateway.new_cluster(scheduler="bad")

    with pytest.raises(ClientFailed) as failure:
        house.client(script)
    text = str(failure.value).split("--- gateway ---")[0]
    assert "GatewayClusterError" in text
    assert "no scheduler today" in text
    assert "exit code 3" in text


def test_failing_workers_say_why(house):
    async def script(gateway):
        cluster = await gateway.new_cluster(worker="bad", shutdown_on_close=False)
        await cluster.scale(1)
        while (await gateway.get_cluster(cluster.name)).status.name in ("RUNNING", "STOPPING"):
            await asyncio.sleep(0.1)
        try:
            await gateway.connect(cluster.name)
        except GatewayClusterError as error:
            return str(error)
        finally:
            await cluster.close()

    reason = house.client(script)
    assert "no worker today" in reason
    assert "failed to start" in reason


def test_refused_options_say_why(house):
    async def script(gateway):
        answers = []
        for options in ({"worker_cores": 9}, {"worker_cores": "two"}, {"nonsense": 1}):
            try:
                await gateway.submit(**options)
            except ValueError as error:
                answers.append(str(error))
        return answers

    too_many, no_number, unknown = house.client(script)
    assert "worker_cores" in too_many
    assert "9" in too_many
    assert "worker_cores" in no_number
    assert "nonsense" in unknown


def test_events_tell_the_story(house):
    async def script(gateway):
        async with await gateway.new_cluster() as cluster:
            response = await gateway._request("GET", f"{gateway.address}/api/v1/clusters/{cluster.name}/events")
            return await response.json()

    messages = [event["message"] for event in house.client(script)["events"]]
    assert "The scheduler is running" in messages


def test_health(house):
    status, _, body = house.request("GET", "/api/health")
    assert (status, json.loads(body)) == (200, {"status": "pass"})
