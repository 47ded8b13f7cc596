"""Who asks, as it was found out."""

from typing import Any, Final

from attrs import frozen

from gateway.auth.authenticator import Authenticator
from gateway.auth.token_record import Token
from gateway.models import User

#: In the scope of a request that came by the administrator's socket (web/admin/): the account of who has sent it.
ADMINISTRATOR: Final = "gateway.administrator"


@frozen
class Identity:
    """Who asks. `new_cookie` is the value of a Set-Cookie header, or None.

    `authenticator` is the one that has just been asked: the answer is
    then to pass through its `pre_response`, with `context`. `method` is how the user was authenticated, as
    sessions say it; `token` the personal token that was shown. `local`: by an account of this host, over the
    administrator's socket.
    """

    user: User
    authenticator: Authenticator | None = None
    context: Any = None
    new_cookie: str | None = None
    method: str = ""
    token: Token | None = None
    local: bool = False

    @property
    def may_change(self) -> bool:
        """False for who may only read."""
        return self.token is None or self.token.may_change
