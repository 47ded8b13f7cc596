"""Dotted names in configuration files, and where what they name lives.

Sites come with configuration files written for the original server, which
quote its classes ("dask_gateway_server.backends.local.UnsafeLocalBackend") and
import from it (`from dask_gateway_server.options import Options`). Both work
without that package. Names of this gateway are written in the same two ways
("gateway.auth.SimpleAuthenticator", `from gateway.options import Options`), and
stay as they are wherever the source moves to.

Two tables say where each name lives, and `install` puts a finder in front of
Python's own that makes modules which are not there from the tables; packages
that are there are taught the names of the table. Names are looked up when they
are used, so that a configuration for Slurm never imports what is for PBS. A
third table says what to do about names of the original that have no counterpart.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType

from gateway.config.site_errors import advice, place_raised
from gateway.errors import nearest

ORIGINAL = "dask_gateway_server"

_SLURM_HOMES = ("gateway.backends.slurm.backend", "gateway.backends.slurm.options")
_PBS_HOMES = ("gateway.backends.pbs.backend", "gateway.backends.pbs.options")
OWN: Mapping[str, tuple[str, ...]] = {
    "gateway.auth": (
        "gateway.auth.authenticator",
        "gateway.auth.simple",
        "gateway.auth.pam.authenticator",
        "gateway.auth.oidc.authenticator",
        "gateway.auth.jupyterhub.authenticator",
        "gateway.auth.kerberos.authenticator",
        "gateway.auth.munge.authenticator",
    ),
    "gateway.backends.jobqueue": ("gateway.backends.batch.options",),
    "gateway.backends.local": ("gateway.backends.local.backend",),
    "gateway.backends.pbs": _PBS_HOMES,
    "gateway.backends.pbs_backend": _PBS_HOMES,
    "gateway.backends.pbs_config": _PBS_HOMES,
    "gateway.backends.settings": ("gateway.config.backend",),
    "gateway.backends.slurm": _SLURM_HOMES,
    "gateway.backends.slurm_backend": _SLURM_HOMES,
    "gateway.backends.slurm_config": _SLURM_HOMES,
    "gateway.cluster_config": ("gateway.config.cluster",),
    "gateway.configurable": ("gateway.config.fields",),
    "gateway.options": ("gateway.config.user_options",),
    "gateway.settings": ("gateway.config.server", "gateway.config.proxy"),
    "gateway.traits": ("gateway.config.traits",),
}
"""Modules of ours as administrators write them → where what they hold lives."""

_OPTIONS = "gateway.config.user_options"
_LOCAL = dict.fromkeys(("LocalBackend", "LocalClusterConfig", "UnsafeLocalBackend"), "gateway.backends.local.backend")
_SLURM = dict(zip(("SlurmBackend", "SlurmClusterConfig"), _SLURM_HOMES, strict=True))
_PBS = dict(zip(("PBSBackend", "PBSClusterConfig"), _PBS_HOMES, strict=True))
_JOBQUEUE = dict.fromkeys(("JobQueueBackend", "JobQueueClusterConfig"), "gateway.backends.batch.options")
_BASE = {"Backend": "gateway.config.backend", "ClusterConfig": "gateway.config.cluster"}

MODULES: Mapping[str, Mapping[str, str]] = {
    "": {},
    ".app": {"DaskGateway": "gateway.config.server"},
    ".auth": {
        **dict.fromkeys(("Authenticator", "unauthorized"), "gateway.auth.authenticator"),
        "JupyterHubAuthenticator": "gateway.auth.jupyterhub.authenticator",
        "KerberosAuthenticator": "gateway.auth.kerberos.authenticator",
        "SimpleAuthenticator": "gateway.auth.simple",
        "User": "gateway.models",
    },
    ".backends": _BASE,
    ".backends.base": {**_BASE, "Options": _OPTIONS, "PublicException": "gateway.errors"},
    ".backends.db_base": {"DBBackendBase": "gateway.config.backend"},
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
    ".proxy": {"Proxy": "gateway.config.proxy"},
    ".proxy.core": {"Proxy": "gateway.config.proxy"},
    ".traitlets": dict.fromkeys(
        ("Callable", "Command", "Integer", "List", "MemoryLimit", "TraitError", "TraitType", "Type", "Unicode"),
        "gateway.config.traits",
    ),
    ".utils": {"FrozenAttrDict": _OPTIONS},
}
"""Module of the original (after `dask_gateway_server`) → name → module of ours."""

_OTHER_SYSTEM = "this gateway is for Slurm, PBS and local processes"
_HELPERS = "helpers of the original are no part of this gateway: put what you need of them into a module of your own"
_RECORDS = "clusters and workers are the gateway's own affair: a site's code gets the user and the options they chose"
GONE: Mapping[str, str] = {
    ".app.GenerateConfig": "the command is `dask-gateway-server generate-config`",
    ".app.main": "the command is `dask-gateway-server`",
    ".auth.UserCache": "users are kept in cookies for c.Authenticator.cache_max_age seconds",
    ".backends.db_base.Cluster": _RECORDS,
    ".backends.db_base.DataManager": _RECORDS,
    ".backends.db_base.JobStatus": _RECORDS,
    ".backends.db_base.Worker": _RECORDS,
    ".backends.inprocess": "use UnsafeLocalBackend",
    ".backends.inprocess.InProcessBackend": "use UnsafeLocalBackend",
    ".backends.jobqueue.launcher": "it is a program here, dask-gateway-jobqueue-launcher",
    ".backends.jobqueue.pbs.format_resource_list": "the gateway formats memory by itself",
    ".backends.jobqueue.pbs.qsub_format_memory": "the gateway formats memory by itself",
    ".backends.jobqueue.slurm.slurm_format_memory": "the gateway formats memory by itself",
    ".backends.kubernetes": _OTHER_SYSTEM,
    ".backends.kubernetes.KubeBackend": _OTHER_SYSTEM,
    ".backends.kubernetes.KubeClusterConfig": _OTHER_SYSTEM,
    ".backends.kubernetes.KubeController": _OTHER_SYSTEM,
    ".backends.yarn": _OTHER_SYSTEM,
    ".backends.yarn.YarnBackend": _OTHER_SYSTEM,
    ".backends.yarn.YarnClusterConfig": _OTHER_SYSTEM,
    ".models.Cluster": _RECORDS,
    ".proxy.core.ProxyApp": "the proxy is part of the gateway's process",
    ".routes": "what a site adds to the web application it adds in Authenticator.setup(app), where `app` is Quart's",
    ".tls": _HELPERS,
    ".traitlets.Application": "the level of the log is c.DaskGateway.log_level, and lines have one format",
    ".utils": _HELPERS,
    ".workqueue": _HELPERS,
}
"""Names of the original (after `dask_gateway_server`) that have no counterpart → what to do instead."""

GONE_SECTIONS: Mapping[str, str] = {
    **{name.rpartition(".")[2]: hint for name, hint in GONE.items() if name.rpartition(".")[2][0].isupper()},
    **dict.fromkeys(
        ("Application", "Configurable", "LoggingConfigurable", "SingletonConfigurable"),
        "set options of the classes themselves, for example c.DaskGateway.log_level",
    ),
}
"""Sections of configuration files (`c.KubeBackend`) for which there is no class → what to do instead."""

SECTION_ALIASES: Mapping[str, str] = {
    "JobQueueClusterBackend": "JobQueueBackend",
    "PBSClusterBackend": "PBSBackend",
    "SlurmClusterBackend": "SlurmBackend",
}
"""Classes as the original's HPC guide calls them by mistake (`c.PBSClusterBackend`) → as they are called."""


