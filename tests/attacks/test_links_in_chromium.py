"""Who sees a dashboard, in a real browser: a real scheduler's, behind a whole gateway, in each kind of access."""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trio

from gateway.proxy.dashboard.links import Links
from gateway.store.keys import Cipher, new_key
from gateway.web.dashboards import PURPOSE
from tests.attacks.attacked import Attacked, ClusterOfUser, open_attacked
from tests.proxy.dashboard.test_browser import working_dashboard
from tests.support.chromium import (
    NEEDS_CHROMIUM,
    browser,
    errors_of,
    log_in,
    log_out,
    text_of,
    wait_until,
    watch_plots_move,
)
from tests.support.proxy_peers import gateways_tls, peer

pytestmark = NEEDS_CHROMIUM


@asynccontextmanager
async def alices_dashboard(
    folder: Path, *lines: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Attacked, ClusterOfUser]]:
    """A gateway, and a cluster of alice's with a dashboard that is at work."""
    async with working_dashboard() as port, open_attacked(folder, *lines, tls=tls) as gateway:
        cluster = await gateway.create("alice")
        assert (await cluster.beat(dashboard=f"127.0.0.1:{port}")).status == 200
        yield gateway, cluster


async def see(look: Any, *arguments: str) -> None:
    await trio.to_thread.run_sync(look, *arguments)


def check_alive(page: Any, below: str) -> None:
    """A dashboard is shown there, and its plots move."""
    assert page.current_url.startswith(below), page.current_url
    watch_plots_move(page)
    link = page.current_url.rpartition("/")[0]
    assert [error for error in errors_of(page) if link in error["message"]] == []


def path_of(page: Any) -> str:
    return urlsplit(page.current_url).path


async def test_a_link_opens_for_whoever_has_it_and_its_owner_needs_none(tmp_path: Path) -> None:
    def look(origin: str, address: str, link: str, expired: str) -> None:
        with browser() as page:
            # Given the link, without being a user at all.
            page.get(f"{origin}{link}status")
            check_alive(page, f"{origin}{link}")
            assert page.execute_script("return self.origin") == "null"
            page.get(f"{origin}{expired}status")
            assert "This link has expired" in text_of(page)
            # The owner, who is not logged in yet, follows what the page says.
            page.find_element("partial link text", "open it anew").click()
            wait_until(page, lambda page: path_of(page) == "/login")
            log_in(page, "alice")
            check_alive(page, f"{origin}{address}~")
            # Another user.
            log_out(page, origin)
            page.get(f"{origin}/login?next={address}status")
            log_in(page, "mallory")
            assert path_of(page) == f"{address}status"
            assert "You are logged in as “mallory”, and cluster" in text_of(page)
            assert "belongs to somebody else" in text_of(page)

    key = new_key()
    store = (
        f"c.DBBackendBase.db_encrypt_keys = [{key!r}]",
        f"c.DBBackendBase.db_url = 'sqlite:///{tmp_path}/gateway.sqlite'",
    )
    async with alices_dashboard(tmp_path, *store) as (gateway, cluster):
        expired = Links(Cipher([key.encode()]).derive(PURPOSE), 60).make(cluster.name, "alice", 1_000_000_000)
        address = f"/clusters/{cluster.name}/"
        await see(look, f"http://{gateway.name}", address, cluster.dashboard, f"{address}{expired}/")


async def test_it_is_alive_in_jupyterlab(tmp_path: Path) -> None:
    """As dask-labextension does it.

    Its server asks, without a cookie, which plots there are below the link; then JupyterLab, which has another origin,
    shows one of them in a frame with a sandbox of its own.
    """

    def look(lab: str, link: str) -> None:
        with browser() as page:
            page.get(lab)
            page.switch_to.frame(page.find_element("tag name", "iframe"))
            watch_plots_move(page)
            assert page.execute_script("return [location.pathname, self.origin]") == [link, "null"]

    async with alices_dashboard(tmp_path) as (gateway, cluster):
        plots = await gateway.ask("GET", f"{cluster.dashboard}individual-plots.json", user=None)
        assert plots.status == 200
        link = f"{cluster.dashboard}{plots.json['Individual Task Stream'].lstrip('/')}"
        frame = (
            f"<iframe sandbox='allow-scripts allow-same-origin' src='http://{gateway.name}{link}'></iframe>".encode()
        )

        async def lab(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            await stream.send_all(head % len(frame) + frame)

        async with peer(lab) as port:
            await see(look, f"http://localhost:{port}", link)


async def test_where_only_the_owner_sees_it_a_copied_address_opens_in_no_other_browser(tmp_path: Path) -> None:
    def look(origin: str, address: str) -> None:
        with browser() as page:
            page.get(f"{origin}/login?next={address}status")
            log_in(page, "alice")
            check_alive(page, f"{origin}{address}~")
            copied = page.current_url
            page.find_element("link text", "System").click()
            wait_until(page, lambda page: page.current_url.endswith("/system"))
            check_alive(page, f"{origin}{address}~")
            page.delete_all_cookies()
            page.get(f"{origin}/login?next={address}status")
            log_in(page, "mallory")
            for shown in (f"{origin}{address}status", copied):
                page.get(shown)
                assert "belongs to somebody else" in text_of(page)
            page.delete_all_cookies()
            page.get(copied)
            wait_until(page, lambda page: path_of(page) == "/login")

    async with alices_dashboard(tmp_path, "c.Proxy.dashboard_access = 'owner'") as (gateway, cluster):
        assert cluster.dashboard == f"/clusters/{cluster.name}/"
        await see(look, f"http://{gateway.name}", cluster.dashboard)


async def test_a_dashboard_on_a_host_of_its_own_has_an_origin_and_nothing_of_the_gateways(tmp_path: Path) -> None:
    """By HTTPS, and so by HTTP/2 as well; Chromium takes all names below localhost for this host."""

    def look(origin: str, address: str, own: str) -> None:
        with browser() as page:
            page.get(f"{origin}/login?next={address}status")
            log_in(page, "alice")
            check_alive(page, f"{own}/~")
            assert page.execute_script("return self.origin") == own
            page.execute_script("localStorage.setItem('a', 'b'); document.cookie = 'mine=1'")
            assert page.execute_script("return [localStorage.getItem('a'), document.cookie]") == ["b", "mine=1"]
            page.get(f"{own}/individual-nbytes")  # without a link it goes to be known, and comes back
            assert re.fullmatch(f"{own}/~[^/]+/individual-nbytes", page.current_url)
            log_out(page, origin)
            page.get(f"{own}/api/v1/clusters/")  # nothing of the gateway is there
            wait_until(page, lambda page: path_of(page) == "/login")

    lines = (
        "c.Proxy.host_names = ['localhost']",
        "c.Proxy.dashboard_host = '*.dash.localhost'",
        f"c.Proxy.tls_cert = '{tmp_path}/server.crt'",
        f"c.Proxy.tls_key = '{tmp_path}/server.key'",
    )
    _, client = gateways_tls(tmp_path)
    async with alices_dashboard(tmp_path, *lines, tls=client) as (gateway, cluster):
        own = f"https://{cluster.name}.dash.localhost:{gateway.port}"
        address = f"/clusters/{cluster.name}/"
        await see(look, f"https://localhost:{gateway.port}", address, own)
        moved = await gateway.ask("GET", f"{cluster.dashboard}status", user=None)  # as the client has it
        link = cluster.dashboard.removeprefix(address)
        assert (moved.status, moved.all("location")) == (307, [f"//{own.removeprefix('https://')}/{link}status"])
