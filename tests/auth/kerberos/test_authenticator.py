"""The Kerberos authenticator against a real server: whose ticket is taken, and why one is not."""

import base64
import random
import shutil
import sys

import pytest
from structlog.testing import capture_logs

from gateway.auth.authenticator import Login
from gateway.auth.kerberos.authenticator import KerberosAuthenticator
from gateway.auth.kerberos.refusals import NO_TOKEN
from gateway.config.fields import SettingError
from gateway.errors import NoAccount, TryAgainLater, Unauthorized
from gateway.models import User
from tests.auth.test_authenticator import a_request
from tests.support.kdc import needs_kerberos, run_kdc

SPNEGO = bytes.fromhex("06062b0601050502")
KRB5 = bytes.fromhex("06092a864886f712010202")
MS_KRB5 = bytes.fromhex("06092a864882f712010202")
NTLMSSP = bytes.fromhex("060a2b06010401823702020a")
NTLM = b"NTLMSSP\0\1\0\0\0" + bytes(24)


@pytest.fixture(scope="module")
def kdc(tmp_path_factory):
    with run_kdc(tmp_path_factory.mktemp("kdc")) as kdc, pytest.MonkeyPatch.context() as patch:
        for name, value in kdc.environment.items():
            patch.setenv(name, value)
        yield kdc


@pytest.fixture(scope="module")
def alice(kdc):
    return kdc.log_in("alice")


@pytest.fixture
def authenticator(kdc):
    return KerberosAuthenticator(keytab=str(kdc.keytab))


async def show(authenticator, token):
    request = a_request(f"Negotiate {base64.b64encode(token).decode()}")
    return await authenticator.authenticate(request)


async def refused(authenticator, token, kind=Unauthorized):
    """The error of this very kind with which a token is refused."""
    with pytest.raises(kind) as caught:
        await show(authenticator, token)
    assert type(caught.value) is kind
    return caught.value


def der(tag, *parts):
    """A value of ASN.1."""
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def offer(mechanisms, token=b""):
    """What a client sends first that would take any of these mechanisms, with a token of the first one."""
    fields = [der(0xA0, der(0x30, *mechanisms))] + ([der(0xA2, der(0x04, token))] if token else [])
    return der(0x60, SPNEGO, der(0xA0, der(0x30, *fields)))


@needs_kerberos
@pytest.mark.parametrize("mechanism", ["krb5", "spnego"])
async def test_a_ticket_is_good_once(kdc, alice, authenticator, mechanism):
    token = kdc.token(alice, mechanism)
    user, challenge = await show(authenticator, token)
    assert user == User("alice")
    assert len(challenge) > 100
    error = await refused(authenticator, token)
    assert str(error) == "Kerberos refuses the ticket: Request is a replay. Each request needs a token of its own"
    assert len(error.challenge) > 100
    assert (await show(authenticator, kdc.token(alice, mechanism)))[0] == User("alice")


@needs_kerberos
@pytest.mark.parametrize("principal", ["alice@OTHER.TEST", "alice/admin", "alice\\@corp.test"])
async def test_principals_without_an_account(kdc, authenticator, principal):
    kdc.administer(f"addprinc -pw alice {principal}")
    who = kdc.log_in(principal)
    with capture_logs() as logs:
        error = await refused(authenticator, kdc.token(who), NoAccount)
    assert str(error).startswith(f"The Kerberos principal {principal}")
    assert "belongs to no account" in str(error)
    assert len(error.challenge) > 100
    assert [line["event"] for line in logs] == ["a principal was refused"]


