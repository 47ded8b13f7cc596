"""Names of the original server in configuration files."""

import importlib
import sys
from collections.abc import Iterator

import pytest

from gateway import models
from gateway.config import backend as settings
from gateway.config import compat
from gateway.config import user_options as options
from gateway.config.compat import GONE, MODULES, ORIGINAL, OWN, find_class, install, name_of
from gateway.config.site_errors import ABSENT


@pytest.fixture(autouse=True)
def _fresh_imports() -> Iterator[None]:
    """Each test imports the original's names anew."""
    install()
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == ORIGINAL]:
        del sys.modules[name]


def test_imports() -> None:
    from dask_gateway_server.backends.base import Backend  # type: ignore[import-not-found]
    from dask_gateway_server.backends.db_base import DBBackendBase  # type: ignore[import-not-found]
    from dask_gateway_server.models import User  # type: ignore[import-not-found]
    from dask_gateway_server.options import Mapping, Options, String  # type: ignore[import-not-found]

    assert (Options, String, Mapping) == (options.Options, options.String, options.Mapping)
    assert (Backend, DBBackendBase, User) == (settings.Backend, settings.DBBackendBase, models.User)


def test_star_imports() -> None:
    namespace: dict[str, object] = {}
    exec("from dask_gateway_server.options import *", namespace)
    assert namespace["Select"] is options.Select


def test_modules_are_packages_down_to_the_last() -> None:
    module = importlib.import_module("dask_gateway_server.backends.jobqueue.slurm")
    assert module.__name__ in sys.modules
    import dask_gateway_server.backends  # type: ignore[import-not-found]

    assert dask_gateway_server.backends.Backend is settings.Backend


def test_names_without_counterpart_say_so() -> None:
    with pytest.raises(ImportError, match="UserCache"):
        from dask_gateway_server.auth import UserCache  # noqa: F401
    with pytest.raises(AttributeError, match=r"no counterpart of dask_gateway_server.options.Bol \(there are: Bool"):
        _ = importlib.import_module("dask_gateway_server.options").Bol
    with pytest.raises(AttributeError, match=r"no counterpart of dask_gateway_server.__version__$"):
        _ = importlib.import_module("dask_gateway_server").__version__
    with pytest.raises(ModuleNotFoundError, match=r"no counterpart of dask_gateway_server\.backends\.yarn"):
        importlib.import_module("dask_gateway_server.backends.yarn")


def test_other_imports_are_left_alone() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'dask_gateway_server_extra'"):
        importlib.import_module("dask_gateway_server_extra")


def test_installed_once() -> None:
    install()
    assert sum(isinstance(finder, compat._Finder) for finder in sys.meta_path) == 1


