"""The account that asks: whether it is the gateway's, and how many files it may open."""

import resource

from gateway.backends.launcher.client import own_account
from gateway.doctor.finding import Finding, ok, warning
from gateway.doctor.site import Say, Site, is_root

#: A connection through the relay takes two files.
FEW_FILES = 8192


async def examine(site: Site, say: Say) -> None:
    """Look at the limits of this process, which has them from where it was started."""
    if is_root():
        say(
            warning(
                "account",
                "root asks: what the gateway's own account may do is not seen",
                f"run it as that account, for example: sudo -u dask {site.command}",
            )
        )
    else:
        say(ok("account", f"looked at as {own_account()}"))
    say(files_verdict(resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def files_verdict(limit: int) -> Finding:
    """Whether so many files (-1: any number) are enough."""
    if 0 <= limit < FEW_FILES:
        return warning(
            "file limit",
            f"{limit} open files, which is enough for some {max(0, limit - 100) // 2} connections of clients",
            "LimitNOFILE=65536 in the unit (systemctl edit dask-gateway), or a higher hard limit in limits.conf",
        )
    return ok("file limit", f"{'any number of' if limit < 0 else limit} open files")
