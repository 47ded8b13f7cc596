"""The OAuth device flow (RFC 8628): a program gets a code, its user types that in with any browser, it gets a token.

The gateway says which issuer its users log in at, and as which client
(`GET /api/v1/login`). Nothing secret is sent to it before it gets the token.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from dask_gateway_login.json_http import JsonHttp, LoginFailed, NoAnswer, check_private

_DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
#: Seconds between questions whether the user has finished, when the issuer does not say (RFC 8628, 3.2), and at most.
_INTERVAL, _LONGEST_INTERVAL = 5.0, 60.0
#: Seconds for which a code is good at most.
_LONGEST_WAIT = 1800.0


@dataclass(frozen=True)
class Login:
    """A login that has been finished. Times are seconds since 1970; without `refresh_token` it cannot be renewed."""

    gateway: str
    issuer: str
    token_endpoint: str
    client_id: str
    parameters: dict[str, str]
    access_token: str = field(repr=False)
    expires: float
    refresh_token: str = field(default="", repr=False)

    def to_json(self) -> dict[str, Any]:
        """What is stored of it."""
        return asdict(self)


@dataclass(frozen=True)
class Way:
    """How one logs in to a gateway."""

    gateway: str
    issuer: str
    client_id: str
    parameters: dict[str, str]
    device_endpoint: str
    token_endpoint: str


def find_way(http: JsonHttp, gateway: str) -> Way:
    """How to log in to the gateway at this URL. Raises `LoginFailed`."""
    gateway = gateway.rstrip("/")
    methods = http.get(f"{gateway}/api/v1/login", "a Dask gateway that says how to log in").get("methods")
    offers = [method.get("device_flow") for method in methods or () if isinstance(method, dict)]
    offer = next((one for one in offers if isinstance(one, dict)), None)
    if offer is None:
        raise LoginFailed(f"The gateway at {gateway} has no login of this kind; its administrators know which it has")
    issuer, client, parameters = (offer.get(name) for name in ("issuer", "client_id", "parameters"))
    if not isinstance(issuer, str) or not isinstance(client, str) or not isinstance(parameters, dict):
        raise LoginFailed(f"The gateway at {gateway} does not say how to log in")
    document = http.get(f"{issuer.rstrip('/')}/.well-known/openid-configuration", "an issuer of tokens")
    if document.get("issuer") != issuer:
        raise LoginFailed(f"What answers for the issuer {issuer} says that it is {document.get('issuer')!r}")
    endpoints = [str(document.get(name) or "") for name in ("device_authorization_endpoint", "token_endpoint")]
    if not all(endpoints):
        raise LoginFailed(f"The issuer {issuer} has no device flow")
    for endpoint in endpoints:
        check_private(endpoint)
    texts = {str(name): str(value) for name, value in parameters.items()}
    return Way(gateway, issuer, client, texts, *endpoints)


def log_in(
    http: JsonHttp,
    way: Way,
    tell: Callable[[str, str, str], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Login:
    """Have the user log in, whom `tell` gives the page, the code to type there, and the page with the code in it.

    Raises `LoginFailed`.
    """
    form = {**way.parameters, "client_id": way.client_id}
    status, answer = http.ask(way.device_endpoint, form)
    code, page, user_code = (answer.get(name) for name in ("device_code", "verification_uri", "user_code"))
    if status != 200 or not all(isinstance(one, str) and one for one in (code, page, user_code)):
        raise LoginFailed(f"The issuer {way.issuer} has no code for this login: {_reason(status, answer)}")
    tell(clean(page), clean(user_code), clean(answer.get("verification_uri_complete")))
    interval = _number(answer.get("interval"), _INTERVAL)
    ends = clock() + min(_number(answer.get("expires_in"), 300.0), _LONGEST_WAIT)
    form = {**_of_token(way.client_id, way.parameters), "grant_type": _DEVICE_CODE, "device_code": str(code)}
    while clock() < ends:
        sleep(min(interval, _LONGEST_INTERVAL))
        try:
            status, answer = http.ask(way.token_endpoint, form)
        except NoAnswer:  # RFC 8628, 3.5: less often
            interval *= 2
            continue
        if status == 200:
            return _login(way, answer, clock())
        error = answer.get("error")
        if error == "slow_down":
            interval += 5
        elif error != "authorization_pending":
            raise LoginFailed(f"The login was not finished: {_reason(status, answer)}")
    raise LoginFailed("The login was not finished in time; begin again")


def renew(http: JsonHttp, login: Login, *, clock: Callable[[], float] = time.time) -> Login:
    """The login with a new access token. Raises `LoginFailed` when the issuer wants to see the user."""
    if not login.refresh_token:
        raise LoginFailed("This login cannot be renewed: log in again")
    form = {"grant_type": "refresh_token", "refresh_token": login.refresh_token}
    status, answer = http.ask(login.token_endpoint, {**_of_token(login.client_id, login.parameters), **form})
    if status != 200:
        raise LoginFailed(f"The issuer does not renew this login, so log in again: {_reason(status, answer)}")
    return _login(login, {"refresh_token": login.refresh_token, **answer}, clock())


def _of_token(client_id: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """What each request for a token says; the scope was said before."""
    return {**{name: value for name, value in parameters.items() if name != "scope"}, "client_id": client_id}


def _login(way: Way | Login, answer: Mapping[str, Any], now: float) -> Login:
    token, refresh_token = answer.get("access_token"), answer.get("refresh_token", "")
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise LoginFailed(f"The issuer {way.issuer} has answered without a token")
    return Login(
        gateway=way.gateway,
        issuer=way.issuer,
        token_endpoint=way.token_endpoint,
        client_id=way.client_id,
        parameters=way.parameters,
        access_token=token,
        expires=now + _number(answer.get("expires_in"), 300.0),
        refresh_token=refresh_token if isinstance(refresh_token, str) else "",
    )


def _reason(status: int, answer: Mapping[str, Any]) -> str:
    words = answer.get("error_description") or answer.get("error")
    return clean(words) or f"it answers with status {status}"


def _number(value: object, otherwise: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
    return float(value) if is_number else otherwise  # type: ignore[arg-type]


def clean(text: object) -> str:
    """Text of a server, for a terminal."""
    return "".join(c for c in text if c.isprintable())[:500] if isinstance(text, str) else ""
