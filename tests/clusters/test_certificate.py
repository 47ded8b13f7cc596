"""Certificates are judged by OpenSSL itself, through real handshakes in memory."""

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from gateway.clusters.certificate import new_cluster_certificate
from gateway.errors import StartError
from gateway.proxy.certificate import server_context

NAME = "daskgateway-0123456789abcdef"


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str = NAME) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A complete handshake over memory; raises what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    waiting = set(ends)
    for _ in range(10):
        for end in ends:
            try:
                end.do_handshake()
                waiting.discard(end)
            except ssl.SSLWantReadError:
                pass
        if not waiting:
            return ends
    raise AssertionError("the handshake does not end")


def cluster_context(purpose: ssl.Purpose, pems: tuple[str, str], directory: Path) -> ssl.SSLContext:
    """As distributed and the published client make it: chain checked, host name not."""
    cert, key = directory / "cert.pem", directory / "key.pem"
    cert.write_text(pems[0])
    key.write_text(pems[1])
    context = ssl.create_default_context(purpose, cadata=pems[0])
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default of newer Pythons
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(cert, key)
    return context


def test_one_certificate_is_authority_server_and_client(tmp_path: Path) -> None:
    pems = new_cluster_certificate(NAME)
    server = cluster_context(ssl.Purpose.CLIENT_AUTH, pems, tmp_path)
    client = cluster_context(ssl.Purpose.SERVER_AUTH, pems, tmp_path)
    ends = handshake(server, client, "some.other.host")
    for end in ends:
        assert ("DNS", "dask-internal") in end.getpeercert()["subjectAltName"]


def test_the_host_name_could_be_checked_too(tmp_path: Path) -> None:
    pems = new_cluster_certificate(NAME)
    server = cluster_context(ssl.Purpose.CLIENT_AUTH, pems, tmp_path)
    client = cluster_context(ssl.Purpose.SERVER_AUTH, pems, tmp_path)
    client.check_hostname = True
    handshake(server, client, NAME)
    handshake(server, client, "dask-internal")


@pytest.mark.parametrize("stranger", ["server", "client"])
def test_another_clusters_certificate_is_refused(tmp_path: Path, stranger: str) -> None:
    contexts = {}
    for end, purpose in (("server", ssl.Purpose.CLIENT_AUTH), ("client", ssl.Purpose.SERVER_AUTH)):
        ours, theirs = new_cluster_certificate(NAME), new_cluster_certificate(NAME)
        context = cluster_context(purpose, theirs if end == stranger else ours, tmp_path)
        contexts[end] = context
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(contexts["server"], contexts["client"])


def test_certificate_has_what_the_wire_needs() -> None:
    cert_pem, key_pem = new_cluster_certificate(NAME)
    certificate = x509.load_pem_x509_certificate(cert_pem.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [NAME, "dask-internal"]
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now - datetime.timedelta(hours=1)
    assert certificate.not_valid_after_utc > now + datetime.timedelta(days=20 * 365)
    key = serialization.load_pem_private_key(key_pem.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_certificates_are_never_alike() -> None:
    assert new_cluster_certificate(NAME) != new_cluster_certificate(NAME)


def test_longest_name() -> None:
    new_cluster_certificate("d" * 63)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "server.crt", tmp_path / "server.key"
    cert_pem, key_pem = new_cluster_certificate("gateway")
    cert.write_text(cert_pem)
    key.write_text(key_pem)
    return cert, key


def client_of(cert: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(cert))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_server_context(files: tuple[Path, Path], version: ssl.TLSVersion, protocol: str) -> None:
    client = client_of(files[0])
    client.maximum_version = version
    client.set_alpn_protocols([protocol])
    ends = handshake(server_context(*files), client, "gateway")
    assert {end.selected_alpn_protocol() for end in ends} == {protocol}
    if version is ssl.TLSVersion.TLSv1_2:
        assert ends[0].cipher()[0].startswith("ECDHE-")


def test_server_prefers_http2(files: tuple[Path, Path]) -> None:
    client = client_of(files[0])
    client.set_alpn_protocols(["http/1.1", "h2"])
    assert handshake(server_context(*files), client, "gateway")[1].selected_alpn_protocol() == "h2"


def test_old_tls_is_refused(files: tuple[Path, Path]) -> None:
    client = client_of(files[0])
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        handshake(server_context(*files), client, "gateway")


def test_every_cipher_is_forward_secret_and_authenticated(files: tuple[Path, Path]) -> None:
    ciphers = server_context(*files).get_ciphers()
    assert all(cipher["aead"] for cipher in ciphers)
    assert {cipher["kea"] for cipher in ciphers} == {"kx-ecdhe", "kx-any"}  # "any" is TLS 1.3


@pytest.mark.parametrize(("index", "option"), [(0, "Proxy.tls_cert"), (1, "Proxy.tls_key")])
@pytest.mark.parametrize("damage", ["missing", "directory", "garbage", "empty", "unset"])
def test_unusable_files_are_named(files: tuple[Path, Path], index: int, option: str, damage: str) -> None:
    paths: list[str | Path] = list(files)
    bad = files[index]
    bad.unlink()
    if damage == "directory":
        bad.mkdir()
    elif damage in {"garbage", "empty"}:
        bad.write_bytes(b"\x00\xff nonsense" if damage == "garbage" else b"")
    elif damage == "unset":
        paths[index] = ""
    with pytest.raises(StartError) as caught:
        server_context(*paths)
    assert option in str(caught.value)
    assert damage == "unset" or str(bad) in str(caught.value)


def test_key_of_another_certificate(files: tuple[Path, Path]) -> None:
    files[1].write_text(new_cluster_certificate("other")[1])
    with pytest.raises(StartError, match="does not belong to") as caught:
        server_context(*files)
    for word in ("Proxy.tls_key", "Proxy.tls_cert", *map(str, files)):
        assert word in str(caught.value)


def test_key_of_another_kind(files: tuple[Path, Path]) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    with pytest.raises(StartError, match="does not belong to"):
        server_context(*files)


def test_certificate_that_openssl_finds_too_weak(files: tuple[Path, Path]) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    with pytest.raises(StartError, match="EE_KEY_TOO_SMALL"):
        server_context(*files)


def test_encrypted_key_is_refused_without_a_question(files: tuple[Path, Path]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = serialization.BestAvailableEncryption(b"passphrase")
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(StartError, match="encrypted"):
        server_context(*files)
