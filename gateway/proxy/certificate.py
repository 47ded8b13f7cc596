"""A server certificate that may be renewed while the server runs."""

import os
import ssl
from collections.abc import Callable

import structlog

from gateway.errors import GatewayError

log = structlog.get_logger()


class ReloadingContext:
    """Gives the TLS context for a new connection; makes it anew when one of the files has changed.

    `make` reads the files. When it fails (half-written files, a key that does not fit), the earlier context
    stays in use, the log says why, and the next change is awaited. The first failure is the caller's.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], *paths: str) -> None:
        self._make = make
        self._paths = paths
        self._seen = self._look()
        self._context = make()

    def __call__(self) -> ssl.SSLContext:
        """The context to use now: a look at the files costs two stat(2), which is nothing beside a handshake."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            try:
                self._context = self._make()
            except (GatewayError, OSError, ssl.SSLError, ValueError) as error:
                log.error("certificate not reloaded", files=self._paths, error=str(error))  # noqa: TRY400
            else:
                log.info("certificate reloaded", files=self._paths)
        return self._context

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [self._stamp(path) for path in self._paths]

    @staticmethod
    def _stamp(path: str) -> tuple[int, int, int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