def test_every_name_leads_somewhere() -> None:
    for module, names in MODULES.items():
        for name, home in names.items():
            found = find_class(f"{ORIGINAL}{module}.{name}")
            assert found is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Backend", 'must be a dotted name such as "package.module.Class"'),
        ("gateway.nothing.Backend", "cannot be imported: ModuleNotFoundError: No module named 'gateway.nothing'"),
        ("gateway.models.Nobody", "module 'gateway.models' has no attribute 'Nobody'"),
        ("gateway.backends.local.UnsafeLocalBackends", "(did you mean 'UnsafeLocalBackend'?)"),
        ("..x", "cannot be imported: TypeError"),
    ],
)
def test_what_cannot_be_found(name: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        find_class(name)
    assert reason in str(caught.value)


def test_every_name_of_ours_leads_somewhere() -> None:
    for module, homes in OWN.items():
        assert all(importlib.util.find_spec(home) for home in homes)
        assert dir(importlib.import_module(module))


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("gateway.auth.Authenticator", "gateway.auth.authenticator"),
        ("gateway.auth.JupyterHubAuthenticator", "gateway.auth.jupyterhub.authenticator"),
        ("gateway.auth.SimpleAuthenticator", "gateway.auth.simple"),
        ("gateway.auth.unauthorized", "gateway.auth.authenticator"),
        ("gateway.backends.jobqueue.JobQueueBackend", "gateway.backends.batch.options"),
        ("gateway.backends.local.LocalClusterConfig", "gateway.backends.local.backend"),
        ("gateway.backends.local.UnsafeLocalBackend", "gateway.backends.local.backend"),
        ("gateway.backends.pbs.PBSBackend", "gateway.backends.pbs.backend"),
        ("gateway.backends.pbs_backend.PBSBackend", "gateway.backends.pbs.backend"),
        ("gateway.backends.pbs_config.PBSClusterConfig", "gateway.backends.pbs.options"),
        ("gateway.backends.settings.DBBackendBase", "gateway.config.backend"),
        ("gateway.backends.slurm.SlurmBackend", "gateway.backends.slurm.backend"),
        ("gateway.backends.slurm.SlurmClusterConfig", "gateway.backends.slurm.options"),
        ("gateway.backends.slurm_backend.SlurmBackend", "gateway.backends.slurm.backend"),
        ("gateway.backends.slurm_config.SlurmClusterConfig", "gateway.backends.slurm.options"),
        ("gateway.cluster_config.ClusterConfig", "gateway.config.cluster"),
        ("gateway.configurable.configurable", "gateway.config.fields"),
        ("gateway.configurable.setting", "gateway.config.fields"),
        ("gateway.configurable.SettingError", "gateway.config.fields"),
        ("gateway.errors.PublicException", "gateway.errors"),
        ("gateway.models.User", "gateway.models"),
        ("gateway.options.Options", "gateway.config.user_options"),
        ("gateway.options.String", "gateway.config.user_options"),
        ("gateway.settings.Proxy", "gateway.config.proxy"),
        ("gateway.traits.Unicode", "gateway.config.traits"),
    ],
)
def test_names_that_administrators_write(name: str, home: str) -> None:
    module, _, attribute = name.rpartition(".")
    wanted = getattr(importlib.import_module(home), attribute)
    assert find_class(name) is wanted
    namespace: dict[str, object] = {}
    exec(f"from {module} import {attribute}; from {module} import *; import {module}", namespace)
    assert namespace[attribute] is wanted
    assert eval(name, namespace) is wanted


def test_the_name_of_a_class_is_what_administrators_write() -> None:
    for name in ("gateway.auth.SimpleAuthenticator", "gateway.backends.slurm.SlurmBackend", "gateway.models.User"):
        cls = find_class(name)
        assert isinstance(cls, type)
        assert name_of(cls) == name


def test_the_source_itself_is_found_as_ever() -> None:
    from gateway.backends.slurm import dialect

    assert dialect.__name__ == "gateway.backends.slurm.dialect"
    for name in ("gateway.options.Nothing", "gateway.backends.slurm._Nothing", "gateway.options._memory"):
        with pytest.raises(ValueError, match="has no attribute"):
            find_class(name)


GONE_EVERYWHERE = sorted(GONE.keys() - MODULES.keys())


@pytest.mark.parametrize("name", GONE_EVERYWHERE)
def test_what_has_no_counterpart_says_what_to_do(name: str) -> None:
    module, _, attribute = f"{ORIGINAL}{name}".rpartition(".")
    with pytest.raises(ImportError) as caught:
        exec(f"from {module} import {attribute}", {})
    whole_module = GONE.get(name.rpartition(".")[0])
    assert (whole_module or GONE[name]) in str(caught.value)
    with pytest.raises(ValueError, match="no counterpart"):
        find_class(f"{ORIGINAL}{name}")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("from dask_gateway_server.auth import UserCache", "users are kept in cookies"),
        ("from dask_gateway_server.backends import yarn", "this gateway is for Slurm, PBS and local processes"),
        ("import dask_gateway_server.backends.kubernetes", "this gateway is for Slurm, PBS and local processes"),
        ("from dask_gateway_server.backends.kubernetes.backend import KubeBackend", "Slurm, PBS and local processes"),
        ("from dask_gateway_server.utils import format_bytes", "put what you need of them into a module of your own"),
        ("from dask_gateway_server.options import Option", "(there are: Bool, Field"),
        ("from dask_gateway_server import nothing", "no counterpart of dask_gateway_server.nothing"),
        ("from dask_gateway_server.nothing import x", "no counterpart of dask_gateway_server.nothing"),
    ],
)
def test_imports_of_what_has_no_counterpart(statement: str, text: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(statement, {})
    assert text in str(caught.value)


@pytest.mark.parametrize("package", ["aiohttp", "tornado", "colorlog"])
def test_packages_that_the_original_brings_along(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError) as caught:
        find_class(f"{package}.nothing_at_all.Name")
    assert ABSENT[package] in str(caught.value)
