"""Why a ticket is refused, in sentences for whoever holds it; pure.

The library says what is wrong, and often answers with a token that says it to
the client's library: a KRB-ERROR (RFC 4120, section 5.9.1), bare or wrapped.
Its number is the same for every mechanism, which the library's own is not.
"""

import re

from gateway.user_text import one_line

#: The field error-code [6] of a KRB-ERROR. The one before it is too short to look like that.
_CODE = re.compile(rb"\xa6\x03\x02\x01(.)", re.DOTALL)
#: What the library says of some tokens that are cut off.
_NOTHING_SAID = ("Success", "Unknown error")
#: KRB_ERR_GENERIC
_GENERIC = 60

_ADVICE = {
    31: "The service's key has changed since the ticket was made (get new ones with kinit), or the gateway's keytab is"
    " not that of the service",
    32: "Get a new one with kinit",
    33: "The clocks of the client, the Kerberos server and the gateway have to agree within five minutes",
    34: "Each request needs a token of its own",
    35: "The gateway's keytab has no key for that name: the address of the gateway has to be the host of its service"
    " principal",
    37: "The clocks of the client and the gateway have to agree within five minutes",
    44: "The service's key has changed since the ticket was made: get new ones with kinit",
    45: "The gateway's keytab has no such key: the service's key has changed since the ticket was made (get new ones"
    " with kinit), or the keytab is outdated",
}

NO_TOKEN = "What the client sent with Authorization: Negotiate is no token of Kerberos"  # noqa: S105
NO_KERBEROS = (
    "The client does not offer Kerberos but another mechanism, such as NTLM: it has no ticket (look with klist, get one"
    " with kinit), or none for the name by which it knows the gateway"
)
MORE_LEGS = (
    "The client offers another mechanism before Kerberos and wants to negotiate over several requests, which this"
    " gateway does not do: it has to begin with Kerberos"
)


class KerberosTrouble(Exception):
    """No ticket can be accepted, whatever it is; the text says why, in the library's words."""


def has_no_number(token: bytes) -> bool:
    """Whether the library answers the client that it is none of the errors of Kerberos."""
    return _code(token) == _GENERIC


def refusal(words: str, token: bytes) -> str:
    """The sentence for a token of which the library says this, and answers the client that."""
    code = _code(token)
    if not code:  # it was not read as far as the ticket
        return NO_TOKEN if words in _NOTHING_SAID else f"{NO_TOKEN} ({one_line(words, 300)})"
    advice = _ADVICE.get(code, "")
    return f"Kerberos refuses the ticket: {one_line(words, 300)}" + (f". {advice}" if advice else "")


def _code(token: bytes) -> int:
    """The error code in a token, 0 if there is none."""
    found = _CODE.search(token)
    return found[1][0] if found else 0
