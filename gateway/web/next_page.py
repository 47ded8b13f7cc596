"""Where a browser goes after it has logged in: a page of this gateway, whatever a link says; pure."""

import re

#: A path on this host: no second slash (another host), no backslash (which browsers take for one), nothing unreadable.
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,2000}")


def next_page(wanted: str, otherwise: str) -> str:
    """The path that is wanted if it is one of this host, else the other one."""
    return wanted if _PATH.fullmatch(wanted) else otherwise
