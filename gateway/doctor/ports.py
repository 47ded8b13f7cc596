"""The ports: free, or held by a gateway that answers; anything else will refuse the gateway its start."""

import errno
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import trio

from gateway.addresses import Address, parse_address
from gateway.config.load import Config
from gateway.doctor.finding import Finding, failed, ok, skipped
from gateway.doctor.site import Say, Site, looked_at
from gateway.errors import StartError
from gateway.proxy.listeners import open_listeners
from gateway.proxy.systemd_sockets import HandedOver

#: Seconds that whoever holds a port may take to say who it is.
PATIENCE = 5.0
_HERE = "127.0.0.1"


def addresses(config: Config) -> dict[str, str]:
    """The addresses at which the gateway listens: by their options, each address once."""
    options = {
        "Proxy.address": config.proxy.address,
        "Proxy.tcp_address": config.proxy.tcp_address,
        "DaskGateway.address": config.gateway.address,
    }
    return {option: address for option, address in options.items() if address and _is_first(option, options)}


def _is_first(option: str, options: dict[str, str]) -> bool:
    return next(name for name, address in options.items() if address == options[option]) == option


async def examine(site: Site, say: Say) -> None:
    """Look at each port by itself."""
    for option, address in addresses(site.config).items():
        try:
            place = parse_address(address)
        except ValueError:
            say(await looked_at(_other, option, address))
            continue
        say(await _look(option, address, place, site.config))


def _other(option: str, address: str) -> Finding:
    """A Unix socket, or a socket that somebody else opens."""
    check = f"port {address}"
    if not address.startswith("unix:"):
        return skipped(check, f"c.{option}: whoever starts the gateway opens it")
    folder = os.path.dirname(address.removeprefix("unix:"))
    if not os.access(folder, os.W_OK | os.X_OK):
        evidence = f"c.{option}: no socket can be made in {folder}, which is missing or belongs to others"
        return failed(check, evidence, f"make the folder {folder} for the gateway's account")
    return ok(check, f"c.{option}: a socket can be made there")


async def _look(option: str, address: str, place: Address, config: Config) -> Finding:
    check = f"port {address}"
    try:
        for listener in await open_listeners(address, HandedOver()):
            listener.close()
    except StartError as error:
        code = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
        if code != errno.EADDRINUSE:
            return _unusable(check, option, str(error), code)
    else:
        return ok(check, f"c.{option}: free")
    if version := await gateway_version(place, "" if option == "DaskGateway.address" else config.proxy.prefix):
        return ok(check, f"c.{option}: held by a gateway that answers (version {version})")
    if option == "Proxy.tcp_address" and await _is_beside_gateway(config) and await _refuses_http(place):
        return ok(check, f"c.{option}: held, as it seems by the gateway that answers at {config.proxy.address}")
    holders = await looked_at(lambda: set(_holders(place.port)))
    whose = f" of user id {', '.join(sorted(holders))}" if holders else ""
    evidence = f"c.{option}: another program{whose} listens there, and it is no gateway that answers"
    return failed(check, evidence, f"ss -ltnp 'sport = :{place.port}' shows which; stop it, or set c.{option}")


def _unusable(check: str, option: str, reason: str, code: int | None) -> Finding:
    remedies = {
        errno.EACCES: "let systemd listen there: dask-gateway-server systemd-unit --install",
        errno.EADDRNOTAVAIL: f"c.{option} has to be an address of this host: ip -brief address shows them",
    }
    return failed(check, reason, remedies.get(code or 0, f"set c.{option} to an address of this host"))


async def gateway_version(place: Address, prefix: str = "") -> str:
    """The version of the gateway that answers at this address; empty when none does."""
    said = await _answer(place, f"{prefix}/api/version", None)
    if said.startswith(b"HTTP/1.1 308 "):  # to HTTPS; who it is proves its certificate (certificate.py), not this
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        said = await _answer(place, f"{prefix}/api/version", context)
    match = re.search(rb'\{"version": ?"([0-9A-Za-z.+-]{1,40})"\}', said)
    return match[1].decode() if match else ""


async def _answer(place: Address, path: str, context: ssl.SSLContext | None) -> bytes:
    """The beginning of what is answered to a GET, over TLS if there is a context; as much as has come in time."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    said = b""
    with trio.move_on_after(PATIENCE), suppress(OSError, trio.BrokenResourceError):
        stream: trio.abc.Stream = await trio.open_tcp_stream(*place.reached_at(_HERE))
        if context is not None:
            stream = trio.SSLStream(stream, context, server_hostname="localhost", https_compatible=True)
        async with stream:
            await stream.send_all(request.encode())
            while len(said) <= 65536 and (piece := await stream.receive_some(65536)):
                said += piece
    return said


async def _is_beside_gateway(config: Config) -> bool:
    """Whether a gateway answers at the public port."""
    with suppress(ValueError):
        return bool(await gateway_version(parse_address(config.proxy.address), config.proxy.prefix))
    return False


async def _refuses_http(place: Address) -> bool:
    """Whether whoever listens there ends what is no TLS without a word, as is so where schedulers' traffic goes."""
    with trio.move_on_after(PATIENCE), suppress(OSError):
        async with await trio.open_tcp_stream(*place.reached_at(_HERE)) as stream:
            try:
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return not await stream.receive_some(1000)
            except trio.BrokenResourceError:
                return True
    return False


def _holders(port: int, proc: Path = Path("/proc/net")) -> Iterator[str]:
    """The ids of the users whose sockets listen at a port: proc_net_tcp(5)."""
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and words[1].endswith(f":{port:04X}"):
                    yield words[7]
