"""Kerberos: keys for the names that people use."""

import socket
from collections.abc import Collection, Sequence
from pathlib import Path

from gateway.auth.kerberos.authenticator import KerberosAuthenticator
from gateway.auth.kerberos.keytab import MOST, principals_of
from gateway.config.load import Config
from gateway.doctor import clock
from gateway.doctor.certificate import public_names
from gateway.doctor.finding import Finding, failed, ok, warning
from gateway.doctor.site import Say, looked_at


async def examine(authenticator: KerberosAuthenticator, config: Config, say: Say) -> None:
    """That the keytab can be used at all is seen when the configuration is read."""
    principals = await looked_at(_principals, authenticator.keytab)
    service, _, host = authenticator.service_name.partition("@")
    names = [host] if host else public_names(config)
    say(keytab_verdict(principals, service, names or [socket.getfqdn()], are_certain=bool(names)))
    say(clock.verdict(await looked_at(clock.state)))


def _principals(path: str) -> Sequence[str]:
    with Path(path).open("rb") as file:
        return principals_of(file.read(MOST))


def keytab_verdict(principals: Collection[str], service: str, names: Collection[str], *, are_certain: bool) -> Finding:
    """Whether the keytab has a key of the service at each of these names, which may be a guess."""
    hosts = {principal.partition("/")[2].rpartition("@")[0].lower() for principal in principals if "/" in principal}
    lacking = [name for name in names if name.lower() not in hosts]
    if not lacking:
        return ok("keytab", f"it has keys of {', '.join(principals)}")
    evidence = f"it has keys of {', '.join(principals) or 'nobody'}, and none of {service}/{lacking[0]}"
    remedy = f"kadmin: addprinc -randkey {service}/{lacking[0]}; ktadd -k KEYTAB {service}/{lacking[0]}"
    return (failed if are_certain else warning)("keytab", evidence, remedy)
