"""MUNGE: a credential, made and decoded by this machine's munged."""

import os
import secrets

import trio

from gateway.auth.munge.authenticator import MungeAuthenticator
from gateway.auth.munge.library import CredentialRefused, MungeTrouble, decode
from gateway.backends.launcher.client import ENVIRONMENT
from gateway.backends.processes import run_command
from gateway.config.load import Config
from gateway.doctor import clock
from gateway.doctor.finding import Finding, failed, ok
from gateway.doctor.site import Say, looked_at

_REMEDY = "systemctl status munge; munge -n | unmunge"
#: Seconds that munged may take.
_PATIENCE = 10.0


async def examine(authenticator: MungeAuthenticator, config: Config, say: Say) -> None:
    """One round trip."""
    say(await _round_trip(authenticator.socket))
    say(clock.verdict(await looked_at(clock.state)))


async def _round_trip(path: str) -> Finding:
    payload = f"dask-gateway-doctor {secrets.token_hex(8)}"
    command = ("munge", *((f"--socket={path}",) if path else ()), "--string", payload)
    try:
        with trio.fail_after(_PATIENCE):
            made = await run_command(command, environment=ENVIRONMENT)
            if made.returncode != 0:
                return failed("munge", f"munged makes no credential: {made.words}", _REMEDY)
            decoded = await looked_at(decode, made.stdout.strip().encode(), path)
    except (CredentialRefused, MungeTrouble, OSError) as error:
        return failed("munge", f"a credential of this machine is not decoded here: {error}", _REMEDY)
    except trio.TooSlowError:
        return failed("munge", f"munged does not answer within {_PATIENCE:g} seconds", _REMEDY)
    if (decoded.uid, decoded.payload) != (os.geteuid(), payload.encode()):
        return failed("munge", f"munged says that we are uid {decoded.uid}", _REMEDY)
    return ok("munge", "a credential was made and decoded")
