"""Log lines: for people on a terminal, `key=value` elsewhere, or JSON, with times in UTC.

The standard library's loggers (hypercorn's, quart's, SQLAlchemy's, and those of a
site's own classes) end in the same lines. Text from outside may stand in any value, so control characters are
escaped before a terminal or a log file sees them, and what opens a dashboard or a cluster to its reader is masked.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
import trio

from gateway.user_text import mask_tokens

_log = structlog.get_logger()


def escape_controls(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: no value can move a cursor, colour a terminal or fake a line.

    Only tracebacks keep their line ends. Nor does any show a personal token.
    """
    for key, value in event.items():
        if not isinstance(value, str):
            continue
        if "dgt_" in value:  # wherever a user has put it: a path, a name
            event[key] = value = mask_tokens(value)
        if not value.isprintable():
            kept = "\n" if key == "exception" else ""
            event[key] = "".join(
                c if c.isprintable() or c in kept else c.encode("unicode_escape").decode("ascii") for c in value
            )
    return event


#: A dashboard's link, whole or cut off, up to its MAC, and the MAC.
_LINK = re.compile(r"((?:~|%7[Ee])[0-9]{6,12}(?:\.|%2[Ee]))[A-Za-z0-9_-]+")


def mask_links(_logger: object, _method: str, line: Any) -> str:
    """A processor of rendered lines: no log opens a dashboard to its readers, wherever in a line the link stands."""
    return _LINK.sub(r"\1***", line)


#: The name of somebody's own route to a cluster (clusters/sharing.py), up to what makes it theirs, and that.
_ROUTE_NAME = re.compile(r"\b([0-9a-f]{32}-)[a-z2-7]{18}\b", re.IGNORECASE)


def mask_route_names(_logger: object, _method: str, line: Any) -> str:
    """A processor of rendered lines: by no log its readers come into a cluster, wherever in a line the name stands."""
    return _ROUTE_NAME.sub(r"\1***", line)


class SiteLog:
    """`self.log` of a site's own authenticators and backends: a logger of the standard library, named as the class."""

    def __get__(self, instance: object, owner: type) -> logging.Logger:
        return logging.getLogger(owner.__name__)


def set_up(level: str, stream: TextIO | None = None, *, form: str = "auto") -> None:
    """Send all log lines of at least this level (DEBUG, INFO, ...) to a stream, standard error by default.

    `form` is "console", "json", or "auto": as the stream is a terminal or not.
    """
    stream = sys.stderr if stream is None else stream
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                escape_controls,
                _renderer(form, terminal=stream.isatty()),
                mask_links,
                mask_route_names,
            ],
        )
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _renderer(form: str, *, terminal: bool) -> structlog.typing.Processor:
    if form == "json":
        return structlog.processors.JSONRenderer(default=str, ensure_ascii=False)
    if form == "console" or terminal:
        plain = structlog.dev.plain_traceback
        return structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=plain)
    return structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)


class RateLimitedLog:
    """A log that strangers cannot flood: each kind of line once in `seconds`, with the number of those left out."""

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._next: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def info(self, event: str, **fields: Any) -> None:
        """Something a client did, or met."""
        if self._due(event, fields):
            _log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Something an administrator should know."""
        if self._due(event, fields):
            _log.warning(event, **fields)

    def _due(self, event: str, fields: dict[str, Any]) -> bool:
        now = trio.current_time()
        if now < self._next.get(event, 0.0):
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return False
        self._next[event] = now + self._seconds
        if left_out := self._left_out.pop(event, 0):
            fields["like_this_before"] = left_out
        return True
