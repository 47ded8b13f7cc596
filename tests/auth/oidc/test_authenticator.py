"""The authenticator for OpenID Connect, with an issuer in memory. The real one is in tests/e2e/test_oidc.py."""

import base64
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

import pytest
import trio
from quart import Quart

from gateway.auth.authenticator import Login
from gateway.auth.oidc.authenticator import OIDCAuthenticator
from gateway.config.fields import SettingError
from gateway.errors import BadGateway, TryAgainLater, Unauthorized
from gateway.models import User
from tests.auth.test_authenticator import a_request
from tests.support.fake_issuer import FakeIssuer
from tests.support.tokens import CLAIMS, EC, ISSUER, OTHER_RSA, encoded, signed

CALLBACK = "https://gateway.example/login/oidc/callback"
OPTIONS = {"issuer": ISSUER, "client_id": "the gateway", "client_secret": "s:e/c r€t", "audience": "dask-gateway"}


def now(**changed: Any) -> dict[str, Any]:
    """Claims of a token that was issued just now."""
    return {**CLAIMS, "iat": int(time.time()), "exp": int(time.time()) + 300, **changed}


def opened(server: FakeIssuer, **options: Any) -> OIDCAuthenticator:
    authenticator = OIDCAuthenticator(**{**OPTIONS, **options})
    authenticator.use(server.issuer())
    return authenticator


@pytest.fixture
def server() -> FakeIssuer:
    return FakeIssuer()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "jupyterhub", "JupyterHub"])
async def test_an_access_token(server: FakeIssuer, scheme: str) -> None:
    authenticator = opened(server)
    assert await authenticator.authenticate(a_request(f"{scheme} {signed(now())}")) == User("alice")
    assert not authenticator.brings_groups


async def test_names_and_groups_by_other_claims(server: FakeIssuer) -> None:
    authenticator = opened(server, username_claim="posix.uid", groups_claim="roles")
    token = signed(now(posix={"uid": "bob"}, roles=["physics", "admins"]))
    assert await authenticator.authenticate(a_request(f"Bearer {token}")) == User("bob", ["physics", "admins"])
    assert authenticator.brings_groups


