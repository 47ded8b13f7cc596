"""What the silence of a scheduler is evidence for (pure).

Silence is no evidence. A heartbeat is missing only when it could have been
received: the time counts from when the gateway last was deaf (hearing.py). And
a heartbeat that is missing is a reason to ask the scheduler itself. When it
answers, it is alive, and is asked again after as long a silence. When its port
refuses, it has ended. When nothing comes back, it is asked again; it has ended
when that was so at least `LEAST_QUESTIONS` times, over at least `unreachable`
seconds in which the gateway could hear. What was presumed to be gone has ended
when nothing comes back once.
"""

import enum
from math import inf

from attrs import evolve, frozen

from gateway.clusters.rules import LEAST_QUESTIONS, Rules


class Answer(enum.StrEnum):
    """What came of a question to a scheduler, as a sentence that says since when it is silent goes on."""

    HERE = "but it answers when it is asked"
    REFUSED = "and its port refuses"
    """Nobody listens there any more."""
    SILENT = "and it does not answer"
    """Nothing came back, or nothing that a scheduler says."""
    NOT_ASKED = "and it cannot be asked"
    """For reasons that are not the scheduler's: the gateway's own, or a name server's."""


@frozen
class Silence:
    """The questions to a scheduler, and about it, since its last heartbeat.

    When it `answered` one, when one was `asked` that it has not answered, how many of those in a row were `unanswered`,
    and when the first of them was; since when one is `open`; and whether the batch system was `polled` because of it.
    """

    answered: float = -inf
    asked: float = -inf
    unanswered: int = 0
    unanswered_since: float = inf
    open: float | None = None
    polled: bool = False

    def after(self, answer: Answer, now: float, deaf: float = -inf) -> "Silence":
        """Return what is known after one more question. `deaf` is when the gateway last could not hear everybody."""
        if answer is Answer.HERE:
            return Silence(answered=now, polled=True)
        if answer is Answer.NOT_ASKED:
            return evolve(self, asked=now, open=None)
        # Those of before the gateway was deaf count for nothing.
        again = deaf < self.unanswered_since < inf
        count, since = (self.unanswered + 1, self.unanswered_since) if again else (1, now)
        return evolve(self, asked=now, open=None, unanswered=count, unanswered_since=since)

    def proves_end(self, answer: Answer, rules: Rules, *, missed: bool) -> bool:
        """Return whether the answer to the last question shows that the scheduler has ended.

        `missed` says that its job is presumed to be gone.
        """
        if answer is not Answer.SILENT:
            return answer is Answer.REFUSED
        long_enough = self.asked - self.unanswered_since >= rules.options.cluster_unreachable_timeout
        return missed or (long_enough and self.unanswered >= LEAST_QUESTIONS)
