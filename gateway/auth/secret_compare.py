"""Compare secrets without telling, by the time it takes, how much of a guess was right."""

import hmac


def same_secret(a: str, b: str) -> bool:
    """Whether two texts are equal. Takes any text; only their lengths may show in the time it takes."""
    return hmac.compare_digest(a.encode("utf-8", "surrogatepass"), b.encode("utf-8", "surrogatepass"))
