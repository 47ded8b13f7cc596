"""A real gateway as a process, and the real published client as another.

A gateway is started with a configuration file of the test's own, tells its
port over the notify socket that systemd would listen at, and is ended by its
pid. A client is an `async def script(gateway, ...)` in a test: its source runs
in a process of its own, with the asynchronous `dask_gateway.Gateway`, and what
it returns comes back as JSON.
"""

import base64
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import httpcore

PRELUDE = """
import asyncio, json, sys, warnings
from pathlib import Path
import dask
from dask_gateway import BasicAuth, Gateway, GatewayCluster
from dask_gateway.client import GatewayClusterError, GatewayWarning
from distributed import Client

dask.config.set({"distributed.comm.timeouts.connect": "30s"})

def inc(x):
    return x + 1

async def _main():
    settings = json.loads(sys.argv[1])
    where = {"address": settings["address"], "proxy_address": settings["proxy_address"]}
    auth = settings["auth"] or BasicAuth(settings["user"], settings["password"])
    async with Gateway(**where, auth=auth, asynchronous=True) as gateway:
        result = await script(gateway, *settings["arguments"])
    Path(settings["answer"]).write_text(json.dumps(result))
"""

BASE_CONFIG = """
c.Proxy.address = "127.0.0.1:0"
c.DaskGateway.backend_class = "dask_gateway_server.backends.local.UnsafeLocalBackend"
c.LocalBackend.clusters_directory = {directory!r} + "/clusters"
c.ClusterConfig.worker_memory = "512 M"
"""


def schedulers_here():
    """The line of configuration for a gateway whose host runs batch jobs as well, but no node daemon to be seen by.

    So it is with a simulated batch system.
    """
    own = subprocess.run(["hostname", "--all-ip-addresses"], check=True, capture_output=True, text=True).stdout.split()
    addresses = [f"{address}/{128 if ':' in address else 32}" for address in own]
    return f"\nc.Proxy.scheduler_networks = {['127.0.0.0/8', '::1/128', *addresses]!r}\n"


class ClientFailed(AssertionError):
    """A client script raised; the text is what it printed."""