async def test_the_audience_is_the_client_when_there_is_no_other(server: FakeIssuer) -> None:
    authenticator = opened(server, audience="")
    assert await authenticator.authenticate(a_request(f"Bearer {signed(now(aud='the gateway'))}")) == User("alice")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: "opaque", "no signed JSON Web Token"),
        (lambda: "", "no signed JSON Web Token"),
        (lambda: signed(now(), key=OTHER_RSA), "signature is wrong"),
        (lambda: signed(now(aud="other")), "is for 'other', not for 'dask-gateway'"),
        (lambda: signed(now(iss="https://evil.example")), "was issued by 'https://evil.example'"),
        (lambda: signed(now(exp=1)), "has expired"),
        (lambda: signed(now(nbf=time.time() + 1000)), "not valid yet"),
        (lambda: signed(now(), header={"alg": "RS256", "typ": "at+jwt"}), "does not name the key"),
        (lambda: signed(now(), header={"alg": "RS256", "kid": "rsa", "typ": "JWT"}), "not an access token"),
        (lambda: f"{encoded({'alg': 'none'})}.{encoded(CLAIMS)}.", "is not signed"),
        (lambda: signed(now(preferred_username=None)), "does not say 'preferred_username'"),
    ],
)
async def test_who_is_not_let_in(server: FakeIssuer, made: Callable[[], str], reason: str) -> None:
    token = made()  # now: those of the time when tests were collected have expired
    with pytest.raises(Unauthorized, match=reason) as refused:
        await opened(server).authenticate(a_request(f"Bearer {token}"))
    assert refused.value.challenge == 'Bearer error="invalid_token"'
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic YTpi", "token abc"])
async def test_other_headers(server: FakeIssuer, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        await opened(server).authenticate(a_request(header))
    assert server.asked == []


async def test_an_issuer_that_calls_access_tokens_jwt(server: FakeIssuer) -> None:
    authenticator = opened(server, access_token_types=["JWT"])
    header = {"alg": "RS256", "kid": "rsa", "typ": "JWT"}
    access, id_token = signed(now(), header=header), signed(now(nonce="n"), header=header)
    assert await authenticator.authenticate(a_request(f"Bearer {access}")) == User("alice")
    with pytest.raises(Unauthorized, match="is an id token"):
        await authenticator.authenticate(a_request(f"Bearer {id_token}"))


async def test_without_the_issuers_keys(server: FakeIssuer) -> None:
    server.refused = OSError("away")
    with pytest.raises(TryAgainLater):
        await opened(server).authenticate(a_request(f"Bearer {signed(now())}"))


# ---- a browser


async def come_back(server: FakeIssuer, authenticator: OIDCAuthenticator, **claims: Any) -> User:
    """A login with an issuer that lets somebody in, and says these claims of them."""
    step = await authenticator.begin_login(CALLBACK)
    said = now(aud="the gateway", nonce=step.remembered["nonce"], **claims)
    header = {"alg": "RS256", "kid": "rsa"}
    server.tokens = {"id_token": signed(said, header=header), "access_token": "opaque"}
    back = {"code": "c0de", "state": step.remembered["state"], "iss": ISSUER}
    return await authenticator.finish_login(CALLBACK, back, step.remembered)


async def test_the_way_there(server: FakeIssuer) -> None:
    authenticator = opened(server, authorization_parameters={"prompt": "select_account"})
    step = await authenticator.begin_login(CALLBACK)
    query = parse_qs(urlsplit(step.url).query)
    assert step.url.startswith(f"{ISSUER}/authorize?")
    assert query["redirect_uri"] == [CALLBACK]
    assert (query["scope"], query["prompt"]) == (["openid profile"], ["select_account"])
    assert query["nonce"] == [step.remembered["nonce"]]
    assert step.remembered["code_verifier"] not in step.url


async def test_the_way_back(server: FakeIssuer) -> None:
    assert await come_back(server, opened(server)) == User("alice")
    (asked,) = server.of("/token")
    assert asked.form["grant_type"] == "authorization_code"
    assert (asked.form["code"], asked.form["redirect_uri"]) == ("c0de", CALLBACK)
    assert len(asked.form["code_verifier"]) == 43
    kind, _, credentials = asked.headers["authorization"].partition(" ")
    name, _, secret = base64.b64decode(credentials).decode().partition(":")
    assert (kind, unquote_plus(name), unquote_plus(secret)) == ("Basic", "the gateway", OPTIONS["client_secret"])
    assert "client_secret" not in asked.form
    assert server.of("/me") == []


async def test_clients_of_other_kinds(server: FakeIssuer) -> None:
    server.document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    await come_back(server, opened(server))
    await come_back(server, opened(server, client_secret=""))
    by_form, public = server.of("/token")
    assert (by_form.form["client_id"], by_form.form["client_secret"]) == ("the gateway", OPTIONS["client_secret"])
    assert public.form["client_id"] == "the gateway"
    assert "client_secret" not in public.form
    assert "authorization" not in public.headers | by_form.headers


async def test_a_callback_of_the_sites_own(server: FakeIssuer) -> None:
    own = "https://front.example/gateway/login/oidc/callback"
    authenticator = opened(server, redirect_uri=own)
    await come_back(server, authenticator)
    step = await authenticator.begin_login(CALLBACK)
    assert parse_qs(urlsplit(step.url).query)["redirect_uri"] == [own]
    assert server.of("/token")[0].form["redirect_uri"] == own


async def test_claims_that_only_the_user_info_has(server: FakeIssuer) -> None:
    server.user_info = {"sub": "4711", "preferred_username": "alice", "groups": ["g"], "iss": "https://evil.example"}
    authenticator = opened(server, groups_claim="groups")
    assert await come_back(server, authenticator, preferred_username=None) == User("alice", ["g"])
    assert server.of("/me")[0].headers["authorization"] == "Bearer opaque"
    for sub in ("4712", None, ""):
        server.user_info["sub"] = sub
        with pytest.raises(BadGateway, match="about another user"):
            await come_back(server, authenticator, preferred_username=None)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "dask-gateway"}, "not for 'the gateway'"),
        ({"nonce": "another"}, "another login"),
        ({"azp": "another"}, "another client"),
        ({"exp": 1}, "expired"),
        ({"iss": "https://evil.example"}, "was issued by"),
        ({"preferred_username": 7}, "does not say"),
    ],
)
async def test_id_tokens_that_are_refused(server: FakeIssuer, claims: dict[str, Any], reason: str) -> None:
    authenticator = opened(server)
    del server.document["userinfo_endpoint"]
    step = await authenticator.begin_login(CALLBACK)
    said = {**now(aud="the gateway", nonce=step.remembered["nonce"]), **claims}
    server.tokens = {"id_token": signed(said, key=EC, algorithm="ES256", header={"alg": "ES256", "kid": "ec"})}
    query = {"code": "c0de", "state": step.remembered["state"]}
    with pytest.raises(Unauthorized, match=reason):
        await authenticator.finish_login(CALLBACK, query, step.remembered)


