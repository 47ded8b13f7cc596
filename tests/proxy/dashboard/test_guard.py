"""What is answered in a dashboard's place: where browsers are sent, and what people and programs are told."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from gateway.config.proxy import Proxy
from gateway.models import User
from gateway.proxy.dashboard.guard import OWNERS_LINK_AGE, Guard, People, Turn
from gateway.proxy.dashboard.request import DashboardRequest

NOW = 1_790_000_000.0
DAY = 86400
PAGE = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
FRAME = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
FETCH: dict[str, str] = {}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def user_of(scope: Any) -> User | None:
    """The session is a header here."""
    name = dict(scope["headers"]).get(b"x-user", b"").decode()
    return User(name) if name else None


PEOPLE = People(
    user_of=user_of,
    person_of={"abc": "alice", "abc-x": "guest"}.get,
    may_see=lambda user, cluster: (user.name, cluster) in (("alice", "abc"), ("friend", "abc"), ("guest", "abc-x")),
    may_come=lambda user, cluster: user.name in ("alice", "friend", "guest"),
)


def guard_of(
    access: str = "link", clock: Clock | None = None, *, key: bytes = b"k" * 32, login: str = "/login", **options: Any
) -> Guard:
    proxy = Proxy(dashboard_access=access, dashboard_link_max_age=7 * DAY, **options)
    return Guard(proxy, PEOPLE, keys=(key,), login=login, now=clock or Clock())


def request(
    guard: Guard,
    path: str,
    headers: dict[str, str],
    *,
    user: str = "",
    root: str = "",
    host: str = "gateway.example",
    kind: str = "http",
) -> DashboardRequest:
    path, _, query = path.partition("?")
    pairs = [(b"host", host.encode()), *((name.encode(), value.encode()) for name, value in headers.items())]
    if user:
        pairs.append((b"x-user", user.encode()))
    raw = f"{root}{path}".encode()
    scope = {"type": kind, "method": "GET", "headers": pairs, "raw_path": raw, "query_string": query.encode()}
    return DashboardRequest({**scope, "path": path, "root_path": root}, b"via", guard.hosts)


def turn(guard: Guard, path: str, headers: dict[str, str], **more: Any) -> Turn | None:
    return guard.turn(request(guard, path, headers, **more))


def sent_to(answer: Turn | None, status: int = 303) -> str:
    assert answer is not None
    assert (answer.status, answer.page) == (status, b"")
    return answer.location.decode()


def told(answer: Turn | None, status: int = 403) -> str:
    assert answer is not None
    assert (answer.status, answer.location) == (status, b"")
    return answer.page.decode()


def test_the_owners_route_opens_for_whoever_has_it() -> None:
    guard = guard_of()
    route = guard.route("abc", "alice")
    assert route.startswith("/clusters/abc/~")
    assert route.endswith("/status")
    for headers in (PAGE, FRAME, FETCH):
        for user in ("", "alice", "mallory"):
            assert turn(guard, route, headers, user=user) is None
    assert turn(guard, route, {}, kind="websocket") is None
    assert turn(guard_of(key=b"x" * 32), route, FETCH) is not None
    assert "somebody else" in told(turn(guard, guard.route("abc", "mallory"), PAGE, user="mallory"))


@pytest.mark.parametrize("headers", [PAGE, FRAME, {"accept": "text/html"}])
@pytest.mark.parametrize("user", ["alice", "friend"])
@pytest.mark.parametrize("path", ["/clusters/abc/workers?x=1%20", "/clusters/abc/~1.old/workers?x=1%20"])
def test_who_may_see_it_is_sent_to_a_fresh_link(headers: dict[str, str], user: str, path: str) -> None:
    guard = guard_of()
    location = sent_to(turn(guard, path, headers, user=user, root="/gw"))
    assert location == "/gw" + guard.route("abc", "alice").replace("/status", "/workers?x=1%20")
    assert turn(guard, location.removeprefix("/gw"), PAGE, root="/gw") is None


def test_a_guest_is_sent_to_a_link_of_their_own() -> None:
    guard = guard_of()
    assert sent_to(turn(guard, "/clusters/abc/status", PAGE, user="guest")) == "/open/abc"
    assert sent_to(turn(guard, "/clusters/abc-x/status", PAGE, user="guest")) == guard.route("abc-x", "guest")
    assert turn(guard, guard.route("abc-x", "guest"), FETCH) is None
    # It is for the name that it was made for, and ends with that.
    assert "does not open" in told(turn(guard, guard.route("abc-x", "guest").replace("abc-x", "abc"), FETCH))
    assert "somebody else" in told(turn(guard, "/clusters/abc-x/status", PAGE, user="mallory"))


def test_another_user_is_told_why() -> None:
    page = told(turn(guard_of(), "/clusters/abc/status", PAGE, user="mall<ory"))
    assert "You are logged in as “mall&lt;ory”, and cluster “abc” belongs to somebody else." in page
    assert "give you a link" in page


def test_nobody_is_sent_to_log_in() -> None:
    location = sent_to(turn(guard_of(login="/gw/login"), "/clusters/abc/a%2Fb?x=1&y=2", PAGE, root="/gw"))
    assert urlsplit(location).path == "/gw/login"
    assert parse_qs(urlsplit(location).query) == {"next": ["/gw/clusters/abc/a%2Fb?x=1&y=2"]}
    assert "A link is needed" in told(turn(guard_of(login=""), "/clusters/abc/status", PAGE))
    assert "A link is needed" in told(turn(guard_of(), "/clusters/abc/status", FRAME))
    assert "A link is needed" in told(turn(guard_of(), "/clusters/abc/status", FETCH, user="alice"))
    assert "A link is needed" in told(turn(guard_of(), "/clusters/abc/ws", PAGE, user="alice", kind="websocket"))


def test_a_link_that_has_expired_says_so_and_leads_to_a_fresh_one() -> None:
    clock = Clock()
    guard = guard_of(clock=clock)
    route = guard.route("abc", "alice")
    clock.now += 7 * DAY
    for headers in (PAGE, FRAME, FETCH):
        page = told(turn(guard, route, headers))
        assert "This link has expired" in page
        assert 'href="/clusters/abc/status"' in page
    assert sent_to(turn(guard, route, PAGE, user="alice")) == guard.route("abc", "alice") != route
    assert "does not open anything" in told(turn(guard, route.replace("~", "~0"), PAGE))


def test_an_unknown_cluster() -> None:
    assert "no running cluster" in told(turn(guard_of(), "/clusters/nosuch/status", PAGE, user="alice"), 404)


def test_open_is_as_ever() -> None:
    guard = guard_of("open")
    assert guard.route("abc", "alice") == "/clusters/abc/status"
    for path in ("/clusters/abc/status", "/clusters/abc", "/clusters/abc/~1.a/status"):
        assert turn(guard, path, FETCH) is None


def test_where_pages_are_for_users_alone() -> None:
    clock = Clock()
    guard = guard_of("owner", clock)
    route = guard.route("abc", "alice")
    assert route == "/clusters/abc/status"
    fresh = sent_to(turn(guard, route, PAGE, user="alice"))
    assert turn(guard, fresh, PAGE, user="alice") is None
    assert sent_to(turn(guard, fresh, PAGE)).startswith("/login?next=/clusters/abc/status")
    page = told(turn(guard, fresh, PAGE, user="mallory"))
    assert "give you a link" not in page
    for path in (fresh, fresh.replace("/status", "/status/ws")):
        assert turn(guard, path, FETCH) is None  # what a page fetches has no session
    assert "Only in a browser" in told(turn(guard, route, FETCH))
    clock.now += OWNERS_LINK_AGE * 0.6
    assert sent_to(turn(guard, fresh, PAGE, user="alice")) != fresh  # its parts would soon find it expired
    clock.now += OWNERS_LINK_AGE * 0.4
    assert "has expired" in told(turn(guard, fresh, FETCH))


def test_only_what_comes_by_a_link_is_the_dashboards_own_page() -> None:
    guard = guard_of()
    asked = request(guard, guard.route("abc", "alice"), FETCH)
    assert not asked.origin.by_link
    assert guard.turn(asked) is None
    assert asked.origin.by_link
    everybody = guard_of("open")
    for path in ("/clusters/abc/ws", "/clusters/abc/~1.a/ws"):
        asked = request(everybody, path, FETCH)
        assert everybody.turn(asked) is None
        assert not asked.origin.by_link


# ---- dashboards on hosts of their own

HOSTS = {"dashboard_host": "*.dash.example", "host_names": ("gateway.example",)}
OWN = "abc.dash.example:8443"


def test_the_gateways_host_sends_to_the_dashboards() -> None:
    guard = guard_of(**HOSTS)
    route = guard.route("abc", "alice")
    link = route.split("/")[3]
    for kind in ("http", "websocket"):
        answer = turn(guard, f"{route}?a=b", FETCH, host="gateway.example:8443", kind=kind)
        assert sent_to(answer, 307) == f"//{OWN}/{link}/status?a=b"
    assert sent_to(turn(guard, "/clusters/abc/x", PAGE, user="alice")) == f"//abc.dash.example/{link}/x"
    assert sent_to(turn(guard, "/clusters/abc/x", PAGE)).startswith("/login?")
    assert turn(guard, f"/{link}/status", PAGE, host=OWN) is None
    assert turn(guard, f"/{link}/status/ws", FETCH, host=OWN, kind="websocket") is None
    everybody = guard_of("open", **HOSTS)
    assert sent_to(turn(everybody, "/clusters/abc/x", FETCH), 307) == "//abc.dash.example/x"
    assert sent_to(turn(everybody, "/clusters/abc/~%0d%0aX:/x", FETCH), 307) == "//abc.dash.example/~%0d%0aX:/x"
    assert turn(everybody, "/x", FETCH, host=OWN) is None


def test_the_dashboards_host_sends_back_to_be_known() -> None:
    clock = Clock()
    guard = guard_of(**HOSTS, clock=clock, prefix="/gw")
    link = guard.route("abc", "alice").split("/")[3]
    clock.now += 7 * DAY
    for path in ("/workers?x=1", f"/{link}/workers?x=1", "/~broken/workers?x=1"):
        location = sent_to(turn(guard, path, PAGE, host=OWN, user="alice"))
        assert location == "//gateway.example:8443/gw/clusters/abc/workers?x=1"
        assert told(turn(guard, path, FETCH, host=OWN))
        assert told(turn(guard, path, FETCH, host=OWN, kind="websocket"))
    assert told(turn(guard, "/status", PAGE, host="nosuch.dash.example"), 404)


def test_at_the_dashboards_host_a_fresh_link_stands_for_the_session() -> None:
    clock = Clock()
    guard = guard_of("owner", clock, **HOSTS)
    fresh = sent_to(turn(guard, "/clusters/abc/status", PAGE, user="alice", host="gateway.example:8443"))
    path = fresh.removeprefix(f"//{OWN}")
    assert turn(guard, path, PAGE, host=OWN) is None
    clock.now += OWNERS_LINK_AGE * 0.6
    assert turn(guard, path, FETCH, host=OWN) is None
    assert sent_to(turn(guard, path, PAGE, host=OWN)) == "//gateway.example:8443/clusters/abc/status"
