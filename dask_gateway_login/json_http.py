"""HTTP for logins: JSON from servers that have to be who they are.

Requests carry secrets: they go by https, or to this machine; redirects are
answers and are not followed; answers are bounded, and waited for so long and no longer.
"""

import http.client
import ipaddress
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

#: Seconds to wait for an answer, and its bytes.
TIMEOUT, MOST_BYTES = 20.0, 1024 * 1024


class LoginFailed(Exception):
    """Nobody was logged in; the text is a sentence that says why."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: the answer is the redirect."""


class JsonHttp:
    """Asks servers; `ca` is a PEM file of authorities beside those of this machine."""

    def __init__(self, ca: str = "") -> None:
        """Raises `LoginFailed` when the file cannot be used."""
        context = ssl.create_default_context()
        try:
            if ca:
                context.load_verify_locations(ca)
        except OSError as error:
            raise LoginFailed(f"{ca} cannot be used: {error}") from None
        self._opener = urllib.request.build_opener(_NoRedirects, urllib.request.HTTPSHandler(context=context))

    def ask(
        self, url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and the object of an answer (empty when it is none); a form is posted. Raises `LoginFailed`."""
        check_private(url)
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(url, data, {"Accept": "application/json", **(headers or {})})  # noqa: S310
        try:
            try:
                answer = self._opener.open(request, timeout=TIMEOUT)
            except urllib.error.HTTPError as error:
                answer = error
            with answer:
                text = answer.read(MOST_BYTES + 1)
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise NoAnswer(f"{_host(url)} does not answer: {reason}") from None
        try:
            value = json.loads(text) if len(text) <= MOST_BYTES else None
        except ValueError:
            value = None
        return answer.status or 0, value if isinstance(value, dict) else {}

    def get(self, url: str, what: str) -> dict[str, Any]:
        """The object at a URL; `what` it should be. Raises `LoginFailed` when there is none."""
        status, value = self.ask(url)
        if status != 200 or not value:
            raise LoginFailed(f"{url} is not {what}: it answers with status {status}")
        return value


class NoAnswer(LoginFailed):
    """Nobody answers; the same may work later."""


def check_private(url: str) -> None:
    """Raises `LoginFailed` for a URL to which nothing secret can be sent."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urllib.parse.urlsplit(""), ""
    if not host or "@" in parts.netloc or not url.isprintable() or " " in url:
        raise LoginFailed(f"{url!r} is no URL of a server")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise LoginFailed(f"{url!r} does not begin with https://: whoever can read the network would read the token")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc
