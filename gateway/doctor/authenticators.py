"""Those who say who is who: what each of ours needs from others. A site's own are not looked at."""

from collections.abc import Awaitable, Callable
from typing import Any

from gateway.auth.jupyterhub.authenticator import JupyterHubAuthenticator
from gateway.auth.kerberos.authenticator import KerberosAuthenticator
from gateway.auth.munge.authenticator import MungeAuthenticator
from gateway.auth.oidc.authenticator import OIDCAuthenticator
from gateway.auth.pam.authenticator import PAMAuthenticator
from gateway.config.load import Config
from gateway.doctor import jupyterhub, kerberos, munge, oidc, pam
from gateway.doctor.finding import ok
from gateway.doctor.site import Say, Site

_LOOKS: tuple[tuple[type, Callable[[Any, Config, Say], Awaitable[None]]], ...] = (
    (JupyterHubAuthenticator, jupyterhub.examine),
    (KerberosAuthenticator, kerberos.examine),
    (MungeAuthenticator, munge.examine),
    (OIDCAuthenticator, oidc.examine),
    (PAMAuthenticator, pam.examine),
)


async def examine(site: Site, say: Say) -> None:
    """One after the other."""
    for authenticator in site.config.authenticators:
        look = next((look for kind, look in _LOOKS if isinstance(authenticator, kind)), None)
        if look is None:
            say(ok("authenticator", f"{type(authenticator).__name__} needs nobody else, as far as is known"))
        else:
            await look(authenticator, site.config, say)