async def test_who_sends_the_browser_back(server: FakeIssuer) -> None:
    authenticator = opened(server)
    step = await authenticator.begin_login(CALLBACK)
    query = {"code": "c0de", "state": step.remembered["state"]}
    with pytest.raises(Unauthorized, match=r"https://evil\.example has sent you back"):
        await authenticator.finish_login(CALLBACK, {**query, "iss": "https://evil.example"}, step.remembered)
    with pytest.raises(Unauthorized, match="another browser"):
        await authenticator.finish_login(CALLBACK, {**query, "state": "x"}, step.remembered)
    server.document["authorization_response_iss_parameter_supported"] = True
    authenticator.use(server.issuer())
    with pytest.raises(Unauthorized, match="Somebody nameless has sent you back"):
        await authenticator.finish_login(CALLBACK, query, step.remembered)
    assert server.of("/token") == []


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        ((400, {"error": "invalid_grant"}), Unauthorized, "took too long"),
        ((401, {"error": "invalid_client"}), BadGateway, r"for a client \(invalid_client\)"),
        ((400, {}), BadGateway, r"for a client \(None\)"),
        ((400, b"<html>"), BadGateway, "not with a JSON object"),
        ((500, {}), BadGateway, "answers with 500"),
        ((503, {}), TryAgainLater, "away"),
        ((200, {}), Unauthorized, "no signed JSON Web Token"),
        ((200, {"id_token": 5}), Unauthorized, "no signed JSON Web Token"),
        (OSError("reset"), TryAgainLater, "does not answer"),
    ],
)
async def test_codes_that_are_not_redeemed(
    server: FakeIssuer, answer: Any, error: type[Exception], reason: str
) -> None:
    server.answers["/token"] = answer
    with pytest.raises(error, match=reason):
        await come_back(server, opened(server))


async def test_an_issuer_without_pages(server: FakeIssuer) -> None:
    del server.document["authorization_endpoint"]
    with pytest.raises(BadGateway, match="no page to log in at"):
        await opened(server).begin_login(CALLBACK)


# ---- the configuration


def test_how_it_is_logged_in_to() -> None:
    assert OIDCAuthenticator(**OPTIONS).logs_in is Login.REDIRECT
    assert OIDCAuthenticator(issuer=ISSUER, audience="a").logs_in is Login.NONE
    assert OIDCAuthenticator(**OPTIONS).name == "oidc"
    assert OIDCAuthenticator(**OPTIONS).reads == ("bearer", "jupyterhub")
    assert OIDCAuthenticator(**OPTIONS).login_label.startswith("with")
    assert "s:e/c" not in repr(OIDCAuthenticator(**OPTIONS))


def test_sessions_end_with_another_issuer() -> None:
    others = (OPTIONS, {**OPTIONS, "issuer": "https://b.example"}, {**OPTIONS, "username_claim": "sub"})
    assert len({OIDCAuthenticator(**options).fingerprint for options in others}) == 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("issuer", "http://id.example"),
        ("redirect_uri", "http://gateway.example/login/oidc/callback"),
        ("http_proxy", "proxy.example:3128"),
        ("http_proxy", "socks5://proxy.example"),
        ("algorithms", ["HS256"]),
        ("algorithms", ["none"]),
        ("algorithms", []),
        ("scopes", ["profile"]),
        ("scopes", ["openid profile"]),
        ("authorization_parameters", {"scope": "x"}),
    ],
)
def test_what_cannot_be(option: str, value: object) -> None:
    with pytest.raises(SettingError, match=option):
        OIDCAuthenticator(**{option: value})


@pytest.mark.parametrize("audience", ["", "the gateway"])
def test_id_tokens_must_not_pass_for_access_tokens(audience: str) -> None:
    with pytest.raises(SettingError, match="audience must be set, and not be the client_id"):
        OIDCAuthenticator(**{**OPTIONS, "audience": audience, "access_token_types": ["at+jwt", "JWT"]})


def test_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {option for option, _ in OIDCAuthenticator().find_mistakes()} == {"issuer", "audience"}
    monkeypatch.setitem(sys.modules, "joserfc", None)
    mistakes = dict(OIDCAuthenticator(**OPTIONS, tls_ca="/no/such/file").find_mistakes())
    assert "dask-gateway-trio[oidc]" in mistakes[""]
    assert "cannot be used" in mistakes["tls_ca"]
    monkeypatch.undo()
    assert list(OIDCAuthenticator(**OPTIONS).find_mistakes()) == []
    everybodys = dict(OIDCAuthenticator(**{**OPTIONS, "audience": "account"}).find_mistakes())
    assert "whatever service gets one" in everybodys["audience"]


def test_what_programs_are_told_about_the_device_flow() -> None:
    assert OIDCAuthenticator(**OPTIONS).public_hints == {}
    public = OIDCAuthenticator(**{**OPTIONS, "client_secret": ""}).public_hints["device_flow"]
    assert public == {"issuer": ISSUER, "client_id": "the gateway", "parameters": {"scope": "openid profile"}}
    own = OIDCAuthenticator(**OPTIONS, device_client_id="cli", device_parameters={"scope": "openid", "resource": "x"})
    assert own.public_hints["device_flow"]["client_id"] == "cli"
    assert own.public_hints["device_flow"]["parameters"] == {"scope": "openid", "resource": "x"}


async def test_a_start_does_not_need_the_issuer() -> None:
    with trio.fail_after(20):
        authenticator = OIDCAuthenticator(**{**OPTIONS, "issuer": "http://127.0.0.1:1"})
        await authenticator.setup(Quart(__name__))
        with pytest.raises(TryAgainLater):
            await authenticator.begin_login(CALLBACK)
        await authenticator.cleanup()
