"""Where the gateway listens, what proves who it is there, and where jobs look for it."""

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import trio
from cryptography import x509

from gateway.addresses import parse_address
from gateway.config.finding import Finding, doubt, failure, fine, skipped
from gateway.errors import StartError
from gateway.proxy.certificate import server_context
from gateway.server.doctor.patient import Patient

_TIMEOUT = 10.0
#: A certificate that ends within this time is told of.
_SOON = timedelta(days=14)


async def ports(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Whether each address can be listened at, or a gateway does already."""
    config = patient.config
    for option, address in (
        ("c.Proxy.address", config.proxy.address),
        ("c.Proxy.tcp_address", config.proxy.tcp_address),
        ("c.DaskGateway.address", config.gateway.address),
    ):
        if address and not (option == "c.Proxy.tcp_address" and address == config.proxy.address):
            yield await _port(option, address)


async def _port(option: str, written: str) -> Finding:
    subject = f"port of {option.removeprefix('c.')}"
    try:
        address = parse_address(written)
    except ValueError:
        return skipped(subject, f"{written} is opened by somebody else")
    try:
        infos = socket.getaddrinfo(address.host or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, *_, place in infos[:1]:
            with socket.socket(family) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(place)
    except OSError as error:
        if await _answers(address.host, address.port):
            return fine(subject, f"{written}: a gateway is at work there")
        remedy = f"ss -ltnp 'sport = :{address.port}'"
        return failure(subject, f"{written} cannot be listened at: {error.strerror or error}", remedy)
    return fine(subject, f"{written} is free")


async def _answers(host: str, port: int) -> bool:
    """Whether a gateway is there, with or without TLS."""
    with suppress(OSError, trio.TooSlowError, trio.BrokenResourceError, ssl.SSLError):
        for secure in (False, True):
            if b'"version"' in await _ask(host or "127.0.0.1", port, "/api/version", secure=secure):
                return True
    return False


async def _ask(host: str, port: int, path: str, *, secure: bool = False) -> bytes:
    """The answer to a GET; whoever answers proves nothing. Raises OSError, trio.TooSlowError and trio's errors."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with trio.fail_after(_TIMEOUT):
        stream: trio.abc.Stream = await trio.open_tcp_stream(host, port)
        if secure:
            stream = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
        async with stream:
            await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while (piece := await stream.receive_some(4096)) and len(answer) < 65536:
                answer += piece
            return answer


async def certificate(patient: Patient) -> AsyncGenerator[Finding, None]:
    """Key and certificate of the public port: whether they fit, for which names, until when."""
    await trio.lowlevel.checkpoint()
    cert, key = patient.config.proxy.tls_cert, patient.config.proxy.tls_key
    if not cert:
        yield doubt("certificate", "there is none: what users send can be read on the way", "c.Proxy.tls_cert, tls_key")
        return
    try:
        server_context(cert, key)
    except StartError as error:
        yield failure("certificate", str(error), f"openssl x509 -noout -text -in {cert}")
        return
    mine = x509.load_pem_x509_certificate(await trio.Path(cert).read_bytes())
    yield _validity(cert, mine)
    yield _names(patient, cert, mine)


def _validity(path: str, mine: x509.Certificate) -> Finding:
    now, begin, end = datetime.now(UTC), mine.not_valid_before_utc, mine.not_valid_after_utc
    remedy = f"a new certificate in {path}; a gateway at work takes it by itself"
    if now >= end:
        return failure("certificate", f"it has expired on {end:%Y-%m-%d}", remedy)
    if now < begin:
        return failure("certificate", f"it is valid from {begin:%Y-%m-%d %H:%M} on, which is not yet", "date")
    if end - now < _SOON:
        return doubt("certificate", f"it expires on {end:%Y-%m-%d}", remedy)
    return fine("certificate", f"it is valid until {end:%Y-%m-%d}, and the key is its own")


def _names(patient: Patient, path: str, mine: x509.Certificate) -> Finding:
    try:
        names = mine.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    except x509.ExtensionNotFound:
        found = []
    wanted = [name for name in patient.config.proxy.host_names if not name.startswith(".")] or [socket.getfqdn()]
    missing = [name for name in wanted if not any(_matches(name, pattern) for pattern in found)]
    if not missing:
        return fine("names of the certificate", ", ".join(found))
    evidence = f"it is not for {', '.join(missing)}, but for {', '.join(found) or 'nobody'}"
    subject, remedy = "names of the certificate", f"a certificate for {missing[0]} in {path}"
    if patient.config.proxy.host_names:
        return failure(subject, evidence, remedy)
    return doubt(subject, evidence, f"{remedy}; if users know this host by another name, c.Proxy.host_names says so")


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.partition(".")[2].lower() == pattern[2:].lower()
    return name.lower() == pattern.lower()
