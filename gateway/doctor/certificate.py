"""HTTPS: whether certificate and key can be used, for how long, and for which names."""

import os
import socket
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509

from gateway.addresses import parse_address
from gateway.config.load import Config
from gateway.doctor.finding import Finding, failed, ok, skipped, warning
from gateway.doctor.site import Say, Site, looked_at
from gateway.errors import StartError
from gateway.proxy.certificate import server_context

#: Days before its end in which a certificate should have been renewed.
SOON = 14


async def examine(site: Site, say: Say) -> None:
    """Look at the files that the configuration names."""
    proxy = site.config.proxy
    if not proxy.tls_cert and not proxy.tls_key:
        say(skipped("certificate", "there is none: the gateway serves plain HTTP (Proxy.tls_cert)"))
        return
    for finding in await looked_at(lambda: list(_files(site.config))):
        say(finding)


def _files(config: Config) -> Iterator[Finding]:
    proxy = config.proxy
    try:
        server_context(proxy.tls_cert, proxy.tls_key)
        leaf = x509.load_pem_x509_certificate(Path(proxy.tls_cert).read_bytes())
    except StartError as error:
        yield failed("certificate", str(error), f"openssl x509 -noout -subject -in {proxy.tls_cert}")
        return
    if os.stat(proxy.tls_key).st_mode & stat.S_IROTH:
        evidence = f"everybody on this host can read the key {proxy.tls_key}, and pose as the gateway"
        yield failed("key", evidence, f"chmod o= {proxy.tls_key}, and have a new key certified")
    else:
        yield ok("key", f"{proxy.tls_key} belongs to the certificate")
    yield time_verdict(leaf, datetime.now(UTC))
    names = public_names(config)
    yield names_verdict(leaf, names or [socket.getfqdn()], are_certain=bool(names))


def public_names(config: Config) -> list[str]:
    """The names under which people reach the gateway, as far as the configuration has them."""
    names = list(config.proxy.host_names)
    with suppress(ValueError):
        place = parse_address(config.proxy.address)
        if not place.is_everywhere:
            names.append(place.host)
    return list(dict.fromkeys(names))


def time_verdict(leaf: x509.Certificate, now: datetime) -> Finding:
    """Whether the certificate counts at present, and goes on to."""
    end, begin = leaf.not_valid_after_utc, leaf.not_valid_before_utc
    if now < begin:
        return failed(
            "certificate", f"it does not count before {begin:%Y-%m-%d %H:%M} UTC", "look at the clock: date -u"
        )
    days = (end - now).days
    if now >= end:
        return failed(
            "certificate", f"it has expired on {end:%Y-%m-%d}", "renew it; the gateway reads the new one by itself"
        )
    if days < SOON:
        return warning(
            "certificate", f"it expires in {days} days ({end:%Y-%m-%d})", "renew it, and see why nothing has"
        )
    return ok("certificate", f"good until {end:%Y-%m-%d}")


def names_verdict(leaf: x509.Certificate, names: Collection[str], *, are_certain: bool) -> Finding:
    """Whether clients will take it for these names; which are certain if the configuration has them."""
    covered = subject_names(leaf)
    lacking = [name for name in names if not any(matches(name, pattern) for pattern in covered)]
    shown = ", ".join(covered) or "no name at all"
    if not lacking:
        return ok("certificate's names", f"it is for {shown}")
    evidence = f"it is for {shown}, and not for {', '.join(lacking)}"
    remedy = "have a certificate made for the names that people use, or set c.Proxy.host_names to these"
    say = failed if are_certain and len(lacking) == len(names) else warning
    return say("certificate's names", evidence, remedy)


def subject_names(leaf: x509.Certificate) -> list[str]:
    """The names and addresses that a certificate is for; the common name has long counted for nothing."""
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    addresses = [str(address) for address in alternatives.get_values_for_type(x509.IPAddress)]
    return [*alternatives.get_values_for_type(x509.DNSName), *addresses]


def matches(name: str, pattern: str) -> bool:
    """Whether a name is meant, where a star stands for the first label (RFC 6125, 6.4.3)."""
    name, pattern = name.lower().rstrip("."), pattern.lower().rstrip(".")
    with suppress(ValueError):
        return ip_address(name) == ip_address(pattern)
    if pattern.startswith("*."):
        return name.partition(".")[2] == pattern[2:]
    return name == pattern
