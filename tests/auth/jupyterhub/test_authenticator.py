"""JupyterHub's tokens and logins, with a Hub in memory."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpcore
import pytest
import trio
from quart import Quart
from trio.testing import MockClock

from gateway.auth.authenticator import Login
from gateway.auth.http_json import Away, JsonClient
from gateway.auth.jupyterhub.authenticator import JupyterHubAuthenticator
from gateway.errors import BadGateway, NotFound, Unauthorized
from gateway.models import User
from tests.auth.test_authenticator import a_request
from tests.auth.test_http_json import NO_TLS
from tests.support.fake_http import Asked, FakeServer
from tests.support.houses import chain_of

SCOPE = "access:services!service=dask-gateway"
CALLBACK = "https://gateway.example/login/jupyterhub/callback"
VARIABLES = (
    "API_TOKEN API_URL SERVICE_NAME CLIENT_ID PUBLIC_HUB_URL BASE_URL HOST SERVICE_PREFIX SSL_CLIENT_CA"
    " SSL_CERTFILE SSL_KEYFILE"
)


@pytest.fixture(autouse=True)
def _no_hub_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES.split():
        monkeypatch.delenv(f"JUPYTERHUB_{name}", raising=False)


class FakeHub(FakeServer):
    """Knows tokens, and one code."""

    def __init__(self) -> None:
        super().__init__(self.reply)
        self.users: dict[str, Any] = {
            "t-ann": {"kind": "user", "name": "ann", "groups": ["staff"], "admin": True, "scopes": [SCOPE]},
            "t-bob": {"kind": "user", "name": "bob", "groups": [], "admin": False, "scopes": ["self"]},
            "t-own": {"kind": "service", "name": "dask-gateway", "admin": False, "scopes": []},
        }
        self.instead: Any = None
        self.bought: Any = (200, {"access_token": "t-ann", "token_type": "Bearer"})

    def reply(self, asked: Asked) -> Any:
        if self.instead is not None:
            return self.instead() if callable(self.instead) else self.instead
        if asked.target == "/hub/api/":
            return 200, {"version": "6.1.1"}
        if asked.target == "/hub/api/user":
            model = self.users.get(asked.headers.get("authorization", "").removeprefix("token "))
            return (200, model) if model else (403, {"status": 403, "message": "Forbidden"})
        assert asked.target == "/hub/api/oauth2/token"
        return self.bought


def an_authenticator(hub: FakeHub | None = None, **options: Any) -> JupyterHubAuthenticator:
    given = {
        "jupyterhub_api_url": "http://hub.example:8081/hub/api",
        "jupyterhub_service_name": "dask-gateway",
        "jupyterhub_api_token": "t-own",
        "hub_public_url": "https://hub.example/hub/",
    }
    authenticator = JupyterHubAuthenticator(**(given | options))
    authenticator.use(JsonClient("JupyterHub", NO_TLS, network=hub or FakeHub(), deadline=4.0))
    return authenticator


async def whose(authenticator: JupyterHubAuthenticator, token: str) -> User:
    return await authenticator.authenticate(a_request(f"jupyterhub {token}"))


# ---- tokens


@pytest.mark.parametrize("header", ["jupyterhub t-ann", "Jupyterhub   t-ann ", "Bearer t-ann", "bearer t-ann"])
async def test_a_token(header: str) -> None:
    hub = FakeHub()
    chain = chain_of(an_authenticator(hub))
    assert (await chain.identify(a_request(header))).user == User("ann", {"staff"})
    assert hub.asked[0].headers["authorization"] == "token t-ann"


async def test_administrators_of_the_hub_are_ours_only_if_the_site_says_so() -> None:
    assert not (await whose(an_authenticator(), "t-ann")).admin
    assert (await whose(an_authenticator(admins_of_hub=True), "t-ann")).admin


@pytest.mark.parametrize(
    "header",
    [
        "",
        "jupyterhub",
        "jupyterhub ",
        "jupyterhub a b",
        "jupyterhub \x7f",
        "jupyterhub é",
        f"jupyterhub {'x' * 1001}",
        # Secrets of others are not shown to the Hub.
        "jupyterhub dgt_a1b2_c3d4",
        "bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2ln",
        "token t-ann",
        "basic dC1hbm46",
    ],
)
async def test_what_is_no_token_of_the_hub_is_not_sent_there(header: str) -> None:
    hub = FakeHub()
    authenticator = an_authenticator(hub)
    with pytest.raises(Unauthorized, match="A token of JupyterHub is needed"):
        await authenticator.authenticate(a_request(header))
    assert authenticator.user_of(header) is None
    assert hub.asked == []


async def test_without_a_token_there_is_a_challenge() -> None:
    with pytest.raises(Unauthorized) as refusal:
        await chain_of(an_authenticator()).identify(a_request())
    assert list(refusal.value.headers) == [("WWW-Authenticate", "jupyterhub")]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_unknown_tokens(status: int, autojump_clock: MockClock) -> None:
    hub = FakeHub()
    hub.instead = status, {"status": status}
    authenticator = an_authenticator(hub)
    for _ in range(3):
        with pytest.raises(Unauthorized, match="does not know this token: it was revoked, has expired, or never was"):
            await whose(authenticator, "t-new")
    assert len(hub.asked) == 1  # asked once in a while, however often it is tried
    await trio.sleep(5)
    with pytest.raises(Unauthorized):
        await whose(authenticator, "t-new")
    assert len(hub.asked) == 2


async def test_a_token_for_other_things() -> None:
    with pytest.raises(Unauthorized, match=f"has not the scope {SCOPE}"):
        await whose(an_authenticator(), "t-bob")
    assert (await whose(an_authenticator(use_service_access_scopes=False), "t-bob")).name == "bob"
    assert (await whose(an_authenticator(jupyterhub_service_name=""), "t-bob")).name == "bob"


async def test_services_have_no_account_unless_the_site_gives_them_one() -> None:
    hub = FakeHub()
    hub.users["t-cron"] = {"kind": "service", "name": "cron", "scopes": [SCOPE]}
    with pytest.raises(Unauthorized, match="'service:cron' cannot be the name of an account"):
        await chain_of(an_authenticator(hub)).identify(a_request("jupyterhub t-cron"))
    mapped = an_authenticator(hub, username_map={"service:cron": "robot"}.get)
    assert (await chain_of(mapped).identify(a_request("jupyterhub t-cron"))).user.name == "robot"


@pytest.mark.parametrize("status", [300, 302, 400, 418, 429, 500, 502, 503])
async def test_odd_answers(status: int) -> None:
    hub = FakeHub()
    hub.instead = status, {"message": "odd"}
    with pytest.raises(BadGateway, match=f"cannot say who you are: it has answered with status {status}"):
        await whose(an_authenticator(hub), "t-ann")


@pytest.mark.parametrize("content", [b"<html>", b"{}", b"[]"])
async def test_nonsense(content: bytes) -> None:
    hub = FakeHub()
    hub.instead = 200, content
    with pytest.raises(BadGateway):
        await whose(an_authenticator(hub), "t-ann")


# ---- what is remembered


async def test_the_hub_is_not_asked_at_each_request(autojump_clock: MockClock) -> None:
    hub = FakeHub()
    authenticator = an_authenticator(hub)
    assert authenticator.user_of("jupyterhub t-ann") is None
    for _ in range(3):
        await whose(authenticator, "t-ann")
    assert authenticator.user_of("bearer t-ann") == User("ann", {"staff"})
    assert len(hub.asked) == 1
    await trio.sleep(60)
    assert authenticator.user_of("jupyterhub t-ann") is None
    del hub.users["t-ann"]
    with pytest.raises(Unauthorized):
        await whose(authenticator, "t-ann")


async def test_without_a_cache_it_is(autojump_clock: MockClock) -> None:
    hub = FakeHub()
    authenticator = an_authenticator(hub, cache_max_age=0)
    await whose(authenticator, "t-ann")
    del hub.users["t-ann"]
    with pytest.raises(Unauthorized):
        await whose(authenticator, "t-ann")
    hub.refused = httpcore.ConnectError("gone")
    hub.instead = httpcore.ReadError("gone")
    with pytest.raises(Away):
        await whose(authenticator, "t-ann")


@pytest.mark.parametrize(
    ("instead", "error"), [(httpcore.ReadError("gone"), Away), ((503, {}), BadGateway), ((200, b"<html>"), BadGateway)]
)
async def test_while_the_hub_is_away_those_whom_it_knew_go_on(
    instead: Any, error: type[Exception], autojump_clock: MockClock
) -> None:
    hub = FakeHub()
    authenticator = an_authenticator(hub, cache_max_age=300)
    await whose(authenticator, "t-ann")
    hub.instead = instead
    await trio.sleep(599)
    assert (await whose(authenticator, "t-ann")).name == "ann"
    with pytest.raises(error):
        await whose(authenticator, "t-bob")
    await trio.sleep(1)
    with pytest.raises(error):
        await whose(authenticator, "t-ann")
    hub.instead = None
    await trio.sleep(3)
    assert (await whose(authenticator, "t-ann")).name == "ann"


async def test_one_waits_for_a_hub_that_is_silent_and_the_others_do_not(autojump_clock: MockClock) -> None:
    hub = FakeHub()
    authenticator = an_authenticator(hub)
    hub.instead = lambda: None
    with pytest.raises(Away):
        await whose(authenticator, "t-ann")
    assert trio.current_time() == pytest.approx(4.0)
    asked = len(hub.asked)
    for _ in range(3):
        with pytest.raises(Away, match="does not answer at the moment"):
            await whose(authenticator, "t-ann")
    assert (trio.current_time(), len(hub.asked)) == (pytest.approx(4.0), asked)
    await trio.sleep(3)
    hub.instead = None
    assert (await whose(authenticator, "t-ann")).name == "ann"


async def test_a_subclass_that_reads_the_token_elsewhere() -> None:
    class Ours(JupyterHubAuthenticator):
        def get_token(self, request: Any) -> str | None:
            return request.headers.get("X-Hub-Token")  # type: ignore[no-any-return]

    ours = Ours(jupyterhub_api_url="http://hub.example/hub/api", jupyterhub_service_name="dask-gateway")
    ours.use(JsonClient("JupyterHub", NO_TLS, network=FakeHub()))
    request = a_request()
    request.headers["X-Hub-Token"] = "t-ann"
    assert (await ours.authenticate(request)).name == "ann"
    assert ours.user_of("jupyterhub t-ann") is None


# ---- browsers


async def test_the_way_to_the_hub_and_back() -> None:
    hub = FakeHub()
    authenticator = an_authenticator(hub)
    assert (authenticator.logs_in, authenticator.login_label) == (Login.REDIRECT, "with JupyterHub")
    step = await authenticator.begin_login(CALLBACK)
    where = urlsplit(step.url)
    asked = {name: values[0] for name, values in parse_qs(where.query).items()}
    assert f"{where.scheme}://{where.netloc}{where.path}" == "https://hub.example/hub/api/oauth2/authorize"
    assert (asked["client_id"], asked["redirect_uri"]) == ("service-dask-gateway", CALLBACK)
    query = {"code": "c0de", "state": asked["state"]}
    assert (await authenticator.finish_login(CALLBACK, query, step.remembered)).name == "ann"
    assert hub.asked[0].form == {
        "grant_type": "authorization_code",
        "code": "c0de",
        "redirect_uri": CALLBACK,
        "client_id": "service-dask-gateway",
        "client_secret": "t-own",
        "code_verifier": step.remembered["code_verifier"],
    }
    assert hub.asked[1].headers["authorization"] == "token t-ann"


async def test_a_code_of_another_login_is_not_redeemed() -> None:
    hub = FakeHub()
    authenticator = an_authenticator(hub)
    step = await authenticator.begin_login(CALLBACK)
    with pytest.raises(Unauthorized, match="begun in another browser"):
        await authenticator.finish_login(CALLBACK, {"code": "c0de", "state": "x"}, step.remembered)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("bought", "error", "reason"),
    [
        ((400, {"error": "invalid_grant"}), Unauthorized, r"\(invalid_grant\); please log in again"),
        ((401, {"error": "invalid_client"}), Unauthorized, "invalid_client"),
        ((500, {"error": "x"}), BadGateway, "status 500"),
        ((403, b"<html>"), BadGateway, "status 403"),
        ((200, {"access_token": "a b"}), BadGateway, "status 200"),
        ((200, {"access_token": "t-bob"}), Unauthorized, "has not the scope"),
        ((200, {"access_token": "t-none"}), Unauthorized, "does not know this token"),
    ],
)
async def test_codes_that_buy_nothing(bought: Any, error: type[Exception], reason: str) -> None:
    hub = FakeHub()
    hub.bought = bought
    authenticator = an_authenticator(hub)
    step = await authenticator.begin_login(CALLBACK)
    with pytest.raises(error, match=reason):
        await authenticator.finish_login(CALLBACK, {"code": "c", "state": step.remembered["state"]}, step.remembered)


@pytest.mark.parametrize("missing", ["hub_public_url", "jupyterhub_api_token", "jupyterhub_service_name"])
async def test_without_what_it_takes_browsers_cannot_log_in(missing: str) -> None:
    authenticator = an_authenticator(**{missing: ""})
    assert authenticator.logs_in is Login.NONE
    with pytest.raises(NotFound):
        await authenticator.begin_login(CALLBACK)


# ---- options


def mistakes(**options: Any) -> dict[str, str]:
    return dict(JupyterHubAuthenticator(**options).find_mistakes())


def test_a_service_that_the_hub_starts_is_told_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {  # as JupyterHub 6.1 does
        "API_TOKEN": "t-own",
        "API_URL": "http://127.0.0.1:8081/base/hub/api",
        "SERVICE_NAME": "dask-gateway",
        "CLIENT_ID": "service-dask-gateway",
        "PUBLIC_HUB_URL": "",
        "HOST": "",
        "BASE_URL": "/base/",
        "SERVICE_PREFIX": "/base/services/dask-gateway/",
    }
    for name, value in told.items():
        monkeypatch.setenv(f"JUPYTERHUB_{name}", value)
    authenticator = JupyterHubAuthenticator()
    assert list(authenticator.find_mistakes()) == []
    assert authenticator.jupyterhub_api_url == told["API_URL"]
    assert authenticator.logs_in is Login.REDIRECT

    async def where(authenticator: JupyterHubAuthenticator) -> str:
        return (await authenticator.begin_login(CALLBACK)).url

    url = urlsplit(trio.run(where, authenticator))
    assert (url.netloc, url.path) == ("", "/base/hub/api/oauth2/authorize")
    assert parse_qs(url.query)["redirect_uri"] == ["/base/services/dask-gateway/login/jupyterhub/callback"]
    monkeypatch.setenv("JUPYTERHUB_PUBLIC_HUB_URL", "https://hub.example/base/hub/")
    assert trio.run(where, JupyterHubAuthenticator()).startswith("https://hub.example/base/hub/api/oauth2/authorize?")
    own = JupyterHubAuthenticator(oauth_redirect_uri="/cb", oauth_client_id="service-x", jupyterhub_api_token="other")
    assert parse_qs(urlsplit(trio.run(where, own)).query)["redirect_uri"] == ["/cb"]
    assert own.jupyterhub_api_token == "other"


def test_what_is_missing() -> None:
    assert mistakes() == {
        "jupyterhub_api_url": 'must be the URL of the Hub\'s API, for example "http://hub.example:8081/hub/api";'
        " without it, the environment variable JUPYTERHUB_API_URL"
    }
    good = {"jupyterhub_api_url": "https://hub.example/hub/api"}
    assert mistakes(**good) == {}
    assert "(it is 'hub.example')" in mistakes(jupyterhub_api_url="hub.example")["jupyterhub_api_url"]
    assert "jupyterhub_service_name" in mistakes(**good, use_service_access_scopes=True)["use_service_access_scopes"]
    assert mistakes(**good, tls_key="k.pem") == {"tls_key": "needs tls_cert"}
    assert mistakes(**good, tls_ca="/missing.pem") == {
        "tls_ca": "cannot be used: /missing.pem: No such file or directory"
    }
    assert mistakes(**good, tls_cert="/missing.pem", tls_key="/k.pem") == {
        "tls_cert": "cannot be used: /missing.pem with /k.pem: No such file or directory"
    }
    assert "https://hub.example/hub" in mistakes(**good, hub_public_url="/hub")["hub_public_url"]


def test_no_secret_is_printed() -> None:
    assert "t-own" not in repr(an_authenticator())


# ---- the first look


async def looked(hub: FakeHub, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    authenticator = an_authenticator(hub, **options)
    await authenticator.look()
    return capsys.readouterr().out


async def test_the_first_look(capsys: pytest.CaptureFixture[str]) -> None:
    said = await looked(FakeHub(), capsys)
    assert "JupyterHub is there" in said
    assert "6.1.1" in said
    assert "in the clear" in said
    assert "error" not in said
    said = await looked(FakeHub(), capsys, jupyterhub_api_url="http://[::1]:8081/hub/api", jupyterhub_api_token="")
    assert "in the clear" not in said


async def test_a_name_that_is_not_that_of_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    said = await looked(FakeHub(), capsys, jupyterhub_service_name="gateway")
    assert "is that of the service 'dask-gateway'" in said
    assert "belongs to no service" in await looked(FakeHub(), capsys, jupyterhub_api_token="t-ann")
    assert "belongs to no service" in await looked(FakeHub(), capsys, jupyterhub_api_token="t-none")


async def test_any_token_will_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert "any token of JupyterHub may be used" in await looked(FakeHub(), capsys, use_service_access_scopes=False)


@pytest.mark.parametrize("instead", [(200, {"name": "x"}), (200, b"<html>"), (404, {}), (302, {})])
async def test_what_is_no_hub(instead: Any, capsys: pytest.CaptureFixture[str]) -> None:
    hub = FakeHub()
    hub.instead = instead
    assert "no API of JupyterHub answers here" in await looked(hub, capsys)


async def test_a_hub_that_is_away_is_waited_for_a_little(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub()
    hub.instead = lambda: None
    assert "JupyterHub does not answer a question" in await looked(hub, capsys)
    assert trio.current_time() <= 5.0


async def test_setting_up_and_cleaning_up() -> None:
    authenticator = JupyterHubAuthenticator(jupyterhub_api_url="http://127.0.0.1:1/hub/api")
    await authenticator.setup(Quart(__name__))
    with pytest.raises(Away):
        await whose(authenticator, "t-ann")
    await authenticator.cleanup()
