"""The one list of modules that hold config classes; what they hold is found by looking."""

import importlib
from collections.abc import Mapping

from gateway.configurable import is_configurable

MODULES = (
    "gateway.settings",
    "gateway.auth",
    "gateway.cluster_config",
    "gateway.backends.settings",
    "gateway.backends.local",
    "gateway.backends.jobqueue",
    "gateway.backends.slurm_config",
    "gateway.backends.slurm_backend",
    "gateway.backends.pbs_config",
    "gateway.backends.pbs_backend",
)


def builtin_classes() -> Mapping[str, type]:
    """Every config class that comes with the gateway, by name, parents before their children."""
    classes: dict[str, type] = {}
    for name in MODULES:
        module = importlib.import_module(name)
        classes |= {k: v for k, v in vars(module).items() if is_configurable(v) and v.__module__ == name}
    return classes
