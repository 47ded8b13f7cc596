"""The guard at the dashboards' door: lets a request in, or says what is answered instead.

What is decided is in access.py. Here a decision becomes a redirect or a page,
and what it is made of is found out: the link's worth, the user of the browser's
session, the host that was asked. Where dashboards have hosts of their own
(hosts.py), the gateway's host decides and sends browsers there, and the
dashboard's takes a link for all there is to know: it gets no session.
"""

import time
from collections.abc import Callable
from urllib.parse import quote

from attrs import evolve, frozen

from gateway.config.proxy import Proxy
from gateway.models import User
from gateway.proxy.dashboard import pages
from gateway.proxy.dashboard.access import Access, Verdict, Viewer, Visit, decide, visit_of
from gateway.proxy.dashboard.hosts import Hosts
from gateway.proxy.dashboard.links import Links
from gateway.proxy.dashboard.request import DashboardRequest, Scope

#: Seconds that a link lives where every page asks for the session: as long as a page may take to fetch the rest.
OWNERS_LINK_AGE = 600


@frozen
class Turn:
    """What is answered in the dashboard's place: a redirect (`location`), or a page."""

    status: int
    page: bytes = b""
    location: bytes = b""


@frozen(kw_only=True)
class People:
    """Who is who. `user_of(scope)` is the user of a browser's session, None for nobody.

    Everybody who may see a cluster has a name of their own for it: `person_of(name)` is whose it is, None for an
    unknown one, and `may_see(user, name)` is for that person alone. `may_come(user, name)`: the user has one for that
    cluster, or is given one when they ask for it.
    """

    user_of: Callable[[Scope], User | None]
    person_of: Callable[[str], str | None]
    may_see: Callable[[User, str], bool]
    may_come: Callable[[User, str], bool]


class Guard:
    """Guards the dashboards below `{prefix}/clusters/`, and on hosts of their own if they have some.

    `keys` are those of links; `login` is the path of the page for logging in, "" where there is none; `now` is the time
    in seconds since the epoch.
    """

    def __init__(
        self,
        options: Proxy,
        people: People,
        *,
        keys: tuple[bytes, ...],
        login: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.hosts = Hosts(options.dashboard_host, options.host_names[0]) if options.dashboard_host else None
        self._access = Access(options.dashboard_access)
        self._people = people
        max_age = options.dashboard_link_max_age
        self._links = Links(keys, min(max_age, OWNERS_LINK_AGE) if self._access is Access.OWNER else max_age)
        self._prefix = options.prefix
        self._login = login
        self._now = now

    def route(self, cluster: str, person: str) -> str:
        """Return the path below the prefix that opens a dashboard, as the person is told it whose name this is."""
        if self._access is not Access.LINK:
            return f"/clusters/{cluster}/status"
        return f"/clusters/{cluster}/{self._links.make(cluster, person, self._now())}/status"

    def is_own_host(self, host: str) -> bool:
        """Return whether a host, as a request names it, is that of a dashboard alone."""
        return self.hosts is not None and self.hosts.cluster_at(host.encode("latin-1", "replace")) is not None

    def turn(self, request: DashboardRequest) -> Turn | None:
        """Return what is answered in the place of the dashboard, None for a request that is let in."""
        person = self._people.person_of(request.cluster)
        if person is None:
            return Turn(404, pages.unknown_cluster(request.cluster))
        link = self._links.check(request.place.link, request.cluster, person, self._now())
        visit = visit_of(request.scope["type"], request.method, request.headers)
        user = self._user_of(request, visit)
        verdict = decide(self._access, link, visit, self._viewer(request, user))
        if verdict is Verdict.SHOW and (self.hosts is None or request.at_own_host):
            request.origin = evolve(request.origin, by_link=link.holds)
            return None
        if verdict is Verdict.NOT_YOURS and user is not None and self._people.may_come(user, request.cluster):
            return Turn(303, location=f"{self._prefix}/open/{request.cluster}".encode())
        if location := self._elsewhere(verdict, request, person):
            return Turn(307 if verdict is Verdict.SHOW else 303, location=location)
        return Turn(403, self._page(request, verdict, user))

    def _user_of(self, request: DashboardRequest, visit: Visit) -> User | None:
        """Only pages are asked whose they are, and only the gateway's own host is told the session."""
        return None if request.at_own_host or visit is Visit.FETCH else self._people.user_of(request.scope)

    def _viewer(self, request: DashboardRequest, user: User | None) -> Viewer:
        # At the dashboard's own host a fresh link means that the gateway has just looked at the session.
        if request.at_own_host or (user is not None and self._people.may_see(user, request.cluster)):
            return Viewer.ENTITLED
        return Viewer.NOBODY if user is None else Viewer.STRANGER

    def _elsewhere(self, verdict: Verdict, request: DashboardRequest, person: str) -> bytes:
        """Where to send a browser; nowhere (b"") when it is told something."""
        if verdict is Verdict.SHOW:
            return self._dashboard(request, request.place.link_as_sent)
        if verdict is Verdict.RENEW and request.at_own_host:
            return self._gateway(request)
        if verdict is Verdict.RENEW:
            return self._dashboard(request, self._links.make(request.cluster, person, self._now()).encode())
        if verdict is Verdict.LOG_IN and self._login:
            path = f"{request.place.base}{_asked(request).decode('latin1')}"
            return f"{self._login}?next={quote(path, safe='/')}".encode()
        return b""

    def _dashboard(self, request: DashboardRequest, link: bytes) -> bytes:
        """Where to go on with this link, b"" for none. Without a scheme: a server in front of us may speak HTTPS."""
        below = (b"/" + link if link else b"") + _asked(request)
        if self.hosts is None:
            return request.place.base.encode() + below
        return b"//" + self.hosts.of_cluster(request.cluster, request.origin.host) + below

    def _gateway(self, request: DashboardRequest) -> bytes:
        """Where people are known, which leads back."""
        assert self.hosts is not None
        path = f"{self._prefix}/clusters/{request.cluster}".encode()
        return b"//" + self.hosts.of_gateway(request.origin.host) + path + _asked(request)

    def _page(self, request: DashboardRequest, verdict: Verdict, user: User | None) -> bytes:
        name, again = request.cluster, f"{request.place.base}/status"
        if verdict is Verdict.EXPIRED:
            return pages.link_expired(name, again)
        if verdict is Verdict.FALSE:
            return pages.link_false(name, again)
        if verdict is Verdict.NOT_YOURS:
            assert user is not None
            return pages.not_yours(name, user.name, can_be_given=self._access is Access.LINK)
        return pages.only_for_owners(name) if self._access is Access.OWNER else pages.needs_link(name)


def _asked(request: DashboardRequest) -> bytes:
    return (request.place.path or b"/") + request.query
