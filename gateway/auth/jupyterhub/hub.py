"""The API of JupyterHub, as far as the gateway asks it: whose a token is, and what a code buys.

An answer counts for some seconds without asking again, a refusal for fewer. When the Hub is
away, or is no Hub while it restarts, those whom it knew go on with what it said last
(known_tokens.py). After no answer came, nobody is asked for some seconds: otherwise
everybody would wait for the next one as long as the first did.
"""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

import structlog
import trio

from gateway.addresses import is_loopback
from gateway.auth.http_json import Answer, Away, JsonClient
from gateway.auth.jupyterhub.known_tokens import KnownTokens
from gateway.auth.jupyterhub.models import user_of_model
from gateway.errors import BadGateway, Unauthorized
from gateway.models import User
from gateway.user_text import one_line

_log = structlog.get_logger()

#: Seconds for which an answer counts without asking again, at most, and a refusal.
FRESH, REFUSED = 60.0, 5.0
#: Seconds for which nobody is asked after no answer came.
AWAY = 3.0
#: What can be sent in a header.
_TOKEN = re.compile(r"[!-~]{1,1000}")


class Hub:
    """A Hub, by the URL of its API. `service` is what tokens must be for (empty: anything); see `user_of_model`.

    Who was known to it is remembered for twice `max_age` seconds: as long as a session lasts that began with the
    answer, and once more.
    """

    def __init__(
        self, client: JsonClient, url: str, *, service: str = "", admins: bool = False, max_age: float
    ) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._service = service
        self._admins = admins
        self._away_until = 0.0
        self._known = KnownTokens(fresh=min(FRESH, max_age), kept=2 * max_age, refused=min(REFUSED, max_age))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    def known_user(self, token: str) -> User | None:
        """Whose a token is, if the Hub has just said so."""
        return self._known.user(token, trio.current_time())

    async def user_of(self, token: str) -> User:
        """Whose a token is, who may use this service. Raises `Unauthorized`, `Away` or `BadGateway`."""
        now = trio.current_time()
        if user := self._known.user(token, now):
            return user
        if reason := self._known.refusal(token, now):
            raise Unauthorized(reason)
        try:
            return await self._asked(token)
        except (Away, BadGateway):
            if (user := self._known.user(token, trio.current_time(), fresh=False)) is None:
                raise
            return user

    async def _asked(self, token: str) -> User:
        if trio.current_time() < self._away_until:
            raise Away("JupyterHub does not answer at the moment, so that nobody can say who you are")
        try:
            user = self._judged(await self._ask(token))
        except Away:
            self._away_until = trio.current_time() + AWAY
            raise
        except Unauthorized as error:
            self._known.refuse(token, str(error), trio.current_time())
            raise
        self._known.add(token, user, trio.current_time())
        return user

    async def _ask(self, token: str) -> Answer:
        return await self._client.get(f"{self._url}/user", {"Authorization": f"token {token}"})

    def _judged(self, answer: Answer) -> User:
        if answer.status in (401, 403, 404):
            raise Unauthorized("JupyterHub does not know this token: it was revoked, has expired, or never was one")
        if answer.status != 200:
            raise BadGateway(f"JupyterHub cannot say who you are: it has answered with status {answer.status}")
        return user_of_model(answer.json(), service=self._service, admins=self._admins)

    async def user_by_code(self, form: Mapping[str, str]) -> User:
        """Who has logged in there, by the form that redeems their code.

        The token that it buys is not kept. Raises `Unauthorized`, `Away` or `BadGateway`.
        """
        answer = await self._client.post_form(f"{self._url}/oauth2/token", form)
        said = _object_or_nothing(answer)
        token = said.get("access_token")
        if answer.status == 200 and isinstance(token, str) and _TOKEN.fullmatch(token):
            return self._judged(await self._ask(token))
        error = one_line(str(said.get("error", "")), 100)
        if answer.status >= 500 or not error:
            raise BadGateway(f"JupyterHub cannot log you in: it has answered with status {answer.status}")
        if error != "invalid_grant":  # which is about this login alone
            _log.error("JupyterHub does not take the gateway for its service", client=form["client_id"], error=error)
        raise Unauthorized(f"JupyterHub has not completed the login ({error}); please log in again")

    # ---- for the administrators

    async def look(self, own_token: str, name: str) -> None:
        """Tell the log what would refuse everybody later; `name` is what the service of `own_token` should be called.

        Raises `Away` or `BadGateway`.
        """
        if self._url.startswith("http:") and not is_loopback(_listener(self._url)):
            _log.warning("users' tokens travel to JupyterHub in the clear", url=self._url)
        if not self._service:
            _log.warning(
                "any token of JupyterHub may be used to create clusters, whatever it was made for; set"
                " c.JupyterHubAuthenticator.jupyterhub_service_name, and the Hub's roles decide"
            )
        answer = await self._client.get(f"{self._url}/")
        version = _object_or_nothing(answer).get("version")
        if answer.status != 200 or not isinstance(version, str):
            _log.error(
                "no API of JupyterHub answers here, so that nobody will be known: see"
                " c.JupyterHubAuthenticator.jupyterhub_api_url, which often ends in /hub/api",
                url=self._url,
                status=answer.status,
            )
            return
        _log.info("JupyterHub is there", url=self._url, version=one_line(version, 40))
        if own_token:
            await self._look_at(own_token, name)

    async def _look_at(self, own_token: str, name: str) -> None:
        answer = await self._ask(own_token)
        model = _object_or_nothing(answer) if answer.status == 200 else {}
        service = one_line(str(model.get("name")), 100) if model.get("kind") == "service" else ""
        if not service or (name and service != name):
            whose = f"is that of the service {service!r}" if service else "belongs to no service"
            _log.error(
                f"c.JupyterHubAuthenticator.jupyterhub_api_token {whose}: browsers cannot log in with it",
                jupyterhub_service_name=name,
            )


def _listener(url: str) -> str:
    """The host of a URL as the address of a listener."""
    host = urlsplit(url).hostname or ""
    return f"[{host}]:80" if ":" in host else f"{host}:80"


def _object_or_nothing(answer: Answer) -> Mapping[str, object]:
    try:
        return answer.json()
    except BadGateway:
        return {}
