"""What has to be known when a browser comes back from the page of another server where it has logged in.

It is kept by the browser itself, in a cookie that only the gateway can read or make.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from attrs import field, frozen
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

#: Seconds that a login there may take.
MAX_AGE = 600
#: Characters of a cookie that are looked at.
_LONGEST = 4000


@frozen
class LoginState:
    """A login under way: by which authenticator, where the browser wants to be afterwards, and what that one keeps."""

    method: str
    next: str
    remembered: Mapping[str, str] = field(repr=False)


class LoginStates:
    """Writes and reads such cookies' values. `keys` are 32 bytes each; the first writes, all read."""

    #: What the keys are derived for.
    PURPOSE: ClassVar[bytes] = b"cookies of logins under way"

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    def write(self, state: LoginState) -> str:
        """The value of a cookie."""
        return self._fernet.encrypt(json.dumps([state.method, state.next, dict(state.remembered)]).encode()).decode()

    def read(self, value: str) -> LoginState | None:
        """The login that a cookie's value stands for; None when it is not from here, or too old."""
        if len(value) > _LONGEST:
            return None
        try:
            content = self._fernet.decrypt(value.encode("utf-8", "replace"), ttl=MAX_AGE)
        except InvalidToken:
            return None
        return LoginState(*json.loads(content))
