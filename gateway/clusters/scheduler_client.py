"""Messages and a question from the gateway to a cluster's scheduler (its preload listens on `api_address`).

The scheduler is a user's program: of its answer only the status is read, and
the connection is closed, whatever else it would like to say.
"""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import h11
import orjson
import trio
from attrs import frozen

from gateway.addresses import parse_url
from gateway.backoff import backoff
from gateway.clusters.silence import Answer
from gateway.errors import Conflict
from gateway.proxy.dashboard.upstream import HttpExchange, UpstreamError
from gateway.proxy.dialer import Dialer
from gateway.proxy.resolver import LookUpError, NoSuchName

#: Seconds for one attempt.
ATTEMPT_DEADLINE = 5.0

#: What fails here, whoever is to be connected with.
_OUR_OWN = frozenset(
    (
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EADDRNOTAVAIL,
        errno.EADDRINUSE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EACCES,
        errno.EPERM,
    )
)

#: What connects, in every task that was started below `used_for_messages`.
_DIALER: ContextVar[Dialer] = ContextVar("_DIALER")


@contextmanager
def used_for_messages(dialer: Dialer) -> Iterator[None]:
    """While entered, messages by tasks that are started meanwhile go where this dialer allows; else anywhere."""
    token = _DIALER.set(dialer)
    try:
        yield
    finally:
        _DIALER.reset(token)


class SchedulerUnreachable(Conflict):
    """The scheduler did not take a message."""


async def tell_scheduler(api_address: str, token: str, message: dict[str, Any], *, attempts: int = 3) -> None:
    """POST one message, and return when the scheduler has accepted it.

    Raises `SchedulerUnreachable` after `attempts` failures, each of them bounded in time.
    """
    failure = ""
    for attempt in range(attempts):
        if attempt:
            await trio.sleep(backoff(attempt, base=0.2, longest=1.0))
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


@frozen
class Asked:
    """What came of a question; `words` say it, for the end of a sentence about the scheduler."""

    answer: Answer
    words: str = ""


async def ask_scheduler(api_address: str, token: str) -> Asked:
    """Ask a scheduler whether it is there (`GET /api/health`). Takes at most three times `ATTEMPT_DEADLINE`.

    The cluster's token says whose look-up of a name it is, and is not sent: somebody else may listen there by now.
    """
    dialer = _DIALER.get(None) or Dialer()
    # Apart from what follows: a name server's silence is not the scheduler's.
    return await _without_address(dialer, api_address, token) or await _asked(dialer, api_address, token)


async def _without_address(dialer: Dialer, api_address: str, token: str) -> Asked | None:
    """What came of it when the scheduler's name leads nowhere; None when there is an address."""
    try:
        with trio.fail_after(ATTEMPT_DEADLINE):
            await dialer.look_up(token, parse_url(api_address))
    except NoSuchName as error:
        return Asked(Answer.SILENT, str(error))
    except (LookUpError, trio.TooSlowError) as error:
        return Asked(Answer.NOT_ASKED, str(error) or "its name cannot be looked up in time")
    return None


async def _asked(dialer: Dialer, api_address: str, token: str) -> Asked:
    try:
        with trio.fail_after(2 * ATTEMPT_DEADLINE):
            status = await _exchange(dialer, api_address, token, "GET", "/api/health")
    except ConnectionRefusedError:
        return Asked(Answer.REFUSED, "nothing listens at its address any more")
    except LookUpError as error:
        return Asked(Answer.NOT_ASKED, str(error))
    except trio.TooSlowError:
        return Asked(Answer.SILENT, f"no answer within {2 * ATTEMPT_DEADLINE:g} s")
    except (OSError, UpstreamError) as error:
        ours = isinstance(error, OSError) and error.errno in _OUR_OWN
        return Asked(Answer.NOT_ASKED if ours else Answer.SILENT, str(error) or type(error).__name__)
    return Asked(Answer.HERE) if status == 200 else Asked(Answer.SILENT, f"HTTP status {status}")


async def _post(api_address: str, token: str, message: dict[str, Any]) -> int:
    """The status of the answer to a message."""
    body = orjson.dumps(message)
    headers = [
        ("Authorization", f"token {token}"),
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
    ]
    dialer = _DIALER.get(None) or Dialer()
    return await _exchange(dialer, api_address, token, "POST", "/api/comm", headers, body)


async def _exchange(
    dialer: Dialer,
    api_address: str,
    token: str,
    method: str,
    target: str,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> int:
    """The status of the answer. One connection for each request: nothing of one cluster is left for the next."""
    address = parse_url(api_address)
    name = str(address)
    # A token stands for its cluster as well as the name does, which is not known here.
    async with await dialer.connect(token, address, ATTEMPT_DEADLINE) as stream:
        exchange = HttpExchange(stream)
        await exchange.send(
            h11.Request(method=method, target=target, headers=[("Host", name), ("Connection", "close"), *headers])
        )
        if body:
            await exchange.send(h11.Data(data=body))
        await exchange.send(h11.EndOfMessage())
        answer = await exchange.receive()
    assert isinstance(answer, h11.Response)
    return answer.status_code
