"""What is looked at on this host alone: files, ports, certificates, the configuration."""

import os
import socket
import ssl
from datetime import timedelta

import pytest
import trio
import trustme
from attrs import frozen
from cryptography import x509

from gateway.addresses import Address
from gateway.config.load import load
from gateway.doctor import account, certificate, configuration, ports, room, storage
from gateway.doctor.certificate import matches, names_verdict, time_verdict
from gateway.doctor.examination import Subject, examine
from gateway.doctor.finding import Status, ok
from gateway.doctor.site import Site
from gateway.errors import ConfigError, StartError


def site_of(tmp_path, text):
    file = tmp_path / "config.py"
    file.write_text(text)
    return Site(config=load(file), file=file)


async def look(subject, site):
    return await examine(site, [Subject("subject", subject)])


@frozen
class FileSystem:
    f_bavail: int = 2**20
    f_frsize: int = 4096
    f_files: int = 10**6
    f_favail: int = 10**6
    f_flag: int = 0


@pytest.mark.parametrize(
    ("system", "statuses"),
    [
        (FileSystem(), ["ok", "ok"]),
        (FileSystem(f_files=0, f_favail=0), ["ok"]),
        (FileSystem(f_bavail=2**17), ["warning", "ok"]),
        (FileSystem(f_bavail=10), ["failed", "ok"]),
        (FileSystem(f_favail=5000), ["ok", "warning"]),
        (FileSystem(f_favail=0), ["ok", "failed"]),
        (FileSystem(f_flag=1), ["failed"]),
    ],
)
def test_room_on_a_file_system(system, statuses):
    assert [finding.status for finding in room.verdicts("database", "/var", system)] == statuses


def test_few_files():
    assert account.files_verdict(1024).status is Status.WARNING
    assert account.files_verdict(65536).status is Status.OK
    assert "any number" in account.files_verdict(-1).evidence


def test_mistakes_of_a_configuration_are_findings(tmp_path):
    with pytest.raises(ConfigError) as raised:
        site_of(tmp_path, "c.Proxy.adress = 1\nc.Backend.cluster_start_timeout = 'x'\n")
    found = list(configuration.mistakes(str(raised.value), tmp_path / "config.py"))
    assert [finding.status for finding in found] == ["failed", "failed"]
    assert "config.py:1" in found[0].evidence
    assert "check-config -f" in found[0].remedy
    assert len(list(configuration.mistakes("There is no file", None))) == 1


def test_warnings_of_a_configuration_and_a_file_of_everybodys(tmp_path):
    tmp_path.chmod(0o755)
    site = site_of(tmp_path, "c.Proxy.address = ':0'\n")
    site.file.chmod(0o666)
    found = list(configuration.verdicts(site.config, site.file))
    assert {"configuration file"} <= {finding.check for finding in found if finding.status is Status.FAILED}
    site.file.chmod(0o660)
    assert "a group" in list(configuration.verdicts(site.config, site.file))[-1].evidence
    site.file.chmod(0o600)
    assert list(configuration.verdicts(site.config, site.file))[-1].check == "configuration"
    assert any("ANYBODY" in finding.evidence for finding in found if finding.status is Status.WARNING)


async def test_a_database_that_is_not_there_yet_and_a_folder_that_is_missing(tmp_path):
    tmp_path.chmod(0o700)
    site = site_of(tmp_path, f"c.DBBackendBase.db_url = 'sqlite:///{tmp_path}/none/a.sqlite'\n")
    missing, *_ = await look(storage.examine, site)
    assert (missing.check, missing.status) == ("database folder", Status.FAILED)
    (tmp_path / "none").mkdir(mode=0o700)
    found = await look(storage.examine, site)
    assert found[-1].evidence.endswith("is not there yet; the gateway makes it")
    (tmp_path / "none" / "a.sqlite").write_bytes(b"no database")
    found = await look(storage.examine, site)
    assert (found[-1].status, found[-1].check) == (Status.FAILED, "database")
    (tmp_path / "none" / "a.sqlite").write_bytes(b"")
    site = site_of(tmp_path, "c.DBBackendBase.db_url = 'sqlite://'\n")
    (finding,) = await look(storage.examine, site)
    assert finding.status is Status.SKIPPED


async def test_ports_that_are_free_foreign_or_nobodys(tmp_path, nursery):
    listener, other = socket.socket(), socket.socket()
    for one in (listener, other):
        one.bind(("127.0.0.1", 0))
        one.listen()

    async def answer(stream):
        await stream.receive_some(1000)
        await stream.send_all(b'HTTP/1.1 200 OK\r\n\r\n{"version":"1.2"}')
        await stream.aclose()

    trio_listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    nursery.start_soon(trio.serve_listeners, answer, [trio_listener])

    async def hang_up(stream):
        await stream.aclose()

    nursery.start_soon(trio.serve_listeners, hang_up, [trio.SocketListener(trio.socket.from_stdlib_socket(other))])
    gateway, foreign = listener.getsockname()[1], other.getsockname()[1]
    text = f"""
c.Proxy.address = "127.0.0.1:{gateway}"
c.Proxy.tcp_address = "127.0.0.1:0"
c.DaskGateway.address = "127.0.0.1:{foreign}"
"""
    site = site_of(tmp_path, text)
    held, free, taken = await look(ports.examine, site)
    assert (held.status, free.status, taken.status) == ("ok", "ok", "failed")
    assert "version 1.2" in held.evidence
    assert f"user id {os.geteuid()}" in taken.evidence
    assert f"sport = :{foreign}" in taken.remedy
    assert await ports.gateway_version(Address("127.0.0.1", foreign)) == ""