@needs_kerberos
async def test_the_sites_rules_say_whose_account_a_principal_is(kdc, authenticator, monkeypatch):
    rules = r"auth_to_local = RULE:[1:$1@$0](^.*@OTHER\.TEST$)s/@.*/_other/" + "\nauth_to_local = DEFAULT"
    monkeypatch.setenv("KRB5_CONFIG", kdc.write_krb5_conf("rules.conf", rules=rules))
    alice, other = kdc.log_in("alice"), kdc.log_in("alice@OTHER.TEST")
    assert (await show(authenticator, kdc.token(alice)))[0] == User("alice")
    assert (await show(authenticator, kdc.token(other)))[0] == User("alice_other")
    for realms, who in (({"EXAMPLE.TEST"}, other), ({"OTHER.TEST"}, alice)):
        limited = KerberosAuthenticator(keytab=str(kdc.keytab), realms=realms)
        error = await refused(limited, kdc.token(who), NoAccount)
        assert "is of a realm that may not use this gateway" in str(error)
        assert len(error.challenge) > 100


@needs_kerberos
async def test_only_the_services_own_keys_count(kdc, alice):
    both = kdc.new_keytab("both.keytab", "HTTP/elsewhere", "host/localhost")
    named = kdc.token(alice, service="HTTP@elsewhere")
    assert (await show(KerberosAuthenticator(keytab=str(both)), named))[0] == User("alice")
    for service in ("HTTP", "HTTP@elsewhere"):
        authenticator = KerberosAuthenticator(keytab=str(both), service_name=service)
        error = await refused(authenticator, kdc.token(alice, service="host@localhost"))
        assert str(error).startswith("Kerberos refuses the ticket: ")
    host = KerberosAuthenticator(keytab=str(both), service_name="host")
    assert (await show(host, kdc.token(alice, service="host@localhost")))[0] == User("alice")


@needs_kerberos
async def test_a_keytab_of_another_service(kdc, alice):
    authenticator = KerberosAuthenticator(keytab=str(kdc.new_keytab("wrong.keytab", "HTTP/wrong")))
    for mechanism in ("krb5", "spnego"):
        error = await refused(authenticator, kdc.token(alice, mechanism))
        assert "HTTP/localhost@EXAMPLE.TEST not found in keytab" in str(error)
        assert "the address of the gateway has to be the host of its service principal" in str(error)


@needs_kerberos
async def test_new_keys_count_at_once(kdc, tmp_path):
    keytab = tmp_path / "http.keytab"
    shutil.copy(kdc.new_keytab("first.keytab", "HTTP/rotated"), keytab)
    authenticator, service = KerberosAuthenticator(keytab=str(keytab)), "HTTP@rotated"
    assert (await show(authenticator, kdc.token(kdc.log_in("alice"), service=service)))[0] == User("alice")
    new = kdc.new_keytab("second.keytab", "HTTP/rotated")
    error = await refused(authenticator, kdc.token(kdc.log_in("alice"), service=service))
    assert "kvno" in str(error)
    shutil.copy(new, keytab)
    assert (await show(authenticator, kdc.token(kdc.log_in("alice"), service=service)))[0] == User("alice")


@needs_kerberos
async def test_what_is_no_kerberos(kdc, alice, authenticator):
    good = kdc.token(alice)
    for token, told in (
        (b"garbage", NO_TOKEN),
        (bytes(1000), NO_TOKEN),
        (b"\x60", NO_TOKEN),
        (good[:200], NO_TOKEN),
        (offer([KRB5], good)[:200], NO_TOKEN),
        (NTLM, "such as NTLM"),
        (offer([NTLMSSP], NTLM), "such as NTLM"),
        (offer([NTLMSSP, KRB5], NTLM), "it has to begin with Kerberos"),
        (offer([KRB5]), "it has to begin with Kerberos"),
        (b"\x60\x06" + SPNEGO[:4], NO_TOKEN),
        (der(0xA1, der(0x30, der(0xA2, der(0x04, good)))), NO_TOKEN),  # as if there had been a first one
    ):
        error = await refused(authenticator, token)
        assert told in str(error)
        assert error.challenge.startswith("Negotiate")
    # As Windows offers it: its own mistaken number of Kerberos first.
    user, _ = await show(authenticator, offer([MS_KRB5, KRB5, NTLMSSP], good))
    assert user == User("alice")


