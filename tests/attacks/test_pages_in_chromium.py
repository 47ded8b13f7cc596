"""Hostile pages in a real browser, whose user is known to the gateway; needs chromium and chromium-driver."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.attacks.attacked import CLUSTERS, open_attacked
from tests.attacks.chromium_pages import PAGE
from tests.support.chromium import NEEDS_CHROMIUM, browser, log_in, text_of, wait_until
from tests.support.proxy_peers import peer

pytestmark = NEEDS_CHROMIUM


class HostileServer:
    """Serves the page wherever it is asked, and remembers what it was told."""

    def __init__(self) -> None:
        self.page = b""
        self.asked: list[bytes] = []

    async def __call__(self, stream: trio.SocketStream) -> None:
        self.asked.append(await stream.receive_some())
        answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n"
        allow = b"Access-Control-Allow-Origin: *\r\nSet-Cookie: mine=1; Path=/\r\n\r\n"
        await stream.send_all(answer % len(self.page) + allow + self.page)


def visit(gateway: str, url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the hostile page at `url` got of alice, who has just used the API. Runs in a thread.

    Returned with what the visitor got of the API, before and afterwards.
    """
    with browser() as driver:
        driver.get(f"{gateway}/login?next={CLUSTERS}")
        log_in(driver, "alice")
        before = text_of(driver)
        known = driver.get_cookies()
        driver.get(url)
        wait_until(driver, lambda page: page.title.startswith("{"))
        got = json.loads(driver.title)
        driver.get(gateway + CLUSTERS)
        return got, {"before": before, "known": known, "after": text_of(driver)}


@pytest.mark.parametrize("where", ["dashboard", "port"])
async def test_a_hostile_page_reads_nothing_and_starts_nothing(where: str, tmp_path: Path) -> None:
    """Once as another user's dashboard, once at another port of the same host."""
    server = HostileServer()
    async with open_attacked(tmp_path) as gateway, peer(server) as port:
        mine, theirs = await gateway.create(), await gateway.create("mallory")
        assert (await mine.beat()).status == 200
        assert (await theirs.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        server.page = PAGE.replace("HOST", gateway.name).replace("CLUSTER", mine.name).encode()
        url = f"http://{gateway.name}{theirs.dashboard}status" if where == "dashboard" else f"http://127.0.0.1:{port}/x"
        got, visitor = await trio.to_thread.run_sync(visit, f"http://{gateway.name}", url)

        assert [cookie["path"] for cookie in visitor["known"]] == ["/"]
        assert list(json.loads(visitor["before"])) == [mine.name]
        assert json.loads(visitor["after"]) == json.loads(visitor["before"])
        assert await gateway.clusters() == [mine.name]
        assert len(gateway.driver.submissions) == 2 + len(gateway.computations)
        assert gateway.driver.cancelled == []
        own = {"cookies", "storage", "worker"} if where == "port" else set()  # it may do to itself what it likes
        assert {name: result for name, result in got.items() if result.startswith("GOT") and name not in own} == {}
        assert len(got) == 14
        told = b"\n".join(server.asked)
        # Cookies know no ports: over plain HTTP, any server of this host gets them (docs/security.md).
        assert (b"dask-gateway-" in told) == (where == "port")
        assert b"alice" not in told
        assert b"authorization" not in told.lower()
