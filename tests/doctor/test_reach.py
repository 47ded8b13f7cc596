"""Whether this host reaches what a job has opened."""

import socket
import subprocess
import sys

import pytest
import trio

from gateway.config.load import load
from gateway.doctor import reach
from gateway.doctor.probe import SOURCE, told
from tests.support.doctor_site import free_ports

HERE = "--Proxy.scheduler_networks=['127.0.0.0/8']"


async def status_of(host, port, *options):
    finding = await reach.verdict(load(None, options), host, str(port))
    return finding.status, finding.evidence


async def test_a_port_that_answers_and_one_that_does_not():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert await status_of("127.0.0.1", port, HERE) == ("ok", f"127.0.0.1:{port} was reached from here")
    (closed,) = free_ports(1)
    status, evidence = await status_of("127.0.0.1", closed, HERE)
    assert (status, "cannot be reached from here" in evidence) == ("failed", True)


async def test_a_host_that_swallows_everything(autojump_clock):
    async def never(host, port):
        await trio.sleep_forever()

    finding = await reach.verdict(load(None), "192.0.2.1", "9", never)
    assert (finding.status, "does not answer within" in finding.evidence) == ("failed", True)


@pytest.mark.parametrize(
    ("host", "port", "options", "status", "words"),
    [
        ("", "", [], "skipped", "could not open"),
        ("10.0.0.1", "0", [], "skipped", "could not open"),
        ("10.0.0.1", "99999", [], "skipped", "could not open"),
        ("node1", "5", [], "failed", "no address in digits"),
        ("10.0.0.1", "5", [HERE], "failed", "scheduler_networks"),
        ("224.0.0.1", "5", [], "failed", "not the address of a host"),
    ],
)
async def test_addresses_that_are_not_tried(host, port, options, status, words):
    found = await status_of(host, port, *options)
    assert found[0] == status
    assert words in found[1]


async def test_what_the_job_runs_waits_for_whoever_comes():
    """The text itself, in a Python that has distributed, as a module of its own."""
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", SOURCE], stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"}
    )
    said = b""
    with trio.fail_after(60):
        while b"\n" not in said:
            said += await process.stdout.receive_some()
        answer = told(said.decode())
        assert answer["distributed"]
        stream = await trio.open_tcp_stream("127.0.0.1", int(answer["port"]))
        await stream.aclose()
        assert await process.wait() == 0
    await process.stdout.aclose()
