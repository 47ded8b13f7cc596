"""MUNGE: whoever has an account on a node of the cluster needs nothing else to log in.

The munged of this machine makes a credential that says which user has asked for
it and what it is for: the gateway at this URL, so that no other server that
receives it can use it there. A credential is good for one request and some minutes.
"""

import ctypes
import re
from typing import Any

from dask_gateway.auth import GatewayAuth

_LIBRARY = "libmunge.so.2"
#: munge.h
_OPT_SOCKET = 8

_REASON = re.compile(r'munge\s+reason="([^"]*)"', re.IGNORECASE)


class MungeAuth(GatewayAuth):  # type: ignore[misc]
    """Log in by MUNGE, as the user who runs this. `socket` is munged's, if it is not where it is as a rule."""

    def __init__(self, socket: str | None = None) -> None:
        self.socket = socket

    def pre_request(self, resp: Any) -> tuple[dict[str, str], None]:
        """The header for a request that was answered with this 401. Raises OSError without a munged."""
        # After redirects the answer is another server's than the one that will be asked again.
        asked = resp.history[0] if resp.history else resp
        credential = new_credential(f"dask-gateway {origin_of(asked.url)}", self.socket)
        return {"Authorization": f"munge {credential}"}, None

    def post_response(self, resp: Any, context: None = None) -> None:
        """Raises PermissionError with the gateway's reason when it has refused the credential."""
        if resp.status == 401:
            refused = _REASON.search(resp.headers.get("WWW-Authenticate", ""))
            raise PermissionError(refused[1] if refused else "The gateway does not take MUNGE credentials")


def origin_of(url: Any) -> str:
    """`https://host:443`, of aiohttp's kind of URL."""
    host = url.raw_host
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{url.port}"


def new_credential(payload: str, socket: str | None = None) -> str:
    """A credential of the user who runs this. Raises OSError, with what to do about it."""
    try:
        munge = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise OSError(f"This machine has no MUNGE ({error}): log in from a node of the cluster") from None
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    munge.munge_ctx_create.restype = pointer
    munge.munge_ctx_destroy.argtypes, munge.munge_ctx_destroy.restype = [pointer], None
    munge.munge_ctx_set.argtypes = [pointer, ctypes.c_int]
    munge.munge_ctx_strerror.argtypes, munge.munge_ctx_strerror.restype = [pointer], text
    munge.munge_encode.argtypes = [pointer, pointer, text, ctypes.c_int]
    context, credential = munge.munge_ctx_create(), pointer()
    try:
        code = 0
        if socket:  # what comes after the second argument may be of any type: a pointer has to be passed as one
            code = munge.munge_ctx_set(context, _OPT_SOCKET, text(socket.encode()))
        content = payload.encode()
        code = code or munge.munge_encode(ctypes.byref(credential), context, content, len(content))
        if code:
            words = (munge.munge_ctx_strerror(context) or b"").decode("utf-8", "replace")
            raise OSError(f"MUNGE makes no credential: {words or f'error {code}'}. Does munged run on this machine?")
        return ctypes.string_at(credential.value or 0).decode()
    finally:
        libc = ctypes.CDLL(None)
        libc.free.argtypes, libc.free.restype = [pointer], None
        libc.free(credential)
        munge.munge_ctx_destroy(context)
