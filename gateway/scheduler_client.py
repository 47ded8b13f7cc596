"""Messages from the gateway to a cluster's scheduler (its preload listens on `api_address`).

The scheduler is a user's program: of its answer only the status is read, and
the connection is closed, whatever else it would like to say.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import h11
import orjson
import trio

from gateway.errors import Conflict
from gateway.proxy.connector import Connector
from gateway.proxy.routes import parse_address
from gateway.proxy.upstream import HttpExchange, UpstreamError

#: Seconds for one attempt.
ATTEMPT_DEADLINE = 5.0

#: What connects, in every task that was started below `used_for_messages`.
_CONNECTOR: ContextVar[Connector] = ContextVar("_CONNECTOR")


@contextmanager
def used_for_messages(connector: Connector) -> Iterator[None]:
    """While entered, messages by tasks that are started meanwhile go where this connector allows; else anywhere."""
    token = _CONNECTOR.set(connector)
    try:
        yield
    finally:
        _CONNECTOR.reset(token)


class SchedulerUnreachable(Conflict):
    """The scheduler did not take a message."""


async def tell_scheduler(api_address: str, token: str, message: dict[str, Any], *, attempts: int = 3) -> None:
    """POST one message, and return when the scheduler has accepted it.

    Raises `SchedulerUnreachable` after `attempts` failures, each of them bounded in time.
    """
    failure = ""
    for attempt in range(attempts):
        if attempt:
            await trio.sleep(0.1 * 2**attempt)
        try:
            with trio.fail_after(ATTEMPT_DEADLINE):
                status = await _post(api_address, token, message)
        except trio.TooSlowError:
            failure = f"no answer within {ATTEMPT_DEADLINE:g} s"
        except (OSError, UpstreamError) as error:
            failure = str(error) or type(error).__name__
        else:
            if status == 200:
                return
            failure = f"HTTP status {status}"
    raise SchedulerUnreachable(f"The cluster's scheduler does not take messages ({failure}); please try again")


async def _post(api_address: str, token: str, message: dict[str, Any]) -> int:
    """The status of the answer. One connection for each message: nothing of one cluster is left for the next."""
    host, port = address = parse_address(api_address)
    body = orjson.dumps(message)
    headers = [
        ("Host", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
        ("Authorization", f"token {token}"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
    ]
    connector = _CONNECTOR.get(None) or Connector()
    # A token stands for its cluster as well as the name does, which is not known here.
    async with await connector.connect(token, address, ATTEMPT_DEADLINE) as stream:
        exchange = HttpExchange(stream)
        await exchange.send(h11.Request(method="POST", target="/api/comm", headers=headers))
        await exchange.send(h11.Data(data=body))
        await exchange.send(h11.EndOfMessage())
        answer = await exchange.receive()
    assert isinstance(answer, h11.Response)
    return answer.status_code
