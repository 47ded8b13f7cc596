"""Serves what administrators may do, and nothing else of the API, on a Unix socket of this host."""

import contextlib
import grp
import os
import socket
from collections.abc import Iterator, Mapping
from functools import partial

import structlog
import trio
from attrs import frozen

from gateway.auth.identity import ADMINISTRATOR
from gateway.config.server import DaskGateway
from gateway.errors import GatewayError, StartError, innermost
from gateway.proxy.http import WebStream
from gateway.proxy.listeners import listen_unix
from gateway.trusted_files import unsafe
from gateway.web.admin.peers import Administrators, uid_of_peer
from gateway.web.admin.place import socket_path
from gateway.web.asgi import App, Receive, Scope, Send, answer_error, for_the_asker, refuse
from gateway.web.server import HttpServer

_log = structlog.get_logger()

#: Seconds for the head of a request, and bytes of a websocket message, though there are none here.
_HEAD_TIMEOUT, _MESSAGE_SIZE = 20.0, 1024
#: Seconds for whoever still works on a connection that has been closed.
_LINGER = 1.0
_PATHS = ("/api/health", "/api/ready", "/api/version", "/metrics")
_BELOW = "/api/v1/admin/"


@frozen
class AdminSocket:
    """The socket, if there is one, and those whom it is for."""

    listener: socket.socket | None
    administrators: Administrators

    async def serve(self, api: App) -> None:
        """Serve connections until cancelled."""
        if self.listener is not None:
            listener = trio.SocketListener(trio.socket.from_stdlib_socket(self.listener))
            await trio.serve_listeners(partial(_serve, api, self.administrators), [listener])


@contextlib.contextmanager
def open_admin_socket(options: DaskGateway, environment: Mapping[str, str]) -> Iterator[AdminSocket]:
    """Listen where the options say, or the environment that systemd has made. The socket's file is removed at the end.

    Raises `StartError`.
    """
    path, group = socket_path(options.admin_socket, environment.get("RUNTIME_DIRECTORY", "")), options.admin_group
    administrators = Administrators(group)
    if not path:
        yield AdminSocket(None, administrators)
        return
    listener = _listen(path, group)
    made = os.lstat(path)
    try:
        yield AdminSocket(listener, administrators)
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(made, os.lstat(path)):
                os.unlink(path)


def _listen(path: str, group: str) -> socket.socket:
    option = f"The administrator's socket {path} (c.DaskGateway.admin_socket) cannot be opened"
    why = unsafe(os.path.dirname(path), folder=True, owners=(0, os.geteuid()))
    if why:
        raise StartError(
            f"{option}: {why}. Choose a folder where nobody else can put files, such as /run/dask-gateway, which"
            " systemd makes for a service with RuntimeDirectory=dask-gateway"
        )
    try:
        gid = grp.getgrnam(group).gr_gid if group else -1
    except KeyError:
        raise StartError(f"{option}: there is no group {group!r} here (c.DaskGateway.admin_group)") from None
    try:
        return listen_unix(path, mode=0o660 if group else 0o600, gid=gid)
    except PermissionError as error:
        hint = f". To give it to group {group}, the gateway's account has to be a member" if group else ""
        raise StartError(f"{option}: {error.strerror}{hint}") from error
    except (OSError, ValueError) as error:
        raise StartError(f"{option}: {error}") from error


async def _serve(api: App, administrators: Administrators, stream: trio.SocketStream) -> None:
    """Serve one connection. What fails is logged, and raised to nobody."""
    try:
        app = await _app_for(api, administrators, stream)
        server = HttpServer(app, head_timeout=_HEAD_TIMEOUT, websocket_message_size=_MESSAGE_SIZE)
        web_stream = WebStream(stream, "", _LINGER)
        with web_stream.scope:
            await server.serve(web_stream)
    except* Exception as errors:  # noqa: BLE001 (the boundary of a connection)
        _log.info("connection to the administrator's socket failed", error=repr(innermost(errors)))
    finally:
        await trio.aclose_forcefully(stream)


async def _app_for(api: App, administrators: Administrators, stream: trio.SocketStream) -> App:
    try:
        name = await administrators.name(uid_of_peer(stream.socket))
    except GatewayError as error:
        _log.warning("a connection to the administrator's socket was refused", reason=str(error))
        return partial(_refuse, error)
    return for_the_asker(partial(_answer, api, name))


async def _refuse(error: GatewayError, scope: Scope, receive: Receive, send: Send) -> None:
    await answer_error(send, error)


async def _answer(api: App, name: str, scope: Scope, receive: Receive, send: Send) -> None:
    path: str = scope["path"]
    if scope["type"] != "http" or not (path in _PATHS or path.startswith(_BELOW)):
        await refuse(scope, send, 404, f"The administrator's socket has nothing but what is below {_BELOW}")
        return
    await api({**scope, ADMINISTRATOR: name, "root_path": ""}, receive, send)
