"""How many sockets this process may have: two for each relay, one for each web connection."""

import resource


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one (getrlimit(2)), and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
