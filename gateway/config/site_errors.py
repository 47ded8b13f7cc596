"""What a site's own code raises, in words and answers of ours.

Authenticators and options functions come from the original server, where
errors are aiohttp's. Nothing of aiohttp is imported here: an exception that
says that its status is 401 means that nobody has been identified, whatever its
class. Other statuses count for aiohttp's own web errors only; elsewhere they
are as a rule those of some server that was asked on the way.
"""

import re
from collections.abc import Mapping
from types import TracebackType

from gateway.errors import GatewayError, Unauthorized, innermost
from gateway.user_text import one_line

#: A challenge as it may stand in a header (RFC 9110, 11.6.1): printable ASCII on one line.
_CHALLENGE = re.compile(r"[!-~][ -~]{0,4000}")

#: Packages that the original brings along and this gateway does not → what to do without them.
ABSENT: Mapping[str, str] = {
    "aiohttp": "this gateway comes without aiohttp: raise `dask_gateway_server.auth.unauthorized(...)` instead of"
    " web.HTTPUnauthorized, or install aiohttp beside the gateway (its exceptions are understood; its client needs"
    " asyncio, which does not run here: use httpx)",
    "traitlets": "this gateway comes without traitlets: declare options with `gateway.configurable.setting`, or"
    " install traitlets beside the gateway, which then takes options declared with it",
    "colorlog": "log lines have one format here; write to self.log",
    "tornado": "this gateway runs on trio: use httpx for requests of your own, or install tornado for its values only",
}

#: Attributes of the original's objects → what there is instead, by the kind of object.
_ATTRIBUTES: Mapping[str, Mapping[str, str]] = {
    "request": {
        "query": "request.args",
        "query_string": "request.query_string",
        "remote": "request.remote_addr",
        "rel_url": "request.full_path",
        "match_info": "request.view_args",
        "transport": "request.remote_addr",
        "text": "await request.get_data(as_text=True)",
        "read": "await request.get_data()",
        "post": "await request.form",
    },
    "app": {
        **dict.fromkeys(("router", "add_routes"), 'Quart\'s, @app.get("/path") before a function'),
        **dict.fromkeys(("on_startup", "on_shutdown", "on_cleanup"), "setup() and cleanup() of the authenticator"),
        "middlewares": "Quart's, @app.before_request and @app.after_request",
        "logger": "self.log",
    },
    "option": {
        **dict.fromkeys(("parent", "config"), "options of self; there is no application object above it"),
        **dict.fromkeys(
            (
                "traits",
                "trait_names",
                "trait_values",
                "has_trait",
                "observe",
                "unobserve",
                "set_trait",
                "notify_change",
            ),
            "options as attributes, which do not change",
        ),
        **dict.fromkeys(("cache", "session", "db", "queue", "proxy", "task_pool"), "objects that setup() makes"),
    },
}

_ASYNCIO = (
    "this gateway runs on trio, not on asyncio: use a library that knows trio (httpx, for example), or"
    " `await trio.to_thread.run_sync(function)` for one that blocks"
)


class ForeignError(GatewayError):
    """An error of another web framework; `status` and the text are its own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]


def as_gateway_error(error: BaseException) -> GatewayError | None:
    """The answer that an exception of a site's own code stands for; None when it is no answer but a failure."""
    error = innermost(error)
    if isinstance(error, GatewayError):
        return error
    status = _status(error)
    if status == 401:
        return Unauthorized(_reason(error) or "Authentication required", challenge=_challenge(error))
    if 400 <= status <= 599 and any(base.__module__.startswith("aiohttp.web") for base in type(error).__mro__):
        return ForeignError(_reason(error) or f"Refused with status {status}", status)
    return None


def told(error: BaseException) -> str:
    """What an exception says, on one line and of bounded length; its class when it says nothing."""
    try:
        text = str(innermost(error))
    except Exception:  # noqa: BLE001 - a class of the site's own may raise anything
        text = ""
    return one_line(text) or type(innermost(error)).__name__


def described(error: BaseException) -> str:
    """An exception for an administrator: its class, what it says, where it was raised, and what to do about it."""
    error = innermost(error)
    name, text = type(error).__name__, told(error)
    place = place_raised(error.__traceback__)
    return (name if text == name else f"{name}: {text}") + (f" ({place})" if place else "") + advice(error)


def advice(error: BaseException) -> str:
    """What to do about an error that has its cause in the move from the original; empty when nothing is known."""
    error = innermost(error)
    if isinstance(error, ModuleNotFoundError):
        known = ABSENT.get((error.name or "").split(".")[0])
        return f": {known}" if known and known not in str(error) else ""
    if isinstance(error, AttributeError):
        kind = {"Request": "request", "Quart": "app", "QuartTrio": "app"}.get(type(error.obj).__name__, "")
        if hasattr(type(error.obj), "__attrs_attrs__"):
            kind = "option"
        instead = _ATTRIBUTES.get(kind, {}).get(error.name or "")
        return f": here it is {instead}" if instead else ""
    if isinstance(error, RuntimeError) and re.search("no (running|current) event loop", str(error)):
        return f": {_ASYNCIO}"
    return ""


def _status(error: BaseException) -> int:
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and not isinstance(value, bool):
            return int(value)
    return 0


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    return one_line(reason) if isinstance(reason, str) and reason else told(error)


def _challenge(error: BaseException) -> str:
    headers = getattr(error, "headers", None)
    if isinstance(headers, Mapping):
        for name, value in headers.items():
            if str(name).lower() == "www-authenticate" and _CHALLENGE.fullmatch(str(value)):
                return str(value)
    return "Basic"


def place_raised(traceback: TracebackType | None) -> str:
    """The innermost line of code that is neither Python's, nor an installed package's, nor ours."""
    place = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        ours = str(traceback.tb_frame.f_globals.get("__name__", "")).split(".")[0] == "gateway"
        if not ours and not file.startswith("<") and "/lib/python" not in file:
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
