"""A real JupyterHub with its proxy, started and stopped by a test.

It lives in a virtual environment of its own, `.jupyterhub` (`make .jupyterhub/.installed`), with its proxy from npm
beside it. Users are alice and bob, of whom alice is in the group "dask", whose role lets them use the services given;
whoever has logged in with the password has a stand-in for a notebook server (notebook_server.py), with the token that a
notebook would have.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpcore
import orjson

from tests.support.own_addresses import free_port, own_loopback

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".jupyterhub"
PYTHON = HOME / "bin" / "python"
PROXY = HOME / "node_modules" / "configurable-http-proxy" / "bin" / "configurable-http-proxy"
PASSWORD = "correct horse battery"
#: The token of the service that acts for the tests.
_TESTS_TOKEN = "0123456789abcdef0123456789abcdef"

_CONFIG = """
c.JupyterHub.bind_url = {url!r}
c.JupyterHub.hub_bind_url = {hub_url!r}
c.ConfigurableHTTPProxy.api_url = {proxy_api_url!r}
c.ConfigurableHTTPProxy.command = ["node", {proxy!r}]
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = {password!r}
c.Authenticator.allowed_users = {{"alice", "bob"}}
c.JupyterHub.spawner_class = "simple"
c.SimpleLocalProcessSpawner.home_dir_template = {directory!r} + "/home/{{username}}"
c.Spawner.cmd = [{python!r}, {notebook!r}]
c.Spawner.environment = {environment!r}
c.Spawner.default_url = "/"
c.JupyterHub.load_groups = {{"dask": {{"users": ["alice"]}}}}
c.JupyterHub.services = {services!r} + [{{"name": "tests", "api_token": {tests_token!r}}}]
access = [f"access:services!service={{name}}" for name in {names!r}]
c.JupyterHub.load_roles = [
    {{"name": "server", "scopes": ["users:activity!user", "access:servers!server", *access]}},
    {{"name": "dask-users", "groups": ["dask"], "scopes": access}},
    {{"name": "tests", "services": ["tests"], "scopes": ["admin:users", "admin:servers", "tokens"]}},
]
"""


def why_not() -> str:
    """Why there can be no real JupyterHub here; empty when there can."""
    if PYTHON.exists() and PROXY.exists():
        return ""
    return "needs JupyterHub and its proxy (make .jupyterhub/.installed, which takes npm)"


class Hub:
    """A Hub. `url` is where people find it, `api_url` where services do."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = own_loopback(1)
        ports = [free_port(self.host) for _ in range(3)]
        self.address = f"{self.host}:{ports[0]}"
        self.url = f"http://{self.address}"
        self.hub_url = f"http://{self.host}:{ports[1]}"
        self.api_url = f"{self.hub_url}/hub/api"
        self._proxy_api_url = f"http://{self.host}:{ports[2]}"
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, services: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> None:
        """Write its configuration, with these services, and this in the environment of notebooks."""
        self.directory.mkdir(exist_ok=True)
        text = _CONFIG.format(
            url=self.url,
            hub_url=self.hub_url,
            proxy_api_url=self._proxy_api_url,
            proxy=str(PROXY),
            password=PASSWORD,
            directory=str(self.directory),
            python=sys.executable,
            notebook=str(Path(__file__).with_name("notebook_server.py")),
            environment=dict(environment),
            services=[dict(service) for service in services],
            names=[service["name"] for service in services],
            tests_token=_TESTS_TOKEN,
        )
        (self.directory / "jupyterhub_config.py").write_text(text)

    @property
    def log(self) -> str:
        """What all its starts have logged."""
        return (self.directory / "hub.log").read_text()

    def start(self, timeout: float = 60.0) -> None:
        """Start it, and wait until it runs."""
        with open(self.directory / "hub.log", "a") as log:
            before = log.tell()
            self._process = subprocess.Popen(
                [str(PYTHON), "-m", "jupyterhub", "-f", "jupyterhub_config.py"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
            )
        for _ in range(int(timeout / 0.1)):
            if "JupyterHub is now running" in self.log[before:]:
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"JupyterHub did not start:\n{self.log[before:]}")

    def stop(self, timeout: float = 30.0) -> None:
        """Stop it, and all that it has started."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process = None
            self._stop_proxy()

    def _stop_proxy(self) -> None:
        """Stop the proxy of a Hub that did not: one that has failed to start, or was killed."""
        file = self.directory / "jupyterhub-proxy.pid"
        if file.exists():
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGTERM)
            file.unlink()

    def ask(self, method: str, path: str, body: Any = None, *, expected: int) -> Any:
        """Ask its API as the service of the tests."""
        with httpcore.ConnectionPool() as pool:
            headers = {"Authorization": f"token {_TESTS_TOKEN}", "Content-Type": "application/json"}
            content = b"" if body is None else orjson.dumps(body)
            response = pool.request(method, f"{self.api_url}{path}", headers=list(headers.items()), content=content)
        assert response.status == expected, (method, path, response.status, response.content)
        return orjson.loads(response.content) if response.content else None

    def new_token(self, user: str, **more: Any) -> tuple[str, str]:
        """A token of a user's own making, and its id; `scopes`, `expires_in`."""
        made = self.ask("POST", f"/users/{user}/tokens", more, expected=201)
        return made["token"], made["id"]

    def revoke(self, user: str, token_id: str) -> None:
        """Make a token one that nobody knows."""
        self.ask("DELETE", f"/users/{user}/tokens/{token_id}", expected=204)

    def start_notebook(self, user: str, timeout: float = 30.0) -> dict[str, str]:
        """The environment of the user's notebook server, once that runs."""
        file = self.directory / f"notebook-{user}.json"
        self.ask("POST", f"/users/{user}/server", {}, expected=201)
        for _ in range(int(timeout / 0.1)):
            if file.exists():
                break
            time.sleep(0.1)
        environment: dict[str, str] = orjson.loads(file.read_bytes())
        return environment
