"""A real scheduler's dashboard, in a real browser, through the public port and below a prefix; with TLS over HTTP/2.

Needs Debian's packages chromium and chromium-driver; without them the test is skipped.
"""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from gateway.config.proxy import Proxy
from gateway.models import User
from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.dashboard.guard import Guard, People
from gateway.proxy.routes import Routes
from tests.support.chromium import NEEDS_CHROMIUM, browser, errors_of, events_of, wait_until, watch_plots_move
from tests.support.proxy_peers import LOCAL, gateways_tls, public_port, server_of

pytestmark = NEEDS_CHROMIUM

PREFIX = "/gateway"
WORK = """
import time
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, protocol="tcp://",
                      host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster, Client(cluster) as client:
        print(cluster.scheduler.services["dashboard"].port, flush=True)
        while True:
            client.gather(client.map(lambda n: time.sleep(0.05), range(20), pure=False))
"""


@asynccontextmanager
async def working_dashboard() -> AsyncIterator[int]:
    """The port of the dashboard of a cluster that is never idle."""
    process = await trio.lowlevel.open_process([sys.executable, "-c", WORK], stdout=subprocess.PIPE)
    assert process.stdout
    try:
        yield int(await process.stdout.receive_some(100))
    finally:
        process.kill()
        await process.wait()
        await process.stdout.aclose()


def never(user: User, cluster: str) -> bool:
    return False


def open_guard() -> Guard:
    """Alice's cluster abc, which only a link opens."""
    people = People(user_of=lambda scope: None, person_of={"abc": "alice"}.get, may_see=never, may_come=never)
    return Guard(Proxy(prefix=PREFIX), people, keys=(bytes(32),))


def look_at(url: str) -> dict[str, Any]:
    """Open a page and then another by the link on it, see the plots of both move, and report what the browser saw."""
    with browser() as driver:
        driver.get(url)
        watch_plots_move(driver)
        seen = {"title": driver.title, "origin": driver.execute_script("return self.origin")}
        driver.find_element("link text", "System").click()
        wait_until(driver, lambda page: page.current_url.endswith("/system"))
        watch_plots_move(driver)
        return {**seen, "then": driver.current_url, "console": errors_of(driver), "events": events_of(driver)}


@pytest.mark.parametrize(("scheme", "protocol"), [("http", "http/1.1"), ("https", "h2")])
async def test_pages_move_while_work_runs(scheme: str, protocol: str, tmp_path: Path) -> None:
    routes, guard = Routes(), open_guard()
    dashboard = Dashboard(routes, guard=guard)

    async def below_prefix(scope: Any, receive: Any, send: Any) -> None:
        scope = {**scope, "root_path": PREFIX, "path": scope["path"].removeprefix(PREFIX)}
        await dashboard(scope, receive, send)

    serve = public_port(routes, serve_http=server_of(below_prefix).serve, ssl_context=gateways_tls(tmp_path)[0])
    async with working_dashboard() as port, serve as address:
        routes.add("abc", "tls://127.0.0.1:1", f"http://127.0.0.1:{port}")
        link = f"{PREFIX}{guard.route('abc', 'alice')}".removesuffix("/status")
        seen = await trio.to_thread.run_sync(look_at, f"{scheme}://{LOCAL}:{address[1]}{link}/status")

    assert "Dask" in seen["title"]
    assert seen["origin"] == "null"  # in a sandbox, where no cookie and no answer of the gateway is
    assert seen["console"] == []
    assert link in seen["then"]
    events = seen["events"]
    answers = [answer["response"] for answer in events["Network.responseReceived"]]
    assert {answer["protocol"] for answer in answers if answer["url"].startswith(scheme)} == {protocol}
    assert [answer for answer in answers if answer["status"] >= 400] == []
    assert "Network.loadingFailed" not in events
    assert "Network.webSocketFrameError" not in events
    sockets = events["Network.webSocketCreated"]
    assert len(sockets) == 2
    assert all(f"{link}/" in socket["url"] for socket in sockets)
    assert len(events["Network.webSocketFrameReceived"]) > 2
