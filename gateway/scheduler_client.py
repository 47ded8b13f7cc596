"""Messages from the gateway to a cluster's scheduler (its preload listens on `api_address`)."""

from typing import Any

import httpcore
import orjson
import trio

from gateway.errors import Conflict

#: Seconds for one attempt.
ATTEMPT_DEADLINE = 5.0


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
                status = await _post(f"{api_address}/api/comm", token, message)
        except trio.TooSlowError:
            failure = f"no answer within {ATTEMPT_DEADLINE:g} s"
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            failure = str(error) or type(error).__name__
        else:
            if status == 200:
                return
            failure = f"HTTP status {status}"
    raise SchedulerUnreachable(f"The cluster's scheduler does not take messages ({failure}); please try again")


async def _post(url: str, token: str, message: dict[str, Any]) -> int:
    # A pool without keep-alive: no connection, cookie or name of one cluster is left for the next.
    async with httpcore.AsyncConnectionPool(max_keepalive_connections=0) as pool:
        response = await pool.request(
            "POST",
            url,
            headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
            content=orjson.dumps(message),
        )
        return response.status
