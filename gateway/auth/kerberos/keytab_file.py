"""Whether a keytab is there, can be read, and by whom else."""

import os
import pwd
import stat

from gateway.auth.kerberos.keytab import MOST, principals_of
from gateway.trusted_files import unsafe


def problem_of(path: str) -> str:
    """Why this file cannot be the keytab of the gateway, as the end of a sentence; empty when it can."""
    path = os.path.abspath(path)
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MOST + 1)
    except FileNotFoundError:
        return f"must be a keytab: there is no file {path}{_other_keytab()}"
    except OSError as error:
        return f"must be a file that {_own_name()} can read: {path}: {error.strerror}"
    try:
        principals = principals_of(content[:MOST])
    except ValueError as error:
        return f"must be a keytab: {path} {error}"
    if not principals:
        return f"must be a keytab with keys: there are none in {path}"
    if mode & stat.S_IROTH:
        return (
            f"must not be readable for everybody, who can pose as any user with its keys: chmod o= {path}, and make new"
            " keys (kadmin: ktadd)"
        )
    problem = unsafe(path, owners={0, os.geteuid()})
    return f"must not be changeable by others, who could pose as any user: {problem}" if problem else ""


def contents_of(path: str) -> str:
    """Which principals the keytab has keys of, as the end of a sentence."""
    try:
        with open(path, "rb") as file:
            principals = principals_of(file.read(MOST))
    except (OSError, ValueError):
        principals = ()
    return f"it has keys of {', '.join(principals[:5]) or 'nobody'}{', ...' if principals[5:] else ''}"


def _other_keytab() -> str:
    """What to say of the keytab that the environment names, which other programs would have taken."""
    named = os.environ.get("KRB5_KTNAME")
    return f" (KRB5_KTNAME={named} is not looked at: name that file here, if it is the one)" if named else ""


def _own_name() -> str:
    try:
        return f"user {pwd.getpwuid(os.geteuid()).pw_name}"
    except KeyError:
        return f"user {os.geteuid()}"