def find_class(name: str) -> object:
    """The object with this dotted name, as administrators write it. Raises ValueError with the reason."""
    install()
    module, _, attribute = name.rpartition(".")
    if not module:
        raise ValueError('must be a dotted name such as "package.module.Class"')
    names: list[str] = []
    try:
        found = importlib.import_module(module)
        names = [] if module.startswith(ORIGINAL) else [name for name in dir(found) if not name.startswith("_")]
        return getattr(found, attribute)
    except Exception as error:  # whatever a site's module raises when it is imported
        hint = nearest(attribute, names) if isinstance(error, AttributeError) else ""
        place = place_raised(error.__traceback__)
        where = f" ({place})" if place else ""
        text = f"{type(error).__name__}: {error}{hint}{where}{advice(error)}"
        raise ValueError(f"cannot be imported: {text}") from error


def name_of(cls: type) -> str:
    """The dotted name of a class, as administrators write it."""
    module = next((module for module, homes in OWN.items() if cls.__module__ in homes), cls.__module__)
    return f"{module}.{cls.__qualname__}"


def install() -> None:
    """Let imports find the names of the tables, from now on and in the whole process."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    for name in OWN:
        _teach(importlib.import_module(name))


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds and makes the modules of the tables that are not there."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in OWN:
            there = importlib.machinery.PathFinder.find_spec(fullname, path)
            return there or importlib.machinery.ModuleSpec(fullname, self)
        if fullname != ORIGINAL and not fullname.startswith(f"{ORIGINAL}."):
            return None
        name = fullname.removeprefix(ORIGINAL)
        if name not in MODULES:
            # Under another name than the one looked for, or `from package import name` would hide the text.
            if _is_leaf(name.rpartition(".")[0]):
                raise ImportError(_no_counterpart(name), name=ORIGINAL)
            raise ModuleNotFoundError(_no_counterpart(name), name=ORIGINAL)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        place = module.__name__.removeprefix(ORIGINAL)
        if place not in MODULES:
            return  # one of ours
        names = MODULES[place]

        def look_up(name: str) -> object:
            if name in names:
                return getattr(importlib.import_module(names[name]), name)
            raise AttributeError(_no_counterpart(f"{place}.{name}"))

        module.__getattr__ = look_up  # type: ignore[method-assign]
        module.__all__ = list(names)  # type: ignore[attr-defined]


def _teach(module: ModuleType) -> None:
    """Let a module of ours have the names that live elsewhere; they are looked up when they are used."""

    def names() -> list[str]:
        homes = map(importlib.import_module, OWN[module.__name__])
        return [name for home in homes for name in vars(home) if not name.startswith("_")]

    def look_up(name: str) -> object:
        if name == "__all__":
            return names()
        for home in () if name.startswith("_") else OWN[module.__name__]:
            if name in vars(importlib.import_module(home)):
                return getattr(importlib.import_module(home), name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    module.__getattr__ = look_up  # type: ignore[method-assign]
    module.__dir__ = names  # type: ignore[method-assign]


def _is_leaf(place: str) -> bool:
    """Whether this is a module of the table without modules below it."""
    return place in MODULES and not any(other.startswith(f"{place}.") for other in MODULES)


def _no_counterpart(name: str) -> str:
    """What to say about a name of the original that has no counterpart: what to do, or what there is."""
    place = name.rpartition(".")[0]
    hint = GONE.get(name) or GONE.get(place)
    names = MODULES.get(place, {})
    if hint is None and names:
        return f"this gateway has no counterpart of {ORIGINAL}{name} (there are: {', '.join(names)})"
    return f"this gateway has no counterpart of {ORIGINAL}{name}" + (f": {hint}" if hint else "")