class GatewayProcess:
    """A running gateway. `url` is where its API is."""

    def __init__(self, directory, process, address, *, scheme="http", prefix="", proxy_port=None, environment=None):
        self.directory = Path(directory)
        self.process = process
        self.address = address
        self.url = f"{scheme}://{address}{prefix}"
        self.proxy_port = proxy_port
        self.environment = environment or {}
        self._answers = 0

    @property
    def scheduler_address(self):
        """Where scheduler traffic goes, as the gateway's log says."""
        return re.findall(r"schedulers=(\S+)", self.log)[-1]

    @property
    def log(self):
        return (self.directory / "gateway.log").read_text()

    def client(
        self, script, *arguments, user="alice", password="", auth="", environment=None, account=None, timeout=100
    ):
        """Run `script(gateway, *arguments)` in a process of its own; returns its result or raises `ClientFailed`.

        `auth` is what the client calls its way to authenticate, if that is no password, and `account` whose process
        it is.
        """
        self._answers += 1
        answers = self.directory / "answers"
        answers.mkdir(exist_ok=True)
        answers.chmod(0o1777)  # clients may be processes of several users
        answer = answers / f"{self._answers}.json"
        source = textwrap.dedent(inspect.getsource(script)).replace(
            f"async def {script.__name__}(", "async def script("
        )
        settings = {
            "address": self.url,
            "proxy_address": self.proxy_port,
            "user": user,
            "password": password,
            "auth": auth,
            "arguments": arguments,
            "answer": str(answer),
        }
        try:
            done = subprocess.run(
                [sys.executable, "-c", f"{PRELUDE}\n{source}\nasyncio.run(_main())", json.dumps(settings)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout,
                env={**os.environ, **self.environment, **(environment or {})},
                cwd=self.directory,
                user=account,
                check=True,
            )
        except subprocess.SubprocessError as error:
            raise ClientFailed(f"{error.stdout}\n{error}\n--- gateway ---\n{self.log[-6000:]}") from None
        if not answer.exists():
            raise ClientFailed(done.stdout)
        return json.loads(answer.read_text())

    def request(self, method, path, *, headers=(), body=None):
        """One plain HTTP request: (status, headers, body)."""
        with httpcore.ConnectionPool() as pool:
            response = pool.request(method, self.url + path, headers=list(headers), content=body)
            names = {name.decode().lower(): value.decode() for name, value in response.headers}
            return response.status, names, response.content

    def session_cookie(self, user="alice", password="", cookie=""):
        """The cookie of a session of this user's, as name=value; empty when none is given."""
        authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = [("Cookie", cookie)] if cookie else [("Authorization", authorization)]
        _, names, _ = self.request("GET", "/api/v1/clusters/", headers=headers)
        return names.get("set-cookie", "").partition(";")[0]

    def stop(self, number=signal.SIGTERM, timeout=60):
        """End the gateway; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


@contextmanager
def open_gateway(
    directory,
    config="",
    *,
    base=BASE_CONFIG,
    arguments=(),
    user=None,
    python=sys.executable,
    timeout=60,
    own_environment=None,
    host=None,
    **house,
):
    """Start a gateway with this configuration; it is stopped at the end, and killed if it does not stop.

    `own_environment` is added to the gateway's environment, and `host` is what clients call this machine.
    """
    directory = Path(directory)
    directory.mkdir(exist_ok=True)
    file = directory / "dask_gateway_config.py"
    file.write_text(base.format(directory=str(directory)) + textwrap.dedent(config))
    with open_notify_socket(directory / "notify") as channel, open(directory / "gateway.log", "a") as log:
        process = subprocess.Popen(
            [str(python), "-m", "gateway", "-f", str(file), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=directory,
            user=user,
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "notify"), **(own_environment or {})},
        )
        running = GatewayProcess(directory, process, "", **house)
        try:
            address = wait_ready(channel, process, timeout)
            if address is None:
                raise AssertionError(f"the gateway did not start:\n{running.log}")
            if host:
                address = f"{host}:{address.rpartition(':')[2]}"
            yield GatewayProcess(directory, process, address, **house)
        finally:
            try:
                running.stop()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
            finally:
                assert secrets_in(running.log) == []


#: What must not stand in any log: credentials, tokens, keys and certificates, by what they look like.
_SECRETS = re.compile(
    r"""(?ix) (?:basic|negotiate|bearer|jupyterhub|munge|token)\s+(?=[^\s'"]*[0-9A-Z])[A-Za-z0-9+/=_.:~-]{20,}
    | \bdgt_\w+_\w+ | \beyJ[\w-]{10,}\.[\w-]{10,}\. | -----BEGIN | \bMUNGE:\w{10,} | \bgAAAAA[\w-]{20,}
    | /~\d+\.[\w-]{16,} | \b[0-9a-f]{32}-[a-z2-7]{18}\b | (?:password|secret|code)=[^\s*'"&]{6,}"""
)


def secrets_in(log):
    """Whatever in a log looks like a secret."""
    return [match[0] for match in _SECRETS.finditer(log)]


@contextmanager
def open_notify_socket(path):
    """What systemd is to a service of Type=notify."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        path.chmod(0o666)
        channel.settimeout(0.2)
        yield channel


def wait_ready(channel, process, timeout):
    """The address in the first READY message; None when the process ended or the time is over."""
    for _ in range(int(timeout / 0.2)):
        try:
            message = channel.recv(4096).decode()
        except TimeoutError:
            if process.poll() is not None:
                return None
            continue
        fields = dict(line.split("=", 1) for line in message.splitlines())
        if fields.get("READY") == "1":
            return fields["STATUS"].removeprefix("serving at ").partition(";")[0]
    return None
