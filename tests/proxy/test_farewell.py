"""Clients of clusters that have ended, with Dask's own client on the other side."""

import ssl
import sys
import tempfile
from contextlib import AsyncExitStack, suppress

import pytest
import trio
from distributed.protocol import loads
from distributed.protocol.utils import unpack_frames
from hypothesis import given
from hypothesis import strategies as st

from gateway.clusters.certificate import new_cluster_certificate
from gateway.proxy.comm_messages import (
    LENGTH_SIZE,
    MAX_MESSAGE,
    handshake,
    length,
    message,
    msgpack,
    registers,
    turned_away,
)
from gateway.proxy.farewell import MAX_FAREWELLS, RATE, Farewell
from gateway.proxy.routes import Routes
from tests.support.hellos import openssl_hello
from tests.support.proxy_peers import NAME, connect, public_port, receive_all

CERT, KEY = new_cluster_certificate("abc")
FAREWELL = Farewell("Cluster abc is not running: it failed: no disk", CERT, KEY)


def only_abc(name):
    return FAREWELL if name == "abc" else None


def context(*, own):
    """The TLS of a client that trusts the cluster, with the cluster's certificate as its `own` or without one."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cadata=CERT)
    if own:
        with tempfile.NamedTemporaryFile() as file:
            file.write(f"{CERT}{KEY}".encode())
            file.flush()
            client.load_cert_chain(file.name)
    return client


# What `get_client()` does. In a process of its own: Dask leaves a socket open when it is turned away.
CLIENT = """
import asyncio, sys
from dask_gateway.client import GatewaySecurity
from distributed import Client

async def main(port, cert, key):
    security = GatewaySecurity(tls_key=key, tls_cert=cert)
    try:
        await Client(f"gateway://127.0.0.1:{port}/abc", security=security, asynchronous=True, timeout="60s")
    except ImportError as error:
        print(error)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_published_client_is_told_the_reason_and_does_not_try_again():
    async with public_port(Routes(), farewell=only_abc) as address:
        command = [sys.executable, "-W", "ignore", "-c", CLIENT, str(address[1]), CERT, KEY]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    assert done.stdout.decode().strip() == FAREWELL.reason


async def test_a_stranger_learns_nothing():
    async with public_port(Routes(), farewell=only_abc) as address:
        stream = trio.SSLStream(await connect(address), context(own=False), server_hostname=NAME)
        said = b""
        with suppress(trio.BrokenResourceError):
            await stream.do_handshake()  # which TLS 1.3 completes before the server has seen our certificate
            said = bytes(await stream.receive_some(1000))
        assert said == b""
        await trio.aclose_forcefully(stream)


async def test_other_names_get_an_alert():
    async with public_port(Routes(), farewell=only_abc) as address, await connect(address) as client:
        await client.send_all(openssl_hello("daskgateway-other"))
        assert (await receive_all(client))[:2] == b"\x15\x03"
    async with (
        public_port(Routes(), farewell=only_abc, schedulers=False) as address,
        await connect(address) as client,
    ):
        await client.send_all(openssl_hello(NAME))
        assert (await receive_all(client))[:2] == b"\x15\x03"


async def test_so_many_are_told_at_once():
    async with public_port(Routes(), farewell=only_abc) as address, AsyncExitStack() as stack:
        for _ in range(MAX_FAREWELLS):
            client = await stack.enter_async_context(await connect(address))
            await client.send_all(openssl_hello(NAME))
            assert await client.receive_some(1) == b"\x16"  # the answer to it; then the client says no more
        async with await connect(address) as another:
            await another.send_all(openssl_hello(NAME))
            assert (await receive_all(another))[:2] == b"\x15\x03"


async def test_strangers_cannot_have_it_said_again_and_again(mock_clock):
    async def asked(address):
        async with await connect(address) as client:
            await client.send_all(openssl_hello(NAME))
            return await client.receive_some(1)

    async with public_port(Routes(), farewell=only_abc) as address:
        answers = [await asked(address) for _ in range(MAX_FAREWELLS + 1)]
        assert answers == [b"\x16"] * MAX_FAREWELLS + [b"\x15"]
        mock_clock.jump(2 / RATE)
        assert [await asked(address) for _ in range(3)] == [b"\x16", b"\x16", b"\x15"]


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0" * LENGTH_SIZE,
        b"\xff" * LENGTH_SIZE,
        message({"compression": None}) + b"\x09",
        handshake() + message({"op": "identity"}),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_whoever_says_something_else_is_not_answered(said):
    async with public_port(Routes(), farewell=only_abc) as address:
        for _ in range(2):  # and the port lives on
            raw = await connect(address)
            stream = trio.SSLStream(raw, context(own=True), server_hostname=NAME, https_compatible=True)
            await stream.send_all(said)
            await raw.send_eof()
            with trio.fail_after(60):
                heard = b""
                with suppress(trio.BrokenResourceError):
                    while data := await stream.receive_some(1000):
                        heard += data
            assert b"no disk" not in heard
            assert heard in (b"", handshake())
            await trio.aclose_forcefully(stream)


# ---- messages


def decoded(data):
    assert length(data[:LENGTH_SIZE]) == len(data) - LENGTH_SIZE
    return loads(unpack_frames(data[LENGTH_SIZE:]))


def test_messages_are_dask_s():
    assert decoded(handshake())["pickle-protocol"] == 4
    (told,) = decoded(turned_away("é" * 300))
    assert told == {"op": "stream-start", "error": "é" * 300}


@given(
    st.recursive(
        st.none() | st.integers(0, 127) | st.text(max_size=300),
        lambda inner: st.lists(inner, max_size=15) | st.dictionaries(st.text(max_size=40), inner, max_size=15),
        max_leaves=20,
    )
)
def test_msgpack(value):
    import msgpack as original

    assert original.unpackb(msgpack(value), strict_map_key=False) == value


def test_what_registers():
    assert registers(message({"op": "register-client"}))
    assert not registers(message({"op": "identity"}))


def test_a_message_has_its_limit():
    with pytest.raises(ValueError, match="bytes"):
        length((MAX_MESSAGE + 1).to_bytes(LENGTH_SIZE, "little"))
