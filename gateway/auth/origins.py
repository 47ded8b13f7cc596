"""What of a URL says with whom one speaks: scheme, host and port; pure."""

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """`https://host:443` of a URL, whatever else is in it. Raises ValueError."""
    reason = "must be a URL like https://gateway.example.org"
    if not url.isascii() or not url.isprintable():
        raise ValueError(reason)
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError(reason)
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise ValueError(reason) from None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"
