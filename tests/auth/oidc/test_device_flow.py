"""The command for users: what it says to issuers, what it takes from them, and what it leaves on a disk."""

import http.server
import json
import os
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dask_gateway_login import FreshTokenAuth
from dask_gateway_login.device_flow import Login, Way, find_way, log_in, renew
from dask_gateway_login.fresh_token import fresh_token
from dask_gateway_login.json_http import MOST_BYTES, JsonHttp, LoginFailed, NoAnswer, check_private
from dask_gateway_login.stored import Stored, client_settings

GATEWAY, ISSUER = "https://gateway.example", "https://id.example"
METADATA = f"{ISSUER}/.well-known/openid-configuration"
OFFER = {"issuer": ISSUER, "client_id": "cli", "parameters": {"scope": "openid", "resource": "r"}}
DOCUMENT = {"issuer": ISSUER, "device_authorization_endpoint": f"{ISSUER}/device", "token_endpoint": f"{ISSUER}/token"}
WAY = Way(GATEWAY, ISSUER, "cli", {"scope": "openid", "resource": "r"}, f"{ISSUER}/device", f"{ISSUER}/token")
CODE = {"device_code": "d", "user_code": "AB-CD", "verification_uri": f"{ISSUER}/page", "expires_in": 100}
TOKENS = {"access_token": "a1", "refresh_token": "r1", "expires_in": 300}
LOGIN = Login(GATEWAY, ISSUER, WAY.token_endpoint, "cli", dict(WAY.parameters), "a1", 1300.0, "r1")


