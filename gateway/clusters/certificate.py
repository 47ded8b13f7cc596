"""Certificates of clusters, and the TLS of the public port.

Each cluster has one self-signed certificate that is its own authority, the
scheduler's server certificate, and the client certificate of everybody who
may talk to it: whoever holds the key belongs to the cluster. Its peers
(distributed, the published client) check the chain and not the host name.
So the extensions are those that a strict verifier wants to see on an
authority (RFC 5280 section 4.2.1, enforced by `ssl.VERIFY_X509_STRICT`, the
default from Python 3.13 on), and its purposes allow both ends of a connection.

The key is EC P-256: made in well under a millisecond, so a cluster's start
does not need a thread for it.
"""

import datetime
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import StartError

#: A compute node whose clock is behind must not find the certificate "not yet valid".
_CLOCK_SKEW = datetime.timedelta(days=1)
#: Longer than any cluster lives: nothing renews the certificate of a running cluster.
_LIFETIME = datetime.timedelta(days=30 * 365)


def new_cluster_certificate(name: str) -> tuple[str, str]:
    """A new certificate and its private key, both as PEM text.

    `name` is a DNS label (at most 63 characters of `[a-z0-9-]`); the
    certificate is valid for it and for `dask-internal`.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name), x509.DNSName("dask-internal")]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_pem.decode()


def _key_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def server_context(cert_path: str | os.PathLike[str], key_path: str | os.PathLike[str]) -> ssl.SSLContext:
    """The TLS of the public port: 1.2 or newer, forward secret, HTTP/2 and HTTP/1.1.

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
