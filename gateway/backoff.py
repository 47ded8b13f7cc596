"""How long to wait before what has failed is tried again (pure)."""


def backoff(failures: int, *, base: float, longest: float) -> float:
    """Return how many seconds to wait after so many failures in a row (at least 1).

    It is `base` after the first, twice as long after each further one, and `longest` at most.
    """
    return min(longest, base * 2.0 ** min(failures - 1, 64))
