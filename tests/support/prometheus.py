"""A real Prometheus of our own, and its promtool: on the path, or unpacked by `make .prometheus/.installed`."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpcore
import orjson
import pytest
import yaml
from attrs import frozen

from tests.support.own_addresses import free_port, own_loopback

ROOT = Path(__file__).parents[2]
_PATH = f"{os.environ['PATH']}:{ROOT}/.prometheus/usr/bin"
#: Seconds until something that does not happen is a failure.
PATIENCE = 60.0


def program(name: str) -> str:
    """The path of a program; empty when there is none."""
    return shutil.which(name, path=_PATH) or ""


needs_prometheus = pytest.mark.skipif(
    not (program("prometheus") and program("promtool")), reason="needs Prometheus (make .prometheus/.installed)"
)


def promtool(*arguments: str, text: str | None = None) -> str:
    """What promtool says; fails with that when it is not satisfied."""
    command = [program("promtool"), *arguments]
    done = subprocess.run(command, check=False, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@frozen
class Prometheus:
    """A running server. `url` is where it answers, `log` the file of what it says."""

    url: str
    log: Path

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its HTTP API. Fails with its words when it has none."""
        query = httpcore.URL(f"{self.url}/api/v1/{path}?{urlencode(parameters)}")
        with httpcore.ConnectionPool() as pool:
            answer = orjson.loads(pool.request("GET", query).content)
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def result(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        result: list[dict[str, Any]] = self.ask("query", query=query)["result"]
        return result

    def wait(self, happened: Callable[[], bool], what: str) -> None:
        """Ask until it has happened. Fails after a minute, with the log and the errors of the scrapes."""
        end = time.monotonic() + PATIENCE
        while not happened():
            if time.monotonic() > end:
                errors = {each["scrapeUrl"]: each["lastError"] for each in self.ask("targets")["activeTargets"]}
                raise AssertionError(f"{what}: {errors}\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)


@contextmanager
def run_prometheus(directory: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """A server as long as the body runs, with this configuration and a storage of its own."""
    file, log = directory / "prometheus.yml", directory / "prometheus.log"
    file.write_text(yaml.safe_dump(dict(config)))
    host = own_loopback(2)
    address = f"{host}:{free_port(host)}"
    command = [program("prometheus"), f"--config.file={file}", f"--storage.tsdb.path={directory / 'storage'}"]
    command += [f"--web.listen-address={address}", "--log.level=warn"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory)
        server = Prometheus(f"http://{address}", log)
        try:
            server.wait(lambda: process.poll() is not None or _is_ready(server.url), "Prometheus does not start")
            assert process.poll() is None, log.read_text()
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            finally:
                process.kill()
                process.wait()


def _is_ready(url: str) -> bool:
    try:
        return httpcore.request("GET", f"{url}/-/ready").status == 200
    except (httpcore.NetworkError, httpcore.RemoteProtocolError):
        return False
