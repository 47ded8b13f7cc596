"""Tickets, accepted by the GSSAPI library with the keys of a keytab.

The keytab is opened for each ticket, so that a new one counts at once. Only
Kerberos is accepted, bare or negotiated (SPNEGO), whatever other mechanisms
are installed on this machine, and only for the service's own principals,
whatever other keys the keytab has.

The low-level interface is used: that of `SecurityContext` puts errors off when
there is an error token to send, so that a replayed ticket looks like a good
one until its name is read. Here it is an exception.

Needs the package gssapi; its functions block, for half a millisecond as a rule.
"""

import errno
import os

import gssapi
from attrs import frozen
from gssapi import raw
from gssapi.exceptions import BadMechanismError, InvalidTokenError
from gssapi.raw import GSSError

from gateway.auth.kerberos.header import CHALLENGE, challenge_with
from gateway.auth.kerberos.refusals import (
    MORE_LEGS,
    NO_KERBEROS,
    NO_TOKEN,
    KerberosTrouble,
    has_no_number,
    refusal,
)
from gateway.errors import Unauthorized

_KERBEROS = gssapi.MechType.kerberos
_SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
#: What the system says when a file cannot be used, such as the one in which the library remembers tickets.
_OF_THE_SYSTEM = tuple(map(os.strerror, errno.errorcode))


@frozen
class Accepted:
    """Whose ticket it was, as `name@REALM`, and what the client's library is to be answered (it may be nothing)."""

    principal: str
    token: bytes


def open_keys(service: str, keytab: str) -> raw.Creds:
    """The keys of a service, `HTTP` or `HTTP@host`, in a keytab. Raises KerberosTrouble."""
    try:
        name = raw.import_name(service.encode(), gssapi.NameType.hostbased_service)
        store = {b"keytab": b"FILE:" + os.fsencode(keytab)}
        keys = raw.acquire_cred_from(store, name, mechs=[_KERBEROS, _SPNEGO], usage="accept").creds
        raw.set_neg_mechs(keys, [_KERBEROS])
    except GSSError as error:
        raise KerberosTrouble(_words(error)) from None
    return keys


def accept(token: bytes, service: str, keytab: str) -> Accepted:
    """Whose ticket this is. Raises KerberosTrouble, and Unauthorized with a token for the client's library, if any."""
    keys = open_keys(service, keytab)
    try:
        answer = raw.accept_sec_context(token, keys)
        if answer.more_steps:
            raise Unauthorized(MORE_LEGS, challenge=CHALLENGE)
        if answer.mech != _KERBEROS:
            raise Unauthorized(NO_KERBEROS, challenge=CHALLENGE)
        principal = raw.display_name(answer.initiator_name, name_type=False).name
    except GSSError as error:
        words, reply = _words(error), error.token or b""
        if has_no_number(reply) and words.startswith(_OF_THE_SYSTEM):
            raise KerberosTrouble(words) from None
        raise Unauthorized(_reason(error, words, reply), challenge=challenge_with(reply)) from None
    return Accepted(principal.decode("utf-8", "backslashreplace"), answer.token or b"")


def _reason(error: GSSError, words: str, reply: bytes) -> str:
    if isinstance(error, BadMechanismError):
        return NO_KERBEROS
    if isinstance(error, InvalidTokenError):
        return NO_TOKEN
    return refusal(words, reply)


def _words(error: GSSError) -> str:
    """What the library says: of what went wrong in Kerberos, else of what kind it is."""
    said = error.get_all_statuses(error.min_code, False) if error.min_code else []
    return "; ".join(said or error.get_all_statuses(error.maj_code, True))