@needs_kerberos
async def test_no_damage_does_more_than_to_be_refused(kdc, alice, authenticator):
    chance = random.Random(4559)
    tokens = [kdc.token(alice), kdc.token(alice, "spnego")]
    for _ in range(300):
        token = bytearray(chance.choice(tokens))
        for _ in range(chance.randrange(1, 4)):
            token[chance.randrange(len(token))] = chance.randrange(256)
        try:
            user, _ = await show(authenticator, bytes(token[: chance.randrange(1, 2000)]))
        except Unauthorized:
            continue
        assert user == User("alice")


@needs_kerberos
async def test_a_gateway_whose_kerberos_is_broken_says_so_and_blames_nobody(kdc, alice, monkeypatch, tmp_path):
    missing = KerberosAuthenticator(keytab=str(tmp_path / "gone.keytab"))
    monkeypatch.setenv("KRB5_CONFIG", kdc.write_krb5_conf("broken.conf", replays="nowhere/cache"))
    unremembered = KerberosAuthenticator(keytab=str(kdc.keytab))
    for authenticator, reason in ((missing, "gone.keytab' not found"), (unremembered, "No such file or directory")):
        for mechanism in ("krb5", "spnego"):
            with capture_logs() as logs:
                error = await refused(authenticator, kdc.token(alice, mechanism), TryAgainLater)
                authenticator.__dict__.pop("_refusals")  # so that the next line is not left out
            assert "log says why" in str(error)
            assert [line["event"] for line in logs] == ["no Kerberos ticket can be accepted"]
            assert reason in logs[0]["reason"]


def told(authenticator):
    return dict(authenticator.find_mistakes())


@needs_kerberos
def test_mistakes_that_are_found_at_the_start(kdc, tmp_path, monkeypatch):
    assert told(KerberosAuthenticator(keytab=str(kdc.keytab))) == {}
    assert told(KerberosAuthenticator(keytab=f"FILE:{kdc.keytab}", service_name="HTTP@localhost")) == {}
    assert "there is no file" in told(KerberosAuthenticator(keytab=str(tmp_path / "x")))["keytab"]
    reason = told(KerberosAuthenticator(keytab=str(kdc.keytab), service_name="nfs"))["keytab"]
    assert reason.startswith("must have a key of the service nfs: it has keys of HTTP/localhost@EXAMPLE.TEST (")
    monkeypatch.setenv("KRB5_CONFIG", "/nowhere")
    assert "default realm" in told(KerberosAuthenticator(keytab=str(kdc.keytab)))[""]


def test_a_missing_package_is_named_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gssapi", None)
    monkeypatch.delitem(sys.modules, "gateway.auth.kerberos.acceptor", raising=False)
    assert "pip install 'dask-gateway-trio[kerberos]'" in told(KerberosAuthenticator())[""]


@pytest.mark.parametrize(
    "values",
    [
        *({"service_name": name} for name in ("", "HTTP/host", "HTTP@", "HTTP@a b", "1", "HTTP@host@REALM", "x\n")),
        *({"keytab": path} for path in ("", "MEMORY:x", "FILE:", "FILE:DIR:x", "a\0b")),
    ],
    ids=str,
)
def test_values_that_cannot_be(values):
    with pytest.raises(SettingError):
        KerberosAuthenticator(**values)


def test_what_it_is_to_others():
    authenticator = KerberosAuthenticator(keytab="FILE:/etc/dask/http.keytab")
    assert authenticator.keytab == "/etc/dask/http.keytab"
    assert (authenticator.name, authenticator.reads, authenticator.challenge) == (
        "kerberos",
        ("negotiate",),
        "Negotiate",
    )
    assert authenticator.logs_in is Login.CHALLENGE


async def test_requests_without_a_token_ask_nobody():
    for header in (None, "", "Basic YTpi", "Negotiate", "Negotiate ??"):
        with pytest.raises(Unauthorized) as caught:
            await KerberosAuthenticator().authenticate(a_request(header))
        assert caught.value.challenge == "Negotiate"
