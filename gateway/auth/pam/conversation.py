"""One conversation with PAM, in its own library by way of pamela; blocks, so it belongs in a thread.

What pamela's own `authenticate` leaves out is done here:

- Accounts without a password are refused, whatever a `nullok` in the rules says.
- Nobody sleeps in here. PAM has failures take two seconds or so; it leaves the
  waiting to an application that asks for it (pam_fail_delay(3)), so that a
  thread is free again at once, and whoever guesses costs no place of others.
- Modules learn where the user comes from (PAM_RHOST), for rules and for the log
  of logins, and are heard: what they say is often the reason.
- No credentials are made (pam_setcred): nothing would remove a ticket again.
"""

import ctypes
from types import ModuleType
from typing import Any

from gateway.auth.pam.answers import CONV_ERR, SUCCESS, Answer
from gateway.errors import StartError

#: Items and flags of Linux-PAM that pamela does not name.
_FAIL_DELAY = 10
_DISALLOW_NULL_AUTHTOK = 0x1
#: Messages of modules that are kept.
_MOST_WORDS = 20

_DELAY_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


def load_pamela() -> ModuleType:
    """The package pamela. Raises StartError with what is missing."""
    try:
        import pamela  # an extra; and it looks for the system's library when it is imported
    except ImportError:
        raise StartError("PAMAuthenticator needs the package pamela: pip install 'dask-gateway-trio[pam]'") from None
    except (AttributeError, OSError) as error:
        raise StartError(f"PAMAuthenticator needs the system's library of PAM, libpam.so.0: {error}") from None
    return pamela  # type: ignore[no-any-return]


def converse(pamela: ModuleType, service: str, name: str, password: str, host: str) -> Answer:
    """What PAM makes of a name and a password, and of the account, for a user at this host (empty: unknown)."""
    words: list[str] = []
    delays: list[int] = []
    talk = _conversation(pamela, password, words)
    note_delay = _DELAY_FUNCTION(lambda result, microseconds, data: delays.append(microseconds))
    try:
        handle = pamela.pam_start(service, name, conv_func=talk)
    except pamela.PAMError as error:
        return Answer(error.errno, text=error.message)
    code = SUCCESS
    try:
        pamela.PAM_SET_ITEM(handle, _FAIL_DELAY, ctypes.cast(note_delay, ctypes.c_char_p))
        if host:
            handle.set_item(pamela.PAM_RHOST, host)
        code = pamela.PAM_AUTHENTICATE(handle, _DISALLOW_NULL_AUTHTOK)
        if code == SUCCESS:
            code = pamela.PAM_ACCT_MGMT(handle, _DISALLOW_NULL_AUTHTOK)
        account = handle.get_item(pamela.PAM_USER) or name
        delay = 0.0 if code == SUCCESS else max(delays, default=0) / 1e6
        return Answer(code, account, tuple(words), delay, pamela.pam_strerror(handle, code))
    finally:
        pamela.PAM_END(handle, code)


def _conversation(pamela: ModuleType, password: str, words: list[str]) -> Any:
    """The function that modules talk to. It answers one prompt, as often as they repeat it, and keeps what they say."""
    first_prompt: list[str] = []

    def is_answered(style: int, text: str) -> bool:
        if style == pamela.PAM_PROMPT_ECHO_ON:  # a question, but not for a secret
            return False
        if style == pamela.PAM_PROMPT_ECHO_OFF:
            first_prompt[:] = first_prompt or [text]
            return first_prompt == [text]
        if len(words) < _MOST_WORDS:
            words.append(text)
        return True

    def talk(count: int, messages: Any, responses: Any, data: object) -> int:
        said = [(messages[i].contents.msg_style, _text(messages[i].contents.msg)) for i in range(count)]
        answered = [is_answered(style, text) for style, text in said]
        if not all(answered):
            return CONV_ERR
        size = ctypes.sizeof(pamela.PamResponse)
        responses[0] = ctypes.cast(pamela.CALLOC(count, size), ctypes.POINTER(pamela.PamResponse))
        for i, (style, _) in enumerate(said):
            if style == pamela.PAM_PROMPT_ECHO_OFF:
                responses[0][i].resp = pamela.STRDUP(password.encode())  # PAM frees both
        return SUCCESS

    return pamela.CONV_FUNC(talk)


def _text(message: Any) -> str:
    return (ctypes.cast(message, ctypes.c_char_p).value or b"").decode("utf-8", "replace")
