"""TLS connections that never say anything: requests for new keys, and for another handshake."""

import ctypes
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.proxy.handshakes import AT_ONCE
from tests.attacks.attacked import probe
from tests.attacks.http2_peer import open_secure
from tests.support.proxy_peers import connect

CONNECTIONS = 5
#: Bytes that each connection would send: ten thousand new keys.
MUCH = 10_000 * 27
#: What may have gone before the gateway closes: its allowance, and what the kernel's buffers take.
AT_MOST = 64 * 1024


class Client:
    """A TLS client that can ask for new keys, which Python's cannot."""

    def __init__(self, context: ssl.SSLContext, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        try:
            self._library = ctypes.CDLL("libssl.so.3")
            self._library.SSL_key_update.argtypes = [ctypes.c_void_p, ctypes.c_int]
        except (OSError, AttributeError):
            pytest.skip("needs OpenSSL 3 as a shared library")
        # The third field of CPython's object, behind its head and the socket.
        self._ssl = ctypes.c_void_p.from_address(id(self.tls._sslobj) + 24).value  # type: ignore[attr-defined]

    async def shake_hands(self) -> None:
        while True:
            try:
                self.tls.do_handshake()
                await self.stream.send_all(self.outgoing.read())
                return
            except ssl.SSLWantReadError:
                await self.stream.send_all(self.outgoing.read())
                self.incoming.write(await self.stream.receive_some())

    def new_keys(self, *, answered: bool) -> bytes:
        """A message by which we change our keys, and ask for the other side's to be changed if it is `answered`."""
        assert self._library.SSL_key_update(self._ssl, int(answered))
        self.tls.do_handshake()
        return self.outgoing.read()


@pytest.mark.parametrize("answered", [False, True])
async def test_new_keys_have_a_budget(answered: bool, tmp_path: Path, slow_clock: trio.testing.MockClock) -> None:
    async with open_secure(tmp_path) as gateway:
        assert gateway.tls is not None
        gateway.tls.set_alpn_protocols(["http/1.1"])
        taken: list[int] = []

        async def attack(client: Client) -> None:
            many = bytearray()
            while len(many) < MUCH:
                many += client.new_keys(answered=answered)
            sent = 0
            async with client.stream:
                with suppress(trio.BrokenResourceError):
                    for start in range(0, len(many), 4096):
                        await client.stream.send_all(many[start : start + 4096])
                        sent += 4096
                        await trio.testing.wait_all_tasks_blocked()  # the gateway has read it
            taken.append(sent)

        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                stream = await connect(("127.0.0.1", gateway.port))
                client = Client(gateway.tls, stream)
                await client.shake_hands()
                nursery.start_soon(attack, client)
            await probe(gateway)
        assert max(taken) <= 2 * AT_MOST
        await probe(gateway)


async def test_now_and_then_they_are_nothing_special(tmp_path: Path) -> None:
    async with open_secure(tmp_path) as gateway:
        assert gateway.tls is not None
        gateway.tls.set_alpn_protocols(["http/1.1"])
        async with await connect(("127.0.0.1", gateway.port)) as stream:
            client = Client(gateway.tls, stream)
            await client.shake_hands()
            for _ in range(100):
                await stream.send_all(client.new_keys(answered=True))
                client.tls.write(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await stream.send_all(client.outgoing.read())
                answer = b""
                while b'"version"' not in answer:
                    client.incoming.write(await stream.receive_some())
                    with suppress(ssl.SSLWantReadError):
                        answer += client.tls.read(65536)
                assert answer.startswith(b"HTTP/1.1 200 ")


async def test_another_handshake_is_not_had(tmp_path: Path) -> None:
    """TLS 1.2 had them; the gateway refuses, and a client that goes on asking is no better off than above."""
    async with open_secure(tmp_path) as gateway:
        assert gateway.tls is not None
        gateway.tls.set_alpn_protocols(["http/1.1"])
        gateway.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        async with await connect(("127.0.0.1", gateway.port)) as stream:
            client = Client(gateway.tls, stream)
            await client.shake_hands()
            assert client._library.SSL_renegotiate(ctypes.c_void_p(client._ssl))
            with pytest.raises(ssl.SSLError, match="NO_RENEGOTIATION"):
                await client.shake_hands()
        await probe(gateway)


class Rounds(trio.abc.Instrument):
    """Counts the steps of handshakes that a server makes in one round of the loop; `most` is the largest number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = self.total = self._now = 0
        begun: set[int] = set()
        do_handshake = ssl.SSLObject.do_handshake

        def counted(connection: ssl.SSLObject) -> None:
            if connection.server_side:
                if id(connection) in begun:  # the first one only asks for the hello
                    self._now += 1
                    self.total += 1
                    self.most = max(self.most, self._now)
                begun.add(id(connection))
            do_handshake(connection)

        monkeypatch.setattr(ssl.SSLObject, "do_handshake", counted)

    def before_io_wait(self, timeout: float) -> None:
        self._now = 0


async def test_handshakes_are_made_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd says hello at once. Who comes from elsewhere does not wait for all of them."""
    crowd = 200
    async with open_secure(tmp_path) as gateway:
        rounds = Rounds(monkeypatch)
        trio.lowlevel.add_instrument(rounds)
        done: list[int] = []
        ready = trio.Event()

        async def come(task_status: trio.TaskStatus[None]) -> None:
            async with await connect(("127.0.0.1", gateway.port), source="127.0.0.2") as stream:
                assert gateway.tls is not None
                client = Client(gateway.tls, stream)
                task_status.started()
                await ready.wait()
                await client.shake_hands()
                client.tls.write(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                await stream.send_all(client.outgoing.read())
                await stream.receive_some()  # the gateway has heard the end of the handshake
                done.append(1)

        async with trio.open_nursery() as nursery:
            for _ in range(crowd):
                await nursery.start(come)
            ready.set()
            await probe(gateway)
            assert len(done) < crowd / 2
        trio.lowlevel.remove_instrument(rounds)
        assert rounds.total >= crowd
        assert rounds.most <= AT_ONCE
