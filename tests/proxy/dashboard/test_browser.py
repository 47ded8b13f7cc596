"""A real scheduler's dashboard, in a real browser, through the public port and below a prefix; with TLS over HTTP/2.

Needs Debian's packages chromium and chromium-driver; without them the test is skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from gateway.proxy.dashboard.app import Dashboard
from gateway.proxy.routes import Routes
from tests.support.proxy_peers import LOCAL, gateways_tls, public_port, server_of

pytestmark = pytest.mark.skipif(
    not shutil.which("chromium") or not shutil.which("chromedriver"),
    reason="needs chromium and chromium-driver (apt-get install chromium chromium-driver)",
)

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
SWITCHES = (
    "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --window-size=1400,1000 --ignore-certificate-errors"
)
#: Everything that the plots of the page show, as text.
PLOTTED = """
    const seen = [];
    for (const doc of window.Bokeh ? window.Bokeh.documents : [])
        for (const model of doc._all_models.values())
            if (model.type === "ColumnDataSource")
                seen.push(JSON.stringify(model.data instanceof Map ? [...model.data] : model.data));
    return seen.join();
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


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in SWITCHES.split():
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(shutil.which("chromedriver"), log_output=subprocess.DEVNULL)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def look_at(url: str) -> dict[str, Any]:
    """Open a page, wait until its plots have moved twice, and report what the browser saw. Runs in a thread."""
    with browser() as driver:
        driver.get(url)
        wait = WebDriverWait(driver, 60, poll_frequency=0.1)
        first = wait.until(lambda page: page.execute_script(PLOTTED))
        second = wait.until(lambda page: (now := page.execute_script(PLOTTED)) != first and now)
        wait.until(lambda page: page.execute_script(PLOTTED) != second)
        events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        return {
            "title": driver.title,
            "origin": driver.execute_script("return self.origin"),
            "url": driver.current_url,
            "console": [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"],
            "events": events,
        }


@pytest.mark.parametrize(("scheme", "protocol"), [("http", "http/1.1"), ("https", "h2")])
async def test_the_status_page_moves_while_work_runs(
    scheme: str, protocol: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(os.environ, "SE_OFFLINE", "true")
    routes = Routes()
    dashboard = Dashboard(routes)

    async def below_prefix(scope: Any, receive: Any, send: Any) -> None:
        scope = {**scope, "root_path": PREFIX, "path": scope["path"].removeprefix(PREFIX)}
        await dashboard(scope, receive, send)

    serve = public_port(routes, serve_http=server_of(below_prefix).serve, ssl_context=gateways_tls(tmp_path)[0])
    async with working_dashboard() as port, serve as address:
        routes.add("abc", "tls://127.0.0.1:1", f"http://127.0.0.1:{port}")
        seen = await trio.to_thread.run_sync(look_at, f"{scheme}://{LOCAL}:{address[1]}{PREFIX}/clusters/abc/status")

    assert "Dask" in seen["title"]
    assert seen["origin"] == "null"  # in a sandbox, where no cookie and no answer of the gateway is
    assert seen["console"] == []
    by_kind: dict[str, list[Any]] = {}
    for event in seen["events"]:
        by_kind.setdefault(event["method"], []).append(event["params"])
    answers = [answer["response"] for answer in by_kind["Network.responseReceived"]]
    assert {answer["protocol"] for answer in answers if answer["url"].startswith(scheme)} == {protocol}
    assert [answer for answer in answers if answer["status"] >= 400] == []
    assert "Network.loadingFailed" not in by_kind
    assert "Network.webSocketFrameError" not in by_kind
    sockets = by_kind["Network.webSocketCreated"]
    assert all(f"{PREFIX}/clusters/abc/" in socket["url"] for socket in sockets)
    assert len(by_kind["Network.webSocketFrameReceived"]) > 2
