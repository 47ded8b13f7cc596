"""The guard of the dashboards' door, as the configuration wants it: who is who there, and by which keys."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.auth.authenticator import Login
from gateway.auth.chain import Chain
from gateway.clusters import sharing
from gateway.clusters.manager import Manager
from gateway.config.proxy import Proxy
from gateway.models import User
from gateway.proxy.dashboard.guard import Guard, People
from gateway.store.writer import Store
from gateway.web.asgi import cookies

#: What the keys of links are derived for.
PURPOSE: Final = b"links of dashboards"


def open_guard(options: Proxy, manager: Manager, chain: Chain, store: Store) -> Guard:
    """The guard; whoever has a session that may see a cluster's records may see its dashboard."""

    def user_of(scope: Mapping[str, Any]) -> User | None:
        return chain.user_by_cookie(cookies(scope))

    def person_of(name: str) -> str | None:
        return sharing.person_of(name, manager.find(name).record) if manager.knows(name) else None

    def may_see(user: User, name: str) -> bool:
        return person_of(name) == user.name and may_come(user, name)

    def may_come(user: User, name: str) -> bool:
        return manager.knows(name) and sharing.may(user, manager.find(name).record, "view")

    return Guard(
        options,
        People(user_of=user_of, person_of=person_of, may_see=may_see, may_come=may_come),
        keys=store.derive_keys(PURPOSE),
        login=f"{options.prefix}/login" if can_log_in(chain) else "",
        now=chain.sessions.now,
    )


def can_log_in(chain: Chain) -> bool:
    """Whether a browser can log in at all."""
    return any(one.logs_in is not Login.NONE and one.login_max_age for one in chain.authenticators)
