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

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

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
