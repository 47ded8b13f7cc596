"""Logins under way with PAM: in threads of their own, of which there are few.

What PAM runs may compute (a hash that is meant to be slow) and may wait (a
directory service). So there are limits: of conversations at once, of logins that
wait for one to end, and of the time that one may take. A failure takes as
long as PAM wants it to take, in its task and not in such a thread. Failures are
counted when they have been told (chain.py), so that of one user from one
address only a few may be under way: many guesses at once are not told any sooner.
"""

import pwd
from collections import Counter
from collections.abc import Callable
from types import ModuleType

import trio

from gateway.auth.pam.answers import PERM_DENIED, SUCCESS, Answer
from gateway.auth.pam.conversation import converse
from gateway.errors import TryAgainLater, Unauthorized
from gateway.log import RateLimitedLog


class PamLogins:
    """Asks `ask(name, password, host)`, which blocks. Times are seconds."""

    def __init__(
        self,
        ask: Callable[[str, str, str], Answer],
        *,
        threads: int = 4,
        most_waiting: int = 64,
        most_alike: int = 5,
        deadline: float = 30.0,
        longest_delay: float = 10.0,
    ) -> None:
        self._ask = ask
        self.threads = trio.CapacityLimiter(threads)
        self._most_waiting = most_waiting
        self._most_alike = most_alike
        self._alike: Counter[tuple[str, str]] = Counter()
        self._deadline = deadline
        self._longest_delay = longest_delay
        self._log = RateLimitedLog()

    async def ask(self, name: str, password: str, host: str) -> Answer:
        """What PAM makes of a login; of a failure when PAM wants it. Raises `TryAgainLater`, and what `ask` raises."""
        if self._alike[name, host] >= self._most_alike or self.threads.statistics().tasks_waiting >= self._most_waiting:
            raise TryAgainLater("Too many logins are under way; please try again in a moment")
        self._alike[name, host] += 1
        try:
            answer = await self._answer(name, password, host)
            await trio.sleep(min(answer.delay, self._longest_delay))
            return answer
        finally:
            self._alike[name, host] -= 1
            if not self._alike[name, host]:
                del self._alike[name, host]

    async def _answer(self, name: str, password: str, host: str) -> Answer:
        with trio.move_on_after(self._deadline):
            # What hangs keeps its thread; the request goes on without it.
            return await trio.to_thread.run_sync(
                self._ask, name, password, host, limiter=self.threads, abandon_on_cancel=True
            )
        self._log.warning("PAM does not answer", seconds=self._deadline)
        raise TryAgainLater("Passwords cannot be checked at the moment: PAM does not answer. Please try again later")


def log_in(pamela: ModuleType, service: str, allow_root: bool, name: str, password: str, host: str) -> Answer:
    """PAM's answer, with the account's own name. Blocks. Raises `Unauthorized` for whom this machine does not know.

    Nobody guesses at root's password by asking for it.
    """
    if not allow_root and _is_root(name):
        return Answer(PERM_DENIED)
    answer = converse(pamela, service, name, password, host)
    if answer.code != SUCCESS:
        return answer
    try:
        account = pwd.getpwnam(answer.account).pw_name
    except KeyError:
        raise Unauthorized(f"PAM lets in the user {answer.account!r}, who has no account on this machine") from None
    return Answer(PERM_DENIED) if not allow_root and _is_root(account) else Answer(SUCCESS, account)


def _is_root(name: str) -> bool:
    try:
        return pwd.getpwnam(name).pw_uid == 0
    except KeyError:
        return False
