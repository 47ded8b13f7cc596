"""A class for the client that sends the stored login's token, renewed when it is about to expire."""

import time
from typing import Any

from dask_gateway.auth import GatewayAuth

from dask_gateway_login.device_flow import Login, renew
from dask_gateway_login.json_http import JsonHttp, LoginFailed
from dask_gateway_login.stored import Stored

#: Seconds before its end at which a token is renewed.
_MARGIN = 30.0


class FreshTokenAuth(GatewayAuth):  # type: ignore[misc]
    """Sends the token of `python -m dask_gateway_login URL --fresh` to that gateway, and to no other."""

    def __init__(self, ca: str = "") -> None:
        self.ca = ca

    def pre_request(self, resp: Any) -> tuple[dict[str, str], None]:
        """The header for a request that was answered with this 401. Raises `LoginFailed`, with what to do about it."""
        asked = resp.history[0] if resp.history else resp  # what will be asked again
        return {"Authorization": f"Bearer {fresh_token(str(asked.url), JsonHttp(self.ca))}"}, None


def fresh_token(url: str, http: JsonHttp, stored: Stored | None = None) -> str:
    """A token for the gateway at this URL that is good for a while. Raises `LoginFailed`."""
    stored = stored or Stored()
    login = _found(stored, url)
    if login.expires < time.time() + _MARGIN:
        with stored.locked():
            login = _found(stored, url)  # somebody else may just have renewed it
            if login.expires < time.time() + _MARGIN:
                login = renew(http, login)
                stored.remember(login)
    return login.access_token


def _found(stored: Stored, url: str) -> Login:
    login = stored.find(url)
    if login is None:
        raise LoginFailed(f"Nobody is logged in to {url}: run python -m dask_gateway_login with the gateway's address")
    return login
