"""A user's list of clusters, answered before the web framework when the cookie says who asks.

`GET {prefix}/api/v1/clusters/`: what notebooks, dashboards and `dask-gateway`
extensions poll. With a cookie that opens nothing has to be asked of an
authenticator, and nothing is added to the answer; whatever is different (a
query, no cookie, an outdated one) is for the API (api.py) to judge.
"""

import orjson

from gateway.auth.sessions import Sessions
from gateway.clusters.manager import Manager
from gateway.models import User
from gateway.web.api import report
from gateway.web.router import Receive, Scope, Send, answer, header

PATH = "/api/v1/clusters/"


class ListRoute:
    """The ASGI app of the requests that it `takes`."""

    def __init__(self, manager: Manager, sessions: Sessions) -> None:
        self._manager = manager
        self._sessions = sessions

    def takes(self, scope: Scope) -> bool:
        """True for a list without a query, asked for by somebody who is known by a cookie."""
        return (
            scope["path"] == PATH
            and scope["method"] == "GET"
            and not scope["query_string"]
            and self._user(scope) is not None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        user = self._user(scope)
        assert user is not None
        clusters = self._manager.list(user, None)
        body = orjson.dumps({cluster.name: report(cluster.record) for cluster in clusters})
        await answer(send, 200, body, ((b"content-type", b"application/json"),))

    def _user(self, scope: Scope) -> User | None:
        begin = f"{self._sessions.cookie_name}="
        for cookie in header(scope, b"cookie").split(";"):
            name_and_value = cookie.strip()
            if name_and_value.startswith(begin):
                return self._sessions.user(name_and_value[len(begin) :])
        return None
