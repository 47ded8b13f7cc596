"""The one list of modules that hold config classes; what they hold is found by looking."""

import importlib
from collections.abc import Mapping

from gateway.config.fields import is_configurable

MODULES = (
    "gateway.config.server",
    "gateway.config.proxy",
    "gateway.auth.authenticator",
    "gateway.auth.simple",
    "gateway.auth.pam.authenticator",
    "gateway.auth.oidc.authenticator",
    "gateway.auth.jupyterhub.authenticator",
    "gateway.auth.kerberos.authenticator",
    "gateway.auth.munge.authenticator",
    "gateway.config.cluster",
    "gateway.config.limits",
    "gateway.config.backend",
    "gateway.backends.local.backend",
    "gateway.backends.batch.options",
    "gateway.backends.slurm.options",
    "gateway.backends.slurm.backend",
    "gateway.backends.pbs.options",
    "gateway.backends.pbs.backend",
)


def builtin_classes() -> Mapping[str, type]:
    """Every config class that comes with the gateway, by name, parents before their children."""
    classes: dict[str, type] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        classes |= {k: v for k, v in vars(module).items() if is_configurable(v) and v.__module__ == name}
    return classes
