"""The pages that the proxy writes itself: few words, for the person in front of the browser."""

from html import escape

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 1.1em sans-serif; max-width: 38em; margin: 4em auto; padding: 0 1em }}</style></head>
<body><h1>{title}</h1><p>{text}</p></body></html>
"""


def render_page(title: str, text: str) -> bytes:
    """Render a page in UTF-8; both texts are plain text."""
    return _PAGE.format(title=escape(title), text=escape(text)).encode()


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
