"""What browser logins by OAuth have in common: the way there (RFC 6749, 4.1, with PKCE, RFC 7636), and the way back.

The browser is sent to whoever knows the user, and comes back with a code. Two
secrets of each login prove that it is the same login: `state`, which comes back
with the code and shows that this browser began it, and `code_verifier`, which is
sent when the code is redeemed and shows that we began it. Both are remembered
by the browser in a cookie that only we can read.
"""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from gateway.auth.secret_compare import same_secret
from gateway.errors import Unauthorized
from gateway.user_text import one_line

#: Errors of RFC 6749, 4.1.2.1, as a user may read them.
_ERRORS = {
    "access_denied": "the login was declined",
    "server_error": "it has met an error of its own",
    "temporarily_unavailable": "it is overloaded; please try again",
    "invalid_scope": "this gateway asks it for scopes that it does not give; the administrators can see to that",
    "unauthorized_client": "this gateway is not registered there; the administrators can see to that",
}


def new_secret() -> str:
    """A `state`, a `code_verifier` or a `nonce`: 43 characters, which is what RFC 7636 asks for."""
    return secrets.token_urlsafe(32)


def code_challenge(code_verifier: str) -> str:
    """What is said of the verifier beforehand (RFC 7636, 4.2: S256)."""
    return base64.urlsafe_b64encode(hashlib.sha256(code_verifier.encode()).digest()).rstrip(b"=").decode()


def authorization_url(
    endpoint: str, *, client_id: str, redirect_uri: str, remembered: Mapping[str, str], **more: str
) -> str:
    """Where the browser goes to log in. `remembered` has the login's `state` and `code_verifier`."""
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": remembered["state"],
        "code_challenge": code_challenge(remembered["code_verifier"]),
        "code_challenge_method": "S256",
        **more,
    }
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"


def returned_code(query: Mapping[str, str], remembered: Mapping[str, str], whom: str) -> str:
    """The code with which the browser came back. Raises `Unauthorized` when it is none of this login."""
    if not remembered.get("state") or not same_secret(query.get("state", ""), remembered["state"]):
        raise Unauthorized("This login was begun in another browser, or too long ago; please log in again")
    if error := query.get("error"):
        reason = _ERRORS.get(error) or one_line(query.get("error_description") or error, 200)
        raise Unauthorized(f"{whom} has not logged you in: {reason}")
    code = query.get("code", "")
    if not code:
        raise Unauthorized(f"{whom} has sent you back without a code; please log in again")
    return code
