"""The pages that the proxy writes itself: few words, for the person in front of the browser."""

from html import escape

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 1.1em sans-serif; max-width: 38em; margin: 4em auto; padding: 0 1em }}</style></head>
<body><h1>{title}</h1><p>{text}</p>{more}</body></html>
"""
_MORE = """<p><a href="{link}">{words}</a></p>"""


def render_page(title: str, text: str, words: str = "", link: str = "") -> bytes:
    """Render a page in UTF-8, with a link under these words if there are some; all are plain text."""
    more = _MORE.format(link=escape(link), words=escape(words)) if words else ""
    return _PAGE.format(title=escape(title), text=escape(text), more=more).encode()


def unknown_cluster(name: str) -> bytes:
    """Render the page for a name that is no running cluster's."""
    return render_page(
        "No such cluster",
        f"There is no running cluster called “{name}” with a dashboard here. It may have been stopped, or not have "
        "started yet: its scheduler announces the dashboard once it runs.",
    )


def dashboard_down(name: str) -> bytes:
    """Render the page for a cluster whose dashboard cannot be reached."""
    return render_page(
        "The dashboard does not answer",
        f"The scheduler of cluster “{name}” cannot be reached. It may be about to end, or its node may have "
        "failed. Reload this page in a few seconds; if it stays like this, look at the state of the cluster in your "
        "notebook.",
    )


def dashboard_elsewhere(name: str) -> bytes:
    """Render the page for a dashboard whose address the gateway does not connect to."""
    return render_page(
        "This address is not connected to",
        f"The scheduler of cluster “{name}” names an address for its dashboard to which the gateway makes no "
        "connections. The gateway's log says why; its administrators can list networks in c.Proxy.scheduler_networks.",
    )


def dashboard_slow(name: str) -> bytes:
    """Render the page for a dashboard that took the request and did not begin to answer."""
    return render_page(
        "The dashboard is too slow",
        f"The scheduler of cluster “{name}” took this request but did not answer in time; it is probably very busy. "
        "Reload this page in a while.",
    )


def bad_request() -> bytes:
    """Render the page for a request that cannot be passed on as it is."""
    return render_page("Bad request", "This request holds something that cannot be passed on to a dashboard.")


#: Where people find links.
_CLIENT = "cluster.dashboard_link, or gateway.list_clusters(), in a notebook"


def needs_link(name: str) -> bytes:
    """Render the page for a request without a link."""
    return render_page(
        "A link is needed",
        f"The dashboard of cluster “{name}” opens by its whole link: see {_CLIENT}. Whoever is logged in to the "
        "gateway, and may see the cluster, can also open this address in a tab of its own.",
    )


def only_for_owners(name: str) -> bytes:
    """Render the page for a request by a program, or in a frame, where pages are for logged in users only."""
    return render_page(
        "Only in a browser",
        f"The dashboard of cluster “{name}” opens in a tab of its own of a browser in which you are logged in to the "
        "gateway, for this gateway gives links to nobody else (c.Proxy.dashboard_access).",
    )


def link_expired(name: str, again: str) -> bytes:
    """Render the page for a link that has expired; at `again` those who may see the cluster get a fresh one."""
    return render_page(
        "This link has expired",
        f"A link to the dashboard of cluster “{name}” opens it for a limited time. For a fresh one see {_CLIENT}, or "
        "ask whoever gave you this one.",
        "I may see this cluster: open it anew",
        again,
    )


def link_false(name: str, again: str) -> bytes:
    """Render the page for a link that was never made; at `again` those who may see the cluster get one."""
    return render_page(
        "This link does not open anything",
        f"It is none to the dashboard of cluster “{name}”: a part of it may be missing or changed, or the keys of the "
        f"gateway have been replaced since. For a whole one see {_CLIENT}, or ask whoever gave you this one.",
        "I may see this cluster: open it anew",
        again,
    )


def not_yours(name: str, user: str, *, can_be_given: bool) -> bytes:
    """Render the page for a user to whom a cluster does not belong; whether somebody can give them a link."""
    way = "Its owner can give you a link, which opens it for a limited time." if can_be_given else ""
    return render_page(
        "This dashboard is not yours to see",
        f"You are logged in as “{user}”, and cluster “{name}” belongs to somebody else. {way}".strip(),
    )
