"""The MUNGE authenticator against a real munged: whose credential is taken, and why one is not."""

import os
import pwd

import pytest
from quart import Quart
from structlog.testing import capture_logs

from dask_gateway_login import MungeAuth
from dask_gateway_login.munge import new_credential
from gateway.auth.munge import library
from gateway.auth.munge.authenticator import MungeAuthenticator
from gateway.config.fields import SettingError
from gateway.errors import NoAccount, StartError, TryAgainLater, Unauthorized
from gateway.models import User
from tests.auth.test_authenticator import a_request
from tests.support.munged import needs_munge, run_munged
from tests.support.other_times import at, needs_faketime
from tests.support.users import ensure_users, is_root

URL = "https://gw.example.org:8000"
FOR_US = f"dask-gateway {URL}"


@pytest.fixture(scope="module")
def munged():
    with run_munged() as munged:
        yield munged


async def prepared(munged, own_urls=(), **options):
    """An authenticator after its setup. Root, who runs these tests in CI, is a user like others."""
    authenticator = MungeAuthenticator(
        **({"socket": str(munged.socket), "audience": [URL], "allow_root": True} | options)
    )
    app = Quart(__name__)
    app.config["OWN_URLS"] = own_urls
    await authenticator.setup(app)
    return authenticator


async def refused(authenticator, credential, kind=Unauthorized):
    """The text of the error of this very kind with which a credential is refused."""
    with pytest.raises(kind) as caught:
        await authenticator.authenticate(a_request(f"munge {credential}"))
    assert type(caught.value) is kind
    return str(caught.value)


ME = User(pwd.getpwuid(os.geteuid()).pw_name)


@needs_munge
async def test_a_credential_is_good_once(munged):
    authenticator = await prepared(munged)
    for scheme in ("munge", "Munge", "MUNGE"):
        credential = munged.credential(FOR_US)
        assert await authenticator.authenticate(a_request(f"{scheme} {credential}")) == ME
        told = await refused(authenticator, credential)
        assert told == (
            "The MUNGE credential is refused, since it was used before: each request needs a credential of its own"
        )


@needs_munge
@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="acts as several users")
async def test_a_credential_is_of_whoever_has_asked_for_it(munged):
    authenticator = await prepared(munged, allow_root=False)
    for user in ensure_users():
        credential = munged.credential(FOR_US, user=user)
        assert await authenticator.authenticate(a_request(f"munge {credential}")) == User(user)
    with capture_logs() as logs:
        told = await refused(authenticator, munged.credential(FOR_US), NoAccount)
    assert told == "Root may not use this gateway (c.MungeAuthenticator.allow_root)"
    assert [line["event"] for line in logs] == ["a user was refused"]
    told = await refused(authenticator, munged.credential(FOR_US, user=54321), NoAccount)
    assert told == "There is no account with the uid 54321 on the gateway's machine"


@needs_munge
@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ("", "not made for a Dask gateway"),
        (URL, "not made for a Dask gateway"),
        ("dask-gateway", "not made for a Dask gateway"),
        ("dask-gateway \x00", "not made for a Dask gateway"),
        ("dask-gateway ssh://gw.example.org:8000", "not made for a Dask gateway"),
        (
            "dask-gateway https://evil.example:8000",
            "it is for https://evil.example:8000, and this gateway is https://gw",
        ),
        ("dask-gateway http://gw.example.org:8000", "it is for http://gw.example.org:8000"),
        ("dask-gateway https://gw.example.org", "it is for https://gw.example.org:443"),
        ("dask-gateway https://gw.example.org:8000@evil.example", "not made for a Dask gateway"),
        ("dask-gateway https://gw.example.org.:8000", "it is for"),
    ],
)
async def test_a_credential_for_something_else(munged, payload, told):
    assert told in await refused(await prepared(munged), new_credential(payload, str(munged.socket)))