class FakeHttp(JsonHttp):
    """Answers from a table of URL → answers, one after the other; the last one stays."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = {url: list(answer) if isinstance(answer, list) else [answer] for url, answer in answers.items()}
        self.asked: list[tuple[str, dict[str, str]]] = []

    def ask(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        self.asked.append((url, dict(form or {})))
        answers = self.answers.get(url, [(404, {})])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, tuple) else (200, answer)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def logged_in(answers: Mapping[str, Any]) -> tuple[Login, FakeHttp, Clock, list[tuple[str, str, str]]]:
    fake, clock, told = FakeHttp(answers), Clock(), list[tuple[str, str, str]]()
    login = log_in(fake, WAY, lambda *words: told.append(words), sleep=clock.sleep, clock=lambda: clock.now)
    return login, fake, clock, told


def test_the_way() -> None:
    answers = {f"{GATEWAY}/api/v1/login": {"methods": [{"name": "pam"}, {"device_flow": OFFER}]}, METADATA: DOCUMENT}
    assert find_way(FakeHttp(answers), f"{GATEWAY}/") == WAY


@pytest.mark.parametrize(
    ("gateway", "document", "reason"),
    [
        ((404, {}), DOCUMENT, "is not a Dask gateway"),
        ({"x": 1}, DOCUMENT, "no login of this kind"),
        ({"methods": [{"name": "pam"}, "x"]}, DOCUMENT, "no login of this kind"),
        ({"methods": [{"device_flow": {"issuer": ISSUER}}]}, DOCUMENT, "does not say how"),
        ({"methods": [{"device_flow": OFFER}]}, (500, {}), "is not an issuer"),
        ({"methods": [{"device_flow": OFFER}]}, {**DOCUMENT, "issuer": "https://evil.example"}, "says that it is"),
        ({"methods": [{"device_flow": OFFER}]}, {"issuer": ISSUER, "token_endpoint": "x"}, "no device flow"),
        ({"methods": [{"device_flow": OFFER}]}, {**DOCUMENT, "token_endpoint": "http://id.example/t"}, "https://"),
    ],
)
def test_no_way(gateway: Any, document: Any, reason: str) -> None:
    with pytest.raises(LoginFailed, match=reason):
        find_way(FakeHttp({f"{GATEWAY}/api/v1/login": gateway, METADATA: document}), GATEWAY)


def test_a_login() -> None:
    pending = (400, {"error": "authorization_pending"})
    slow = (400, {"error": "slow_down"})
    answers = {WAY.device_endpoint: CODE, WAY.token_endpoint: [pending, slow, NoAnswer("away"), pending, TOKENS]}
    login, fake, clock, told = logged_in(answers)
    assert (login.access_token, login.refresh_token, login.expires) == ("a1", "r1", clock.now + 300)
    assert clock.slept == [5, 5, 10, 20, 20]
    assert told == [(f"{ISSUER}/page", "AB-CD", "")]
    assert fake.asked[0] == (WAY.device_endpoint, {"client_id": "cli", "scope": "openid", "resource": "r"})
    assert fake.asked[1][1] == {
        "client_id": "cli",
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "d",
        "resource": "r",
    }
    assert "a1" not in repr(login)


@pytest.mark.parametrize(
    ("code", "tokens", "reason"),
    [
        ((400, {"error": "invalid_client"}), TOKENS, "no code for this login: invalid_client"),
        ({**CODE, "user_code": ""}, TOKENS, "status 200"),
        ({**CODE, "device_code": 5}, TOKENS, "status 200"),
        (CODE, (400, {"error": "access_denied"}), "not finished: access_denied"),
        (CODE, (400, {"error": "expired_token", "error_description": "too\x1b[2J late"}), r"too\[2J late"),
        (CODE, (500, {}), "status 500"),
        (CODE, (400, {"error": "authorization_pending"}), "not finished in time"),
        (CODE, {"access_token": ""}, "without a token"),
        (CODE, {"access_token": "a\nb"}, "without a token"),
    ],
)
def test_no_login(code: Any, tokens: Any, reason: str) -> None:
    with pytest.raises(LoginFailed, match=reason):
        logged_in({WAY.device_endpoint: code, WAY.token_endpoint: tokens})


def test_numbers_that_are_none() -> None:
    odd = {**CODE, "interval": True, "expires_in": "x", "verification_uri_complete": f"{ISSUER}/page?c=\x1b[2J"}
    login, _, clock, told = logged_in({WAY.device_endpoint: odd, WAY.token_endpoint: {**TOKENS, "expires_in": -1}})
    assert (clock.slept, login.expires) == ([5], clock.now + 300)
    assert told[0][2] == f"{ISSUER}/page?c=[2J"


def test_a_login_is_renewed() -> None:
    fake = FakeHttp({WAY.token_endpoint: {"access_token": "a2", "expires_in": 60}})
    login = renew(fake, LOGIN, clock=lambda: 2000.0)
    assert (login.access_token, login.refresh_token, login.expires) == ("a2", "r1", 2060.0)
    form = {"grant_type": "refresh_token", "refresh_token": "r1", "client_id": "cli", "resource": "r"}
    assert fake.asked == [(WAY.token_endpoint, form)]
    with pytest.raises(LoginFailed, match="log in again: gone"):
        renew(FakeHttp({WAY.token_endpoint: (400, {"error": "gone"})}), LOGIN)
    with pytest.raises(LoginFailed, match="cannot be renewed"):
        renew(fake, Login(**{**LOGIN.to_json(), "refresh_token": ""}))


# ---- files


def test_what_is_stored(tmp_path: Path) -> None:
    stored = Stored(tmp_path)
    assert stored.find(GATEWAY) is None
    stored.keep(LOGIN, client_settings(LOGIN, fresh=False))
    settings = json.loads(stored.client_file.read_text().partition("\n")[2])
    assert settings["gateway"] == {
        "address": GATEWAY,
        "auth": {"type": "jupyterhub", "kwargs": {"api_token": "a1"}},
    }
    for file in (stored.client_file, stored.logins_file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert os.listdir(file.parent) == [file.name]
    assert Stored(tmp_path).find(f"{GATEWAY}/api/v1/clusters/") == LOGIN
    assert "r1" not in stored.client_file.read_text()
    stored.keep(LOGIN, client_settings(LOGIN, fresh=True))
    assert "a1" not in stored.client_file.read_text()
    kwargs = client_settings(LOGIN, fresh=True, ca="ca.pem")["gateway"]["auth"]["kwargs"]
    assert kwargs == {"ca": os.path.abspath("ca.pem")}
    assert "dask_gateway_login.FreshTokenAuth" in stored.client_file.read_text()
    assert stored.forget(f"{GATEWAY}/")
    assert not stored.forget(GATEWAY)
    assert not stored.client_file.exists()
    assert "a1" not in stored.logins_file.read_text()


@pytest.mark.parametrize("url", [f"{GATEWAY}.evil.example/", f"{GATEWAY}:8000/", "https://gateway.exampl", "x"])
def test_a_token_is_for_its_own_gateway(tmp_path: Path, url: str) -> None:
    stored = Stored(tmp_path)
    stored.keep(LOGIN, client_settings(LOGIN, fresh=True))
    with pytest.raises(LoginFailed, match="Nobody is logged in to"):
        fresh_token(url, FakeHttp({}), stored)


def test_the_nearest_of_two_gateways(tmp_path: Path) -> None:
    stored = Stored(tmp_path)
    stored.remember(LOGIN)
    below = Login(**{**LOGIN.to_json(), "gateway": f"{GATEWAY}/b", "access_token": "b1"})
    stored.remember(below)
    assert stored.find(f"{GATEWAY}/b/api") == below
    assert stored.find(f"{GATEWAY}/bc/api") == LOGIN


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"gateway": "x"}]', "null"])
def test_a_file_of_something_else(tmp_path: Path, text: str) -> None:
    stored = Stored(tmp_path)
    stored.remember(LOGIN)
    stored.logins_file.write_text(text)
    assert stored.find(GATEWAY) is None
    stored.remember(LOGIN)
    assert stored.find(GATEWAY) == LOGIN


def test_a_token_is_renewed_when_it_is_about_to_expire(tmp_path: Path) -> None:
    stored, fake = Stored(tmp_path), FakeHttp({WAY.token_endpoint: {**TOKENS, "access_token": "a2"}})
    stored.keep(LOGIN, client_settings(LOGIN, fresh=True))  # expired long ago
    assert [fresh_token(f"{GATEWAY}/api", fake, stored) for _ in range(3)] == ["a2"] * 3
    assert len(fake.asked) == 1


def test_the_class_for_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Stored().keep(Login(**{**LOGIN.to_json(), "expires": 1e12}), client_settings(LOGIN, fresh=True))

    class Answer:
        url, history = f"{GATEWAY}/api/v1/clusters/", ()

    class Redirected:
        url, history = "https://evil.example/", (Answer,)

    assert FreshTokenAuth().pre_request(Answer) == ({"Authorization": "Bearer a1"}, None)
    assert FreshTokenAuth().pre_request(Redirected) == ({"Authorization": "Bearer a1"}, None)


# ---- HTTP


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, body = {
            "/object": (200, b'{"a": 1}'),
            "/list": (200, b"[]"),
            "/page": (200, b"<html>"),
            "/long": (200, b" " * (MOST_BYTES + 10)),
            "/redirect": (302, b""),
            "/error": (400, b'{"error": "no"}'),
        }[self.path]
        self.send_response(status)
        self.send_header("Location", "/object")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/object", (200, {"a": 1})),
        ("/list", (200, {})),
        ("/page", (200, {})),
        ("/long", (200, {})),
        ("/redirect", (302, {})),
        ("/error", (400, {"error": "no"})),
    ],
)
def test_answers(server: str, path: str, answer: Any) -> None:
    assert JsonHttp().ask(server + path) == answer


def test_nobody_answers() -> None:
    with pytest.raises(NoAnswer, match=r"127\.0\.0\.1:1 does not answer"):
        JsonHttp().ask("http://127.0.0.1:1/")
    with pytest.raises(LoginFailed, match="cannot be used"):
        JsonHttp("/no/such/file")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://gateway.example", "would read the token"),
        ("ftp://gateway.example", "would read the token"),
        ("file:///etc/passwd", "no URL"),
        ("gateway.example", "no URL"),
        ("https://user@gateway.example", "no URL"),
        ("https://[::1", "no URL"),
        ("https://a b", "no URL"),
        ("", "no URL"),
    ],
)
def test_where_nothing_is_sent(url: str, reason: str) -> None:
    with pytest.raises(LoginFailed, match=reason):
        check_private(url)


@pytest.mark.parametrize(
    "url", ["https://gateway.example/x", "http://localhost:1", "http://127.0.0.1", "http://[::1]:5"]
)
def test_where_something_may_be_sent(url: str) -> None:
    check_private(url)


def test_the_package_has_what_it_says() -> None:
    import dask_gateway_login

    assert {getattr(dask_gateway_login, name).__name__ for name in dask_gateway_login.__all__} == {
        "FreshTokenAuth",
        "MungeAuth",
    }
    with pytest.raises(AttributeError):
        dask_gateway_login.nothing  # noqa: B018
