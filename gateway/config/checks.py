"""What is checked of a configuration once its parts are built: classes that fit together, and who could do what.

A mistake is recorded with the option that it is about; the rest are sentences
for the log.
"""

import inspect
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gateway.addresses import is_loopback
from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import settings_of
from gateway.config.file import Assignment
from gateway.config.proxy import Proxy
from gateway.config.resolve import Resolution
from gateway.config.server import DaskGateway
from gateway.config.site_errors import described
from gateway.config.user_options import Options
from gateway.errors import nearest

if TYPE_CHECKING:
    from gateway.auth.authenticator import Authenticator

#: Where an option was set that stands on the command line.
COMMAND_LINE = "command line"


def check_bases(resolution: Resolution, gateway: DaskGateway, authenticator: type) -> None:
    """Refuse classes that cannot be what they are chosen for; `authenticator` is the base of all authenticators."""
    chosen = gateway.authenticator_classes
    for cls in chosen:
        which = f"{cls.__name__} " if len(chosen) > 1 else ""
        if not issubclass(cls, authenticator):
            resolution.refuse(DaskGateway, "authenticator_class", f"{which}must be a subclass of Authenticator")
        elif _lacks(cls, "authenticate"):
            resolution.refuse(DaskGateway, "authenticator_class", f"{which}is a base only: it has no authenticate()")
    if not chosen or len(set(chosen)) < len(chosen):
        resolution.refuse(DaskGateway, "authenticator_class", "must name at least one class, and each once")
    if _lacks(gateway.backend_class, "open_driver"):
        resolution.refuse(DaskGateway, "backend_class", "is a base only: it has no open_driver()")


def check_authenticators(resolution: Resolution, authenticators: Sequence["Authenticator"]) -> None:
    """Refuse what authenticators cannot work with, alone or beside each other."""
    names = [one.name for one in authenticators]
    for one in authenticators:
        for option, reason in one.find_mistakes():
            resolution.refuse(type(one), option, reason)
        if names.count(one.name) > 1:
            resolution.refuse(type(one), "", f"Two authenticators are called {one.name!r}: give one class another name")


def _lacks(cls: type, method: str) -> bool:
    """Whether a class has no such method of its own, but the base's that says what it is for."""
    return getattr(getattr(cls, method), "__isabstractmethod__", False)


def check_backend(resolution: Resolution, backend: DBBackendBase, cluster_config: ClusterConfig | None) -> None:
    """Refuse options of clusters that the backend cannot use, and what this machine makes nothing of."""
    if cluster_config is not None:
        wanted = backend.reads_options_of
        if not isinstance(cluster_config, wanted):
            reason = f"must be a subclass of {wanted.__name__}, whose options {type(backend).__name__} reads"
            resolution.refuse(type(backend), "cluster_config_class", reason)
        if reason := _unusable(backend.cluster_options, cluster_config):
            resolution.refuse(type(backend), "cluster_options", reason)
        if reason := backend.refuses_sharing(cluster_config.share_view, cluster_config.share_use):
            option = "share_use" if cluster_config.share_use else "share_view"
            resolution.refuse(type(cluster_config), option, f"is of no use: {reason}")
    for option, reason in backend.find_mistakes():
        resolution.refuse(type(backend), option, reason)


def _unusable(options: object, cluster_config: ClusterConfig) -> str:
    """Why no cluster could be made with what the site has for `cluster_options`; empty when nothing is known."""
    if isinstance(options, type):
        return f"is the class {options.__name__}: write {options.__name__}(...)"
    if not isinstance(options, Options):
        try:
            inspect.signature(options).bind(None)  # type: ignore[arg-type]
        except ValueError:  # one of those whose arguments Python does not tell
            return ""
        except TypeError:
            return "must be a function of one argument, the user"
        return ""
    try:
        json.dumps(options.get_specification())
    except Exception as error:  # noqa: BLE001 - fields of a site's own may raise anything
        return f"cannot be shown to users: {described(error)}"
    own = (type(options).get_configuration, type(options).configuration, type(options).transform_options)
    if options.handler is None and own == (Options.get_configuration, Options.configuration, Options.transform_options):
        known = settings_of(type(cluster_config))
        for field in options.fields:
            if field.target not in known:
                return (
                    f"cannot be used without a handler, since {type(cluster_config).__name__} has no option"
                    f" {field.target!r}{nearest(field.target, known)}: name another target, or give Options a handler"
                )
    return ""


def exposures(
    resolution: Resolution, gateway: DaskGateway, proxy: Proxy, authenticator: "Authenticator", backend: DBBackendBase
) -> tuple[str, ...]:
    """What to warn of when anybody can be anybody; where that means to run anything as anybody, a mistake."""
    if not authenticator.believes_anybody:
        return ()
    addresses = [address for address in (proxy.address, gateway.address) if address and not is_loopback(address)]
    name = type(authenticator).__name__
    where = f"{' and '.join(addresses)}, which other machines may reach" if addresses else "a loopback address"
    who = f"ANYBODY CAN ACT AS ANYBODY: {name}.password is not set, and the gateway listens at {where}"
    advice = f"Set c.{name}.password, or c.DaskGateway.authenticator_class to an authenticator of your site"
    if not addresses:
        if not backend.starts_as_users:
            return ()
        return (f"{who}. Each user of this machine can run anything as each other one. {advice}.",)
    if backend.starts_as_users:
        reason = (
            f"must be set: without it, whoever reaches {' or '.join(addresses)} runs anything as any user of this"
            " machine. Set it, or c.DaskGateway.authenticator_class to an authenticator of your site, or listen at"
            " 127.0.0.1 only (c.Proxy.address)"
        )
        resolution.refuse(type(authenticator), "password", reason)
    return (f"{who}. {advice}, or listen at 127.0.0.1 only (c.Proxy.address).",)


def readable_passwords(proxy: Proxy, authenticator: "Authenticator") -> Iterator[str]:
    """What to warn of when passwords of people's accounts cross the network as they are."""
    is_private = is_loopback(proxy.address) or proxy.address.startswith("unix:")
    if authenticator.takes_account_passwords and not (is_private or proxy.tls_cert or proxy.trusted_proxies):
        yield (
            f"PASSWORDS CAN BE READ ON THE NETWORK: {type(authenticator).__name__} takes those of people's accounts,"
            f" and the gateway listens at {proxy.address} without HTTPS. Set c.Proxy.tls_cert and c.Proxy.tls_key, or"
            " c.Proxy.trusted_proxies when a proxy in front serves HTTPS"
        )


def visible_secrets(resolution: Resolution, assignments: Sequence[Assignment]) -> Iterator[str]:
    """Secrets on the command line, which each user of the machine can read as long as the gateway runs (ps)."""
    for given in assignments:
        without = given.option == "db_url" and "@" not in str(given.value)  # a database that needs no password
        if given.origin == COMMAND_LINE and given.option in resolution.secret_options and not without:
            yield (
                f"{given.text} on the command line can be read by each user of this machine: set it in the"
                " configuration file, and replace the secret"
            )
