"""A bounded HTTP client for the servers that know who somebody is, and say so in JSON.

Such a server is the site's own, and may all the same be away, hang, be behind
a proxy that answers with a page of its own, or be somebody else by now. So an
exchange has one deadline for all of it, the wait for a connection included; an
answer has a limit; redirects are answers and are not followed, since the
request carries secrets; no cookies are kept. What goes wrong is one of two
errors: `Away` (nobody answers; the same may work later), or `BadGateway` (what
answers is not who was asked). Users read that sentence. The log has the address and the
reason, once in a while.

An idle connection may be closed by the other side at the very moment that it is
used again. What only asks (GET) is then asked once more; what counts once (POST) is not.

Names are looked up in threads of a limiter of its own: a name server that
hangs takes no thread from anybody else.
"""

import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import httpcore
import orjson
import trio
from attrs import field, frozen

from gateway.errors import BadGateway, TryAgainLater, innermost
from gateway.log import RateLimitedLog
from gateway.user_text import one_line

#: Seconds for an exchange, from the wait for a connection to the last byte.
DEADLINE = 10.0
#: Bytes of an answer. A user with a thousand groups, and sets of keys, are far below.
MOST_BYTES = 1024 * 1024
#: Connections at the same time, and seconds that an idle one is kept.
_CONNECTIONS, _IDLE = 10, 30.0
#: Look-ups of names under way.
_LOOK_UPS = 4
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "dask-gateway-server"}


class Away(TryAgainLater):
    """Nobody answers, or not in time."""


@frozen
class Answer:
    """An answer to a request; whose, is for its errors."""

    whom: str
    status: int
    content: bytes = field(repr=False)

    def json(self) -> Mapping[str, Any]:
        """The object that was sent. Raises `BadGateway` when it is none."""
        try:
            value = orjson.loads(self.content)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            raise BadGateway(f"{self.whom} has answered, but not with a JSON object")
        return value


class JsonClient:
    """Asks one server. `whom` is what users know it by, at the beginning of a sentence: "JupyterHub"."""

    def __init__(
        self,
        whom: str,
        tls: ssl.SSLContext | None = None,
        *,
        deadline: float = DEADLINE,
        most_bytes: int = MOST_BYTES,
        network: httpcore.AsyncNetworkBackend | None = None,
        proxy: str = "",
    ) -> None:
        """`tls` is for https (`client_context`); `network` stands in for real connections; `proxy` is a URL."""
        self._whom = whom
        self._deadline = deadline
        self._most_bytes = most_bytes
        self._log = RateLimitedLog(seconds=10.0)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or client_context(),
            proxy=httpcore.Proxy(proxy) if proxy else None,
            max_connections=_CONNECTIONS,
            keepalive_expiry=_IDLE,
            network_backend=network or Network(),
        )

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for something, twice if need be. Raises `Away` or `BadGateway`."""
        return await self._exchange("GET", url, headers or {}, b"", attempts=2)

    async def post_form(self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Send a form. Raises `Away` or `BadGateway`; it may have arrived all the same."""
        content_type = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._exchange("POST", url, {**(headers or {}), **content_type}, urlencode(form).encode())

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, attempts: int = 1
    ) -> Answer:
        try:
            with trio.fail_after(self._deadline):
                while True:
                    attempts -= 1
                    try:
                        return await self._attempt(method, url, {**_HEADERS, **headers}, body)
                    except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
                        if not attempts:
                            raise
        except trio.TooSlowError:
            reason = f"no answer within {self._deadline:g} s"
        except (httpcore.NetworkError, httpcore.ProxyError, httpcore.TimeoutException, OSError, UnicodeError) as error:
            reason = reason_of(error)
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            self._log.warning(f"what answers for {self._whom} speaks no HTTP", url=url, reason=reason_of(error))
            raise BadGateway(f"What answers in the place of {self._whom} does not speak HTTP") from error
        self._log.warning(f"{self._whom} does not answer a question about a user", url=url, reason=reason)
        raise Away(f"{self._whom} does not answer, so that nobody can say who you are; please try again later")

    async def _attempt(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        content = bytearray()
        async with self._pool.stream(method, url, headers=list(headers.items()), content=body) as response:
            with trio.CancelScope() as too_long:  # a `break` would leave httpcore's generators to the garbage collector
                async for chunk in response.aiter_stream():
                    content += chunk
                    if len(content) > self._most_bytes:
                        too_long.cancel()
        if len(content) > self._most_bytes:
            self._log.warning(f"{self._whom} answers at too great length", url=url)
            raise BadGateway(f"{self._whom} has answered with more than {self._most_bytes} bytes")
        return Answer(self._whom, response.status, bytes(content))


def client_context(ca: str = "", cert: str = "", key: str = "") -> ssl.SSLContext:
    """The TLS settings for asking a server: the machine's authorities, or those of a PEM file; maybe a certificate.

    Raises OSError (ssl.SSLError is one) when a file cannot be read, or does not hold what it should.
    """
    context = ssl.create_default_context(cafile=ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca:
        # Newer Pythons refuse authorities without extensions that sites' own, and JupyterHub's, often lack.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cert:
        context.load_cert_chain(cert, key or None, password=_no_password)
    return context


def _no_password() -> str:
    """Instead of a question at the terminal."""
    raise ssl.SSLError("the key is encrypted; a server has nobody to ask for its password")


def reason_of(error: BaseException) -> str:
    """What lies at the bottom of an error of httpcore, in one line: it wraps trio's, which wraps the system's."""
    while (below := _below(error)) is not None:
        error = innermost(below)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    text = error.strerror if isinstance(error, OSError) else str(error)
    return one_line(text or type(error).__name__, 200)


def _below(error: BaseException) -> BaseException | None:
    """What was wrapped. Pools of httpcore drop the cause, which is the argument as well."""
    argument = error.args[0] if error.args else None
    return error.__cause__ or (argument if isinstance(argument, BaseException) else None)


def _addresses(host: str, port: int) -> list[str]:
    """Runs in a thread. Raises OSError or, for a..b, UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Network(httpcore.AsyncNetworkBackend):
    """Connects as trio does, but for the look-up of names."""

    def __init__(self, look_up: Callable[[str, int], Sequence[str]] = _addresses) -> None:
        """`look_up` returns at least one address, and may block."""
        self._look_up = look_up
        self._trio = httpcore.TrioBackend()
        self._look_ups = trio.CapacityLimiter(_LOOK_UPS)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect with the first address that accepts. Raises what httpcore's own does, OSError, or UnicodeError."""
        found = await trio.to_thread.run_sync(self._look_up, host, port, limiter=self._look_ups, abandon_on_cancel=True)
        # The exchange has a deadline of its own; no address that swallows packets may take all of it.
        share = DEADLINE / len(found)
        for address in found[:-1]:
            try:
                return await self._trio.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._trio.connect_tcp(found[-1], port, share, local_address, socket_options)