@needs_munge
async def test_without_an_audience_the_gateway_is_what_it_is_called(munged):
    authenticator = await prepared(munged, own_urls=("http://gw:8000", "http://localhost:8000"), audience=())
    for name in ("gw", "localhost"):
        credential = munged.credential(f"dask-gateway http://{name}:8000/prefix")
        assert await authenticator.authenticate(a_request(f"munge {credential}")) == ME
    told = await refused(authenticator, munged.credential(FOR_US))
    assert f"it is for {URL}, and this gateway is http://gw:8000 or http://localhost:8000" in told
    with pytest.raises(StartError, match=r"c\.MungeAuthenticator\.audience must be set"):
        await prepared(munged, audience=())


@needs_munge
@needs_faketime
async def test_old_future_and_foreign_credentials(munged):
    authenticator = await prepared(munged)
    with run_munged() as stranger:
        foreign = stranger.credential(FOR_US)
    assert "was made with another key" in await refused(authenticator, foreign)
    with run_munged(key=munged.key, environment=at("+1h")) as ahead:
        assert "is from the future: the clocks" in await refused(authenticator, ahead.credential(FOR_US))
    with run_munged(key=munged.key, environment=at("-1h")) as behind:
        assert "has expired: the clocks" in await refused(authenticator, behind.credential(FOR_US))
    own = munged.credential(FOR_US, "--restrict-uid", "54321")
    if not is_root():
        assert "is not for the gateway's user" in await refused(authenticator, own)


@needs_munge
async def test_damage(munged):
    authenticator = await prepared(munged)
    good = munged.credential(FOR_US)
    for place in range(6, len(good) - 8, 7):  # bits before the padding at the end may mean nothing
        damaged = good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :]
        assert await refused(authenticator, damaged)
    assert await authenticator.authenticate(a_request(f"munge {good}")) == ME


@pytest.mark.parametrize(
    "credential",
    ["", "x", "MUNGE:", "MUNGE::", "MUNGE:ä:", "MUNGE:A", "MUNGE:A:B:", "MUNGE:\0:", f"MUNGE:{'A' * 4001}:"],
)
async def test_what_is_no_credential(credential):
    told = await refused(MungeAuthenticator(), credential)
    assert told == "What the client sent with Authorization: munge is no credential of MUNGE"


async def test_other_schemes():
    for header in (None, "", "Basic YTpi"):
        with pytest.raises(Unauthorized) as caught:
            await MungeAuthenticator().authenticate(a_request(header))
        assert caught.value.challenge == "Munge"


async def test_the_reason_is_in_the_challenge_where_the_client_reads_it():
    with pytest.raises(Unauthorized) as caught:
        await MungeAuthenticator().authenticate(a_request("munge x"))

    class Answer:
        status = 401
        headers = {"WWW-Authenticate": caught.value.challenge}  # noqa: RUF012

    with pytest.raises(PermissionError, match="is no credential of MUNGE"):
        MungeAuth().post_response(Answer())


@needs_munge
async def test_a_munged_that_is_not_there_blames_nobody(munged, tmp_path):
    authenticator = await prepared(munged, socket=str(tmp_path / "nowhere"))
    with capture_logs() as logs:
        told = await refused(authenticator, munged.credential(FOR_US), TryAgainLater)
    assert "its log says why" in told
    assert [line["event"] for line in logs] == ["MUNGE credentials cannot be decoded"]
    assert "No such file or directory" in logs[0]["reason"]


def test_a_missing_library_is_a_mistake(monkeypatch):
    library._library.cache_clear()
    monkeypatch.setattr(library, "_LIBRARY", "libmunge-that-nobody-has.so")
    ((option, reason),) = MungeAuthenticator().find_mistakes()
    assert option == ""
    assert "needs the library of MUNGE (package libmunge2, or munge-libs)" in reason
    library._library.cache_clear()


@needs_munge
def test_no_mistakes():
    assert list(MungeAuthenticator().find_mistakes()) == []


@pytest.mark.parametrize(
    "values", [{"audience": ["gw"]}, {"socket": "munge.socket"}, {"socket": "/" + "x" * 107}], ids=str
)
def test_values_that_cannot_be(values):
    with pytest.raises(SettingError):
        MungeAuthenticator(**values)
