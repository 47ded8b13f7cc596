"""A server certificate that may be renewed while the server runs."""

import os
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from gateway.errors import GatewayError, StartError

_log = structlog.get_logger()


class ReloadingContext:
    """Gives the TLS context for a new connection; makes it anew when one of the files has changed.

    `make` reads the files. When it fails (half-written files, a key that does not fit), the earlier context
    stays in use, the log says why, and the next change is awaited. The first failure is the caller's: what `make`
    raises then.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], *paths: str) -> None:
        self._make = make
        self._paths = paths
        self._seen = self._look()
        self._context = make()

    def __call__(self) -> ssl.SSLContext:
        """Return the context to use now. A look at the files costs two stat(2), which is nothing beside a handshake."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = self._make()
            except (GatewayError, OSError, ssl.SSLError, ValueError) as error:
                _log.error("certificate not reloaded", files=self._paths, error=str(error))
            else:
                _log.info("certificate reloaded", files=self._paths)
        return self._context

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [self._stamp(path) for path in self._paths]

    @staticmethod
    def _stamp(path: str) -> tuple[int, int, int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def server_context(cert_path: str | os.PathLike[str], key_path: str | os.PathLike[str]) -> ssl.SSLContext:
    """Make the TLS settings of the public port: 1.2 or newer, forward secret, HTTP/2 and HTTP/1.1.

    `cert_path` is a PEM file with the server's certificate and those of its
    intermediate authorities, `key_path` one with its private key. Raises
    `StartError`, which names the option and the file, when they are not usable.
    """
    certificate, key = _load_certificate(cert_path), _load_key(key_path)
    if certificate.public_key() != key.public_key():
        raise StartError(
            f"Proxy.tls_key: the key in {os.fspath(key_path)} does not belong to the certificate in "
            f"{os.fspath(cert_path)} (Proxy.tls_cert). That file has to begin with the server's own certificate."
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2; those of 1.3 are all fine
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"])
    try:
        context.load_cert_chain(cert_path, key_path)
    except ssl.SSLError as error:
        raise StartError(
            f"Proxy.tls_cert: OpenSSL does not accept {os.fspath(cert_path)} with the key {os.fspath(key_path)} "
            f"({error.reason})."
        ) from error
    return context


def _load_certificate(path: str | os.PathLike[str]) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read("Proxy.tls_cert", path))
    except ValueError as error:
        raise StartError(f"Proxy.tls_cert: {os.fspath(path)} holds no certificate in PEM format.") from error


def _load_key(path: str | os.PathLike[str]) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(_read("Proxy.tls_key", path), password=None)
    except TypeError as error:  # OpenSSL would ask for the passphrase on the terminal
        raise StartError(
            f"Proxy.tls_key: the key in {os.fspath(path)} is encrypted; store it without a passphrase, "
            "readable only by the gateway's user (openssl pkey -in ... -out ...)."
        ) from error
    except ValueError as error:
        raise StartError(f"Proxy.tls_key: {os.fspath(path)} holds no private key in PEM format.") from error


def _read(option: str, path: str | os.PathLike[str]) -> bytes:
    if not os.fspath(path):
        raise StartError(f"{option} is not set: HTTPS needs both Proxy.tls_cert and Proxy.tls_key.")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise StartError(f"{option}: cannot read {os.fspath(path)}: {error.strerror}.") from error


def reloading_context(cert_path: str, key_path: str) -> ReloadingContext | None:
    """Make the TLS settings of the public port from these files, as they are renewed; None without a certificate.

    Raises `StartError` as `server_context` does.
    """
    if not cert_path:
        return None
    return ReloadingContext(partial(server_context, cert_path, key_path), cert_path, key_path)