async def test_the_port_for_schedulers_is_believed_beside_a_gateway_alone(tmp_path, nursery):
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    public, schedulers = (one.getsockname()[1] for one in listeners)
    answers = b'HTTP/1.1 200 OK\r\n\r\n{"version":"1.2"}'

    async def answer(stream):
        await stream.receive_some(1000)
        await stream.send_all(answers)
        await stream.aclose()

    async def hang_up(stream):
        await stream.aclose()

    for serve, listener in zip((answer, hang_up), listeners, strict=True):
        one = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        nursery.start_soon(trio.serve_listeners, serve, [one])
    text = f"c.Proxy.address = '127.0.0.1:{public}'\nc.Proxy.tcp_address = '127.0.0.1:{schedulers}'\n"
    site = site_of(tmp_path, text)
    assert [one.status for one in await look(ports.examine, site)] == ["ok", "ok"]
    answers = b"SSH-2.0-OpenSSH\r\n"
    assert [one.status for one in await look(ports.examine, site)] == ["failed", "failed"]


async def test_addresses_that_cannot_be_listened_at(tmp_path):
    text = """
c.Proxy.address = "192.0.2.1:8000"
c.Proxy.tcp_address = "unix:/nowhere/at/all"
c.DaskGateway.address = "systemd:private"
"""
    elsewhere, missing, given = await look(ports.examine, site_of(tmp_path, text))
    assert (elsewhere.status, missing.status, given.status) == ("failed", "failed", "skipped")
    assert "ip -brief address" in elsewhere.remedy


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def leaf_of(issued):
    return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes())


def test_how_long_a_certificate_counts(authority):
    leaf = leaf_of(authority.issue_cert("gateway.example"))
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    moments = [begin - timedelta(days=1), end - timedelta(days=100), end - timedelta(days=3), end]
    verdicts = [time_verdict(leaf, moment).status for moment in moments]
    assert verdicts == ["failed", "ok", "warning", "failed"]


@pytest.mark.parametrize(
    ("name", "pattern", "same"),
    [
        ("Gateway.example.", "gateway.example", True),
        ("a.example", "*.example", True),
        ("a.b.example", "*.example", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("10.0.0.1", "*.0.0.1", True),  # which no certificate has
    ],
)
def test_which_names_a_certificate_is_for(name, pattern, same):
    assert matches(name, pattern) is same


def test_names_that_a_certificate_lacks(authority):
    leaf = leaf_of(authority.issue_cert("gateway.example", "10.0.0.1"))
    assert names_verdict(leaf, ["gateway.example", "10.0.0.1"], are_certain=True).status is Status.OK
    assert names_verdict(leaf, ["gateway.example", "other"], are_certain=True).status is Status.WARNING
    assert names_verdict(leaf, ["other"], are_certain=False).status is Status.WARNING
    finding = names_verdict(leaf, ["other"], are_certain=True)
    assert finding.status is Status.FAILED
    assert "for gateway.example, 10.0.0.1, and not for other" in finding.evidence


async def test_the_files_of_a_certificate(authority, tmp_path):
    issued = authority.issue_cert("gateway.example")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    key.chmod(0o600)
    text = f"c.Proxy.tls_cert = '{cert}'\nc.Proxy.tls_key = '{key}'\nc.Proxy.host_names = ['gateway.example']\n"
    site = site_of(tmp_path, text)
    assert {finding.status for finding in await look(certificate.examine, site)} == {Status.OK}
    key.chmod(0o644)
    found = await look(certificate.examine, site)
    assert [finding.check for finding in found if finding.status is Status.FAILED] == ["key"]
    key.write_bytes(authority.issue_cert("other").private_key_pem.bytes())
    (finding,) = await look(certificate.examine, site)
    assert finding.status is Status.FAILED
    assert "does not belong to the certificate" in finding.evidence
    (finding,) = await look(certificate.examine, site_of(tmp_path, ""))
    assert finding.status is Status.SKIPPED


async def test_one_that_hangs_or_fails_holds_up_no_other(tmp_path, autojump_clock):
    async def hang(site, say):
        say(ok("first", "seen"))
        await trio.sleep_forever()

    async def fail(site, say):
        raise ssl.SSLError("what a library says")

    async def refuse(site, say):
        raise StartError("A sentence.")

    async def well(site, say):
        say(ok("last", "well"))

    subjects = [Subject(name, f, 5.0) for name, f in (("a", hang), ("b", fail), ("c", refuse), ("d", well))]
    found = await examine(site_of(tmp_path, ""), subjects)
    assert [(finding.check, finding.status) for finding in found] == [
        ("first", "ok"),
        ("a", "failed"),
        ("b", "failed"),
        ("c", "failed"),
        ("last", "ok"),
    ]
    assert "within 5 seconds" in found[1].evidence
    assert found[3].evidence == "cannot be looked at: A sentence."
