"""Who may see a dashboard, and what a request is."""

from itertools import product

import pytest

from gateway.proxy.dashboard.access import Access, Verdict, Viewer, Visit, decide, visit_of
from gateway.proxy.dashboard.links import Link

PEOPLE = list(Viewer)


@pytest.mark.parametrize(("link", "visit", "viewer"), list(product(Link, Visit, Viewer)))
def test_open_is_open(link: Link, visit: Visit, viewer: Viewer) -> None:
    assert decide(Access.OPEN, link, visit, viewer) is Verdict.SHOW


@pytest.mark.parametrize(("link", "visit", "viewer"), list(product([Link.FRESH, Link.AGEING], Visit, Viewer)))
def test_a_link_that_holds_opens_for_whoever_has_it(link: Link, visit: Visit, viewer: Viewer) -> None:
    assert decide(Access.LINK, link, visit, viewer) is Verdict.SHOW


N, F, E = Link.NONE, Link.FALSE, Link.EXPIRED


@pytest.mark.parametrize(
    ("link", "visit", "verdicts"),  # for nobody, a stranger, and whoever may see it
    [
        (N, Visit.PAGE, (Verdict.LOG_IN, Verdict.NOT_YOURS, Verdict.RENEW)),
        (N, Visit.FRAME, (Verdict.NEEDS_LINK, Verdict.NOT_YOURS, Verdict.RENEW)),
        (N, Visit.FETCH, (Verdict.NEEDS_LINK,) * 3),
        (E, Visit.PAGE, (Verdict.EXPIRED, Verdict.NOT_YOURS, Verdict.RENEW)),
        (E, Visit.FRAME, (Verdict.EXPIRED, Verdict.NOT_YOURS, Verdict.RENEW)),
        (E, Visit.FETCH, (Verdict.EXPIRED,) * 3),
        (F, Visit.PAGE, (Verdict.FALSE, Verdict.NOT_YOURS, Verdict.RENEW)),
        (F, Visit.FRAME, (Verdict.FALSE, Verdict.NOT_YOURS, Verdict.RENEW)),
        (F, Visit.FETCH, (Verdict.FALSE,) * 3),
    ],
)
def test_without_a_link_that_holds(link: Link, visit: Visit, verdicts: tuple[Verdict, ...]) -> None:
    assert tuple(decide(Access.LINK, link, visit, viewer) for viewer in PEOPLE) == verdicts


@pytest.mark.parametrize(
    ("link", "visit", "verdicts"),
    [
        (Link.FRESH, Visit.PAGE, (Verdict.LOG_IN, Verdict.NOT_YOURS, Verdict.SHOW)),
        (Link.FRESH, Visit.FRAME, (Verdict.NEEDS_LINK, Verdict.NOT_YOURS, Verdict.SHOW)),
        (Link.FRESH, Visit.FETCH, (Verdict.SHOW,) * 3),
        (Link.AGEING, Visit.PAGE, (Verdict.LOG_IN, Verdict.NOT_YOURS, Verdict.RENEW)),
        (Link.AGEING, Visit.FETCH, (Verdict.SHOW,) * 3),
        (E, Visit.PAGE, (Verdict.LOG_IN, Verdict.NOT_YOURS, Verdict.RENEW)),
        (E, Visit.FRAME, (Verdict.EXPIRED, Verdict.NOT_YOURS, Verdict.RENEW)),
        (E, Visit.FETCH, (Verdict.EXPIRED,) * 3),
        (F, Visit.PAGE, (Verdict.LOG_IN, Verdict.NOT_YOURS, Verdict.RENEW)),
        (F, Visit.FETCH, (Verdict.FALSE,) * 3),
        (N, Visit.PAGE, (Verdict.LOG_IN, Verdict.NOT_YOURS, Verdict.RENEW)),
        (N, Visit.FETCH, (Verdict.NEEDS_LINK,) * 3),
    ],
)
def test_where_pages_ask_for_the_session(link: Link, visit: Visit, verdicts: tuple[Verdict, ...]) -> None:
    assert tuple(decide(Access.OWNER, link, visit, viewer) for viewer in PEOPLE) == verdicts


@pytest.mark.parametrize(
    ("kind", "method", "headers", "visit"),
    [
        ("http", "GET", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, Visit.PAGE),
        ("http", "HEAD", {"sec-fetch-mode": "navigate"}, Visit.PAGE),
        ("http", "GET", {"Sec-Fetch-Mode": "Navigate", "Sec-Fetch-Dest": "IFrame"}, Visit.FRAME),
        ("http", "GET", {"sec-fetch-mode": "navigate", "sec-fetch-dest": "object"}, Visit.FRAME),
        ("http", "GET", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "script", "accept": "*/*"}, Visit.FETCH),
        ("http", "GET", {"sec-fetch-mode": "cors", "accept": "text/html"}, Visit.FETCH),
        ("http", "GET", {"accept": "application/xml, text/HTML;q=0.9, */*"}, Visit.PAGE),
        ("http", "GET", {"accept": "*/*"}, Visit.FETCH),
        ("http", "GET", {}, Visit.FETCH),
        ("http", "POST", {"sec-fetch-mode": "navigate", "accept": "text/html"}, Visit.FETCH),
        ("websocket", "GET", {"sec-fetch-mode": "navigate", "accept": "text/html"}, Visit.FETCH),
    ],
)
def test_what_a_request_is(kind: str, method: str, headers: dict[str, str], visit: Visit) -> None:
    assert visit_of(kind, method, [(name.encode(), value.encode()) for name, value in headers.items()]) is visit
