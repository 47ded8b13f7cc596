"""What the launcher has answered, or the error that stands for it (pure).

The launcher runs as the user, who can have it print anything: nothing but the
form of an answer is believed, and its texts are bounded.
"""

import json
from typing import Any

from gateway.backends.launcher.sudo import MAX_WORDS
from gateway.errors import AnswerLost, BackendUnavailable, JobRefused
from gateway.user_text import bounded

#: Bytes that the launcher, and what runs it, may print.
MAX_ANSWER = 2**20
#: Seconds that the launcher, and what runs it, may take besides the batch command.
OVERHEAD = 10.0


def find_answer(printed: str) -> dict[str, Any] | None:
    """The answer in what was printed; it stands last if somebody else has something to say first (PAM, half an answer).

    Its texts are ones that can be encoded: JSON can hold halves of characters, and the user can have it hold anything.
    """
    for text in (printed, *printed.strip().split("\n")[-1:]):
        try:
            result = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(result, dict) and "ok" in result:
            return {
                key: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
                for key, value in result.items()
            }
    return None


def check(answer: dict[str, Any], username: str) -> dict[str, Any]:
    """The answer, if it is a good one.

    Raises `JobRefused`, `BackendUnavailable` when nothing was done and another try may succeed, or `AnswerLost` when
    jobs may have been submitted.
    """
    if answer["ok"] is True:
        return answer
    sentence = f"For user {username}: {bounded(str(answer.get('error')), MAX_WORDS)}."
    if answer.get("lost") is True:
        raise AnswerLost(sentence)
    raise BackendUnavailable(sentence) if answer.get("away") is True else JobRefused(sentence)
