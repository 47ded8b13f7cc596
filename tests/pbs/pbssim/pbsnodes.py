"""pbsnodes -a -F dsv: the one node, with what is said of it in the recorded sample and matters here."""

import sys

from pbssim.settings import Settings
from pbssim.wire import Away, ask, complain, put


def print_nodes(settings: Settings) -> str:
    """The line of the node."""
    fields = {
        "Name": settings.host,
        "Mom": settings.host,
        "Port": "15002",
        "ntype": "PBS",
        "state": "free" if settings.nodes_up else "state-unknown,down",
        "resources_available.arch": "linux",
        "resources_available.host": settings.host,
        "resources_available.mem": f"{settings.memory >> 10}kb",
        "resources_available.ncpus": str(settings.ncpus),
        "resources_available.vnode": settings.host,
        "sharing": "default_shared",
    }
    return "|".join(f"{name}={value}" for name, value in fields.items()) + "\n"


def main(argv: list[str]) -> int:
    """Run the command; returns its exit code."""
    if argv != ["-a", "-F", "dsv"]:
        complain("usage: pbsnodes -a -F dsv, as far as the tests need it")
        return 2
    try:
        put(ask("pbsnodes", {"argv": argv})["print"])
    except Away as away:
        complain(str(away))
        return away.code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
