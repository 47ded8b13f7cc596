"""What PAM's answers mean for whoever logs in; pure.

The numbers are those of Linux-PAM (security/_pam_types.h). Whether a name is
unknown or a password wrong is not told apart: strangers ask.
"""

from attrs import field, frozen

from gateway.errors import GatewayError, TryAgainLater, Unauthorized
from gateway.user_text import one_line

SUCCESS = 0
PERM_DENIED = 6
AUTH_ERR = 7
CRED_INSUFFICIENT = 8
AUTHINFO_UNAVAIL = 9
USER_UNKNOWN = 10
MAXTRIES = 11
NEW_AUTHTOK_REQD = 12
ACCT_EXPIRED = 13
CONV_ERR = 19
AUTHTOK_EXPIRED = 27
CONV_AGAIN = 30
INCOMPLETE = 31

WRONG = "The user name or the password is wrong"

_REFUSALS = {
    **dict.fromkeys((AUTH_ERR, CRED_INSUFFICIENT, USER_UNKNOWN), WRONG),
    PERM_DENIED: "The rules of this machine do not let this user in",
    MAXTRIES: "Too many logins have failed for this user, who is locked out for a while",
    **dict.fromkeys(
        (NEW_AUTHTOK_REQD, AUTHTOK_EXPIRED),
        "The password has expired: change it first, for example by logging in with ssh",
    ),
    ACCT_EXPIRED: "The account has expired",
    **dict.fromkeys(
        (CONV_ERR, CONV_AGAIN, INCOMPLETE),
        "This machine asks for more than a password, such as a second factor, which cannot be given here",
    ),
}


@frozen
class Answer:
    """What a login has come to.

    `code` is the number that PAM returned, `account` the name of the user as PAM has it at the end, `words` what its
    modules said, `delay` how many seconds it wants a failure to take, and `text` its own name for the number.
    """

    code: int
    account: str = ""
    words: tuple[str, ...] = field(default=(), repr=False)
    delay: float = 0.0
    text: str = ""


def refusal(answer: Answer, service: str) -> GatewayError | None:
    """The error that an answer means; None when the user is let in."""
    if answer.code == SUCCESS:
        return None
    said = one_line(" ".join(answer.words), 300)
    told = f" (the machine says: {said})" if said else ""
    if answer.code in _REFUSALS:
        return Unauthorized(f"{_REFUSALS[answer.code]}{told}")
    return TryAgainLater(
        f"Passwords cannot be checked at the moment: PAM answers with error {answer.code} ({answer.text or 'unknown'})"
        f" for the service {service!r}{told}. The gateway's administrators find more in this machine's log of logins"
    )
