"""Names of `dask_gateway_server` in configuration files: what they mean here.

Sites come with configuration files written for the original server, which
quote its classes ("dask_gateway_server.backends.local.UnsafeLocalBackend") and
import from it (`from dask_gateway_server.options import Options`). Both work
without that package: one table says where each name lives here, and `install`
puts a finder in front of Python's own that makes the package's modules from
the table. Names are looked up when they are used, so that a configuration for
Slurm never imports what is for PBS.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from gateway.errors import nearest

ORIGINAL = "dask_gateway_server"

_OPTIONS = "gateway.options"
_LOCAL = dict.fromkeys(("LocalBackend", "LocalClusterConfig", "UnsafeLocalBackend"), "gateway.backends.local")
_SLURM = dict.fromkeys(("SlurmBackend", "SlurmClusterConfig"), "gateway.backends.slurm_backend")
_PBS = dict.fromkeys(("PBSBackend", "PBSClusterConfig"), "gateway.backends.pbs_backend")
_JOBQUEUE = dict.fromkeys(("JobQueueBackend", "JobQueueClusterConfig"), "gateway.backends.jobqueue")
_BASE = {"Backend": "gateway.backends.settings", "ClusterConfig": "gateway.cluster_config"}

MODULES: Mapping[str, Mapping[str, str]] = {
    "": {},
    ".app": {"DaskGateway": "gateway.settings"},
    ".auth": {
        **dict.fromkeys(("Authenticator", "SimpleAuthenticator", "unauthorized"), "gateway.auth"),
        "User": "gateway.models",
    },
    ".backends": _BASE,
    ".backends.base": {**_BASE, "Options": _OPTIONS, "PublicException": "gateway.errors"},
    ".backends.db_base": {"DBBackendBase": "gateway.backends.settings"},
    ".backends.jobqueue": {},
    ".backends.jobqueue.base": _JOBQUEUE,
    ".backends.jobqueue.pbs": _PBS,
    ".backends.jobqueue.slurm": _SLURM,
    ".backends.local": _LOCAL,
    # Not in the original, but in its HPC guide:
    ".backends.pbs": _PBS,
    ".backends.slurm": _SLURM,
    ".models": {"ClusterStatus": "gateway.models", "User": "gateway.models"},
    ".options": dict.fromkeys(
        ("Bool", "Field", "Float", "FrozenAttrDict", "Integer", "Mapping", "Options", "Select", "String"), _OPTIONS
    ),
    ".proxy": {"Proxy": "gateway.settings"},
    ".proxy.core": {"Proxy": "gateway.settings"},
    ".traitlets": dict.fromkeys(
        ("Callable", "Command", "Integer", "List", "MemoryLimit", "TraitError", "TraitType", "Type", "Unicode"),
        "gateway.traits",
    ),
    ".utils": {"FrozenAttrDict": _OPTIONS},
}
"""Module of the original (after `dask_gateway_server`) → name → module of ours."""

SECTION_ALIASES: Mapping[str, str] = {
    "JobQueueClusterBackend": "JobQueueBackend",
    "PBSClusterBackend": "PBSBackend",
    "SlurmClusterBackend": "SlurmBackend",
}
"""Classes as the original's HPC guide calls them by mistake (`c.PBSClusterBackend`) → as they are called."""

_ONE_PROCESS = "the proxy is part of this process"
RETIRED: Mapping[tuple[str, str], str] = {
    ("Proxy", "externally_managed"): _ONE_PROCESS,
    ("Proxy", "proxy_status_period"): _ONE_PROCESS,
    ("Proxy", "api_token"): f"{_ONE_PROCESS}, which needs no token to talk to itself",
    ("Proxy", "max_events"): f"{_ONE_PROCESS} and cannot miss a change of routes",
    ("Proxy", "gateway_url"): _ONE_PROCESS,
    ("Proxy", "log_level"): f"{_ONE_PROCESS}; set c.DaskGateway.log_level",
    ("DaskGateway", "config_file"): "the file is named on the command line, with -f",
    ("DaskGateway", "log_format"): "log lines have one format",
    ("DaskGateway", "log_datefmt"): "log lines have one format, with times in UTC",
    ("DaskGateway", "logging_config"): "log lines have one format",
}
"""Options of the original that make no sense here → why."""

IDLE: Mapping[str, str] = {
    "check_timeouts_period": "timeouts are waited for, not looked for",
    "cluster_status_period": "the end of a scheduler's job is heard of when the backend learns of it",
    "worker_status_period": "the end of a worker's job is heard of when the backend learns of it",
}
"""Options of backends that are accepted and do nothing → why."""


def find_class(name: str) -> object:
    """The object with this dotted name; names of the original mean ours. Raises ValueError with the reason."""
    install()
    module, _, attribute = name.rpartition(".")
    if not module:
        raise ValueError('must be a dotted name such as "package.module.Class"')
    names: list[str] = []
    try:
        found = importlib.import_module(module)
        names = [] if module.startswith(ORIGINAL) else [name for name in vars(found) if not name.startswith("_")]
        return getattr(found, attribute)
    except Exception as error:  # whatever a site's module raises when it is imported
        hint = nearest(attribute, names) if isinstance(error, AttributeError) else ""
        raise ValueError(f"cannot be imported: {type(error).__name__}: {error}{hint}") from error


def install() -> None:
    """Let `import dask_gateway_server` find our names, from now on and in the whole process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and makes the modules of the table."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != ORIGINAL and not fullname.startswith(f"{ORIGINAL}."):
            return None
        if fullname.removeprefix(ORIGINAL) not in MODULES:
            raise ModuleNotFoundError(f"this gateway has no counterpart of {fullname}", name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        names = MODULES[module.__name__.removeprefix(ORIGINAL)]

        def look_up(name: str) -> object:
            if name in names:
                return getattr(importlib.import_module(names[name]), name)
            offered = f" (there are: {', '.join(names)})" if names else ""
            raise AttributeError(f"this gateway has no counterpart of {module.__name__}.{name}{offered}")

        module.__getattr__ = look_up  # type: ignore[method-assign]
        module.__all__ = list(names)  # type: ignore[attr-defined]
