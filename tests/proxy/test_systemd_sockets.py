"""Sockets that systemd hands over: found by their names, or by what the configuration says in any case."""

import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

#: A process that systemd has started, so that its sockets have the numbers from 3 on. Says where it would listen, or
#: why it would not: for each group of addresses (public, schedulers, private) a line.
STARTED_BY_SYSTEMD = """
import os, sys, trio
from contextlib import AsyncExitStack
from gateway.errors import StartError
from gateway.proxy.listeners import open_ports
given, groups = sys.argv[1].split(), [argument.split(",") for argument in sys.argv[2:]]
for number, listener in enumerate([os.dup(int(listener)) for listener in given], 3):
    os.dup2(listener, number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(given)), "LISTEN_FDNAMES": "web:more"}

def number(listener):
    inodes = {os.fstat(int(fd)).st_ino: index for index, fd in enumerate(given)}
    return inodes.get(os.fstat(listener.fileno()).st_ino, "new")

async def main():
    for public, schedulers, private in groups:
        async with AsyncExitStack() as stack:
            try:
                ports = await open_ports(stack, public=public, schedulers=schedulers, private=private)
            except StartError as error:
                print(error)
            else:
                print(*("+".join(str(number(one)) for one in each) for each in vars_of(ports)), sep=",")

def vars_of(ports):
    return ports.public, ports.schedulers, ports.private

trio.run(main)
"""


def started(listeners: Sequence[socket.socket], *groups: str) -> list[str]:
    """What such a process says of these groups of addresses."""
    given = [listener.fileno() for listener in listeners]
    command = [sys.executable, "-W", "ignore", "-c", STARTED_BY_SYSTEMD, " ".join(map(str, given)), *groups]
    done = subprocess.run(command, pass_fds=given, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@contextmanager
def listening(*hosts: str) -> Iterator[tuple[list[socket.socket], list[int]]]:
    """Sockets at free ports of these hosts, and the ports."""
    with ExitStack() as stack:
        found = []
        for host in hosts:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            dual = host == "::"
            found.append(stack.enter_context(socket.create_server((host, 0), family=family, dualstack_ipv6=dual)))
        yield found, [listener.getsockname()[1] for listener in found]


def test_by_name() -> None:
    with listening("127.0.0.1", "127.0.0.1") as (given, _):
        assert started(given, "systemd,,", "systemd:web,systemd:more,", "systemd:other,,") == [
            "0+1,,",
            "0,1,",
            "cannot listen at 'systemd:other': systemd has handed over 2 sockets, none is called 'other'",
        ]


def test_by_number() -> None:
    with listening("127.0.0.1") as (given, _):
        assert started(given, "fd://3,,") == ["0,,"]


def test_at_the_addresses_of_the_configuration() -> None:
    with listening("::", "127.0.0.1", "::1") as (given, (everywhere, four, six)):
        assert started(
            given,
            f":{everywhere},127.0.0.1:{four},[::1]:{six}",
            f"[::]:{everywhere},localhost:{four},[::1]:{six}",
            f":{everywhere},localhost:{four},127.0.0.1:0",
        ) == [
            "0,1,2",
            "0,1,2",
            f"systemd listens at [::1]:{six} for this gateway, where no option says so: after a change of addresses,"
            " write its units anew (dask-gateway-server systemd-unit --install)",
        ]


def test_a_narrower_or_another_address_is_not_taken() -> None:
    with listening("127.0.0.1", "0.0.0.0") as (given, (local, everywhere)):
        told = started(given, f"127.0.0.2:{local},0.0.0.0:{everywhere},", f"127.0.0.1:{local},:{everywhere},")
    assert told[0].startswith(f"systemd listens at 127.0.0.1:{local} for this gateway")
    assert told[1] == "0,1,"


def test_unix_sockets(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(str(tmp_path / "public.sock"))
        given.listen()
        assert started([given], f"unix:{tmp_path}/public.sock,,") == ["0,,"]
        assert "systemd listens at unix:" in started([given], f"unix:{tmp_path}/other.sock,,")[0]


@pytest.mark.parametrize("address", ["127.0.0.1:0", "systemd"])
def test_what_does_not_listen_is_none(address: str) -> None:
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        (told,) = started([given], f"{address},,")
    assert "listen" in told
