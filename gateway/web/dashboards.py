"""The guard of the dashboards' door, as the configuration wants it: who is who there, and by which keys."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.auth.authenticator import Login
from gateway.auth.chain import Chain
from gateway.clusters.manager import Manager
from gateway.config.proxy import Proxy
from gateway.models import User
from gateway.proxy.dashboard.access import Access
from gateway.proxy.dashboard.guard import Guard, People
from gateway.proxy.dashboard.hosts import Hosts
from gateway.store.writer import Store
from gateway.web.router import cookies

#: What the keys of links are derived for.
PURPOSE: Final = b"links of dashboards"


def open_guard(proxy: Proxy, manager: Manager, chain: Chain, store: Store) -> Guard:
    """The guard; whoever has a session that may see a cluster's records may see its dashboard."""

    def user_of(scope: Mapping[str, Any]) -> User | None:
        return chain.user_by_cookie(cookies(scope))

    def owner_of(cluster: str) -> str | None:
        return manager.find(cluster).record.username if manager.knows(cluster) else None

    return Guard(
        Access(proxy.dashboard_access),
        People(user_of=user_of, owner_of=owner_of, may_see=lambda user, cluster: owner_of(cluster) == user.name),
        keys=store.derive_keys(PURPOSE),
        max_age=proxy.dashboard_link_max_age,
        hosts=Hosts(proxy.dashboard_host, proxy.host_names[0]) if proxy.dashboard_host else None,
        prefix=proxy.prefix,
        login=f"{proxy.prefix}/login" if can_log_in(chain) else "",
        now=chain.sessions.now,
    )


def is_at_host(guard: Guard) -> Callable[[str], bool]:
    """Whether a host, as a request names it, is that of a dashboard alone."""
    hosts = guard.hosts
    return lambda host: hosts is not None and hosts.cluster_at(host.encode("latin-1", "replace")) is not None


def can_log_in(chain: Chain) -> bool:
    """Whether a browser can log in at all."""
    return any(one.logs_in is not Login.NONE and one.login_max_age for one in chain.authenticators)
