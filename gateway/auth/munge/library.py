"""MUNGE credentials, decoded by the munged of this machine through its library.

Whoever can decode a credential learns the uid for which the munged of some
machine with the same key has made it, and what it holds. A credential is decoded once on a machine: munged
remembers those that it has seen. Decoding blocks for as long as munged takes, 0.2 ms as a rule; libmunge gives
up by itself when it does not answer.
"""

import ctypes
from functools import cache

from attrs import frozen

_LIBRARY = "libmunge.so.2"
#: munge.h
_OPT_SOCKET = 8
#: What is wrong when it is not the credential: an error inside, bad arguments, no memory, no munged, no answer.
_NOT_THE_CREDENTIAL = (1, 2, 3, 4, 5, 6, 7)

_SENTENCES = {
    8: "it is no credential of MUNGE",
    11: "it was made with another key than this machine's munged has, or changed on the way",
    14: "it was made with another key than this machine's munged has, or changed on the way",
    15: "it has expired: the clocks of the client and the gateway have to agree",
    16: "it is from the future: the clocks of the client and the gateway have to agree",
    17: "it was used before: each request needs a credential of its own",
    18: "it is not for the gateway's user",
}


class MungeTrouble(Exception):
    """No credential can be decoded, whatever it is; the text says why."""


class CredentialRefused(Exception):
    """This credential is not good; the text says why."""


@frozen
class Decoded:
    """For which user a credential was made, and what it holds."""

    uid: int
    payload: bytes


def check_library() -> None:
    """Raises MungeTrouble when there is no library."""
    _library()


def decode(credential: bytes, socket: str = "") -> Decoded:
    """What a credential says, by the munged at this socket (empty: where it is as a rule).

    Raises CredentialRefused and MungeTrouble.
    """
    munge = _library()
    context = munge.munge_ctx_create()
    if not context:
        raise MungeTrouble("Out of memory")
    payload, length, uid = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_uint32()
    try:
        if socket:
            # After the second argument come those of any type: a pointer has to be passed as one.
            code = munge.munge_ctx_set(context, _OPT_SOCKET, ctypes.c_char_p(socket.encode()))
            if code:
                raise MungeTrouble(_words(context, code))
        code = munge.munge_decode(
            credential, context, ctypes.byref(payload), ctypes.byref(length), ctypes.byref(uid), None
        )
        if code in _NOT_THE_CREDENTIAL:
            raise MungeTrouble(_words(context, code))
        if code:  # of some that are not good the contents are told all the same
            raise CredentialRefused(_SENTENCES.get(code) or _words(context, code))
        return Decoded(uid.value, ctypes.string_at(payload, length.value) if payload else b"")
    finally:
        _free(payload)
        munge.munge_ctx_destroy(context)


def _words(context: int, code: int) -> str:
    munge = _library()
    return ((munge.munge_ctx_strerror(context) or munge.munge_strerror(code)) or b"").decode("utf-8", "replace")


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise MungeTrouble(f"MUNGE is not installed: {error}") from None
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.munge_ctx_create.restype = pointer
    library.munge_ctx_destroy.argtypes, library.munge_ctx_destroy.restype = [pointer], None
    library.munge_ctx_set.argtypes = [pointer, ctypes.c_int]
    library.munge_ctx_strerror.argtypes, library.munge_ctx_strerror.restype = [pointer], text
    library.munge_strerror.argtypes, library.munge_strerror.restype = [ctypes.c_int], text
    library.munge_decode.argtypes = [text, pointer, pointer, pointer, pointer, pointer]
    return library


def _free(pointer: ctypes.c_void_p) -> None:
    free = ctypes.CDLL(None).free
    free.argtypes, free.restype = [ctypes.c_void_p], None
    free(pointer)
