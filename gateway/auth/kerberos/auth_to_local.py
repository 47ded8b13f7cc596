"""Which account a Kerberos principal belongs to, by the site's own rules.

These are `auth_to_local` in krb5.conf, and what plugins (sssd's, for example)
have to say. Without any, `alice@REALM` is alice in the default realm of this
machine and nobody in every other one, and neither is `alice/admin`. Only the
Kerberos library knows all of that: nothing is cut off at an @ here.

Its functions block (krb5.conf is read, plugins may ask others).
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from gateway.auth.kerberos.refusals import KerberosTrouble

_LIBRARY = "libkrb5.so.3"
#: krb5.h: no rule makes an account of this principal (LNAME_NOTRANS, NO_LOCALNAME).
_NOBODYS = (-1765328208, -1765328227)
#: Bytes; no account's name is longer.
_LONGEST_NAME = 256


def account_of(principal: str) -> str | None:
    """The name of the account of `name@REALM`; None when it belongs to none. Raises KerberosTrouble."""
    with _context() as (krb5, context):
        parsed = ctypes.c_void_p()
        name = ctypes.create_string_buffer(_LONGEST_NAME)
        _checked(context, krb5.krb5_parse_name(context, principal.encode(), ctypes.byref(parsed)))
        try:
            code = krb5.krb5_aname_to_localname(context, parsed, len(name), name)
        finally:
            krb5.krb5_free_principal(context, parsed)
        if code in _NOBODYS:
            return None
        _checked(context, code)
        return name.value.decode("utf-8", "backslashreplace")


def default_realm() -> str:
    """The realm of this machine. Raises KerberosTrouble, also when krb5.conf has mistakes."""
    with _context() as (krb5, context):
        realm = ctypes.c_char_p()
        _checked(context, krb5.krb5_get_default_realm(context, ctypes.byref(realm)))
        try:
            return (realm.value or b"").decode("utf-8", "backslashreplace")
        finally:
            krb5.krb5_free_default_realm(context, realm)


@contextmanager
def _context() -> Iterator[tuple[ctypes.CDLL, ctypes.c_void_p]]:
    """The library, and a context of its own for each use: krb5.conf is read as it is now."""
    krb5 = _library()
    context = ctypes.c_void_p()
    _checked(context, krb5.krb5_init_context(ctypes.byref(context)))
    try:
        yield krb5, context
    finally:
        krb5.krb5_free_context(context)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise KerberosTrouble(str(error)) from None
    pointer = ctypes.c_void_p
    arguments: dict[str, list[type]] = {
        "krb5_init_context": [pointer],
        "krb5_parse_name": [pointer, ctypes.c_char_p, pointer],
        "krb5_aname_to_localname": [pointer, pointer, ctypes.c_int, ctypes.c_char_p],
        "krb5_get_default_realm": [pointer, pointer],
        "krb5_get_error_message": [pointer, ctypes.c_int32],
        "krb5_free_error_message": [pointer, pointer],
        "krb5_free_default_realm": [pointer, ctypes.c_char_p],
        "krb5_free_principal": [pointer, pointer],
        "krb5_free_context": [pointer],
    }
    for name, types in arguments.items():
        function: Callable[..., object] = getattr(library, name)
        function.argtypes = types  # type: ignore[attr-defined]
        function.restype = None if "_free_" in name else ctypes.c_int32  # type: ignore[attr-defined]
    library.krb5_get_error_message.restype = pointer  # freed by its own function, so it must stay a pointer
    return library


def _checked(context: ctypes.c_void_p, code: int) -> None:
    if not code:
        return
    krb5 = _library()
    message = krb5.krb5_get_error_message(context, code)
    try:
        text = (ctypes.cast(message, ctypes.c_char_p).value or b"").decode("utf-8", "backslashreplace")
    finally:
        krb5.krb5_free_error_message(context, message)
    raise KerberosTrouble(text)
