"""Configuration files and command lines, from text to frozen values or to one message with all mistakes."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.auth.simple import SimpleAuthenticator
from gateway.backends.local.backend import LocalBackend, UnsafeLocalBackend
from gateway.backends.slurm.backend import SlurmClusterConfig
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingErrors, with_overrides
from gateway.config.load import Config, load
from gateway.config.registry import MODULES, builtin_classes
from gateway.config.user_options import Options
from gateway.errors import ConfigError
from gateway.models import User
from tests.support import original_guide

Load = Callable[..., Config]
Mistakes = Callable[..., list[str]]


@pytest.fixture
def config(tmp_path: Path) -> Load:
    """Load a configuration from the text of a file."""

    def load_text(text: str, *overrides: str) -> Config:
        path = tmp_path / "config.py"
        path.write_text(text)
        return load(path, overrides)

    return load_text


@pytest.fixture
def mistakes(config: Load, tmp_path: Path) -> Mistakes:
    """The lines of the message about a file's mistakes, without its directory and the headline."""

    def lines(text: str, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            config(text, *overrides)
        headline, *rest = str(caught.value).splitlines()
        assert headline == f"The configuration has {'a mistake' if len(rest) == 1 else f'{len(rest)} mistakes'}:"
        return [line.replace(f"{tmp_path}{os.sep}", "") for line in rest]

    return lines


# What a configuration can say


def test_defaults() -> None:
    config = load(None)
    assert config.proxy.address == ":8000"
    assert type(config.backend) is UnsafeLocalBackend
    assert type(config.authenticators[0]) is SimpleAuthenticator
    assert isinstance(config.cluster_config, ClusterConfig)
    assert config.origins == {}
    (warning,) = config.warnings
    assert warning.startswith("ANYBODY CAN ACT AS ANYBODY: SimpleAuthenticator.password is not set, ")
    assert isinstance(config.backend.cluster_options, Options)


def test_values_and_where_they_come_from(config: Load, tmp_path: Path) -> None:
    loaded = config('c.Proxy.address = ":1"\nc = get_config()\nc.SimpleAuthenticator.password = "x"\n')
    assert loaded.proxy.address == ":1"
    assert loaded.origins == {
        "Proxy.address": f"{tmp_path}/config.py:1",
        "SimpleAuthenticator.password": f"{tmp_path}/config.py:3",
    }


def test_a_parents_value_holds_for_children_and_the_more_specific_wins(config: Load, tmp_path: Path) -> None:
    loaded = config(
        "c.LocalBackend.parallelism = 3\n"
        "c.DBBackendBase.parallelism = 2\n"
        "c.DBBackendBase.backoff_max_delay = 9\n"
        "c.ClusterConfig.worker_cores = 4\n"
    )
    assert loaded.backend.parallelism == 3
    assert loaded.backend.backoff_max_delay == 9
    assert loaded.cluster_config.worker_cores == 4
    assert loaded.origins["UnsafeLocalBackend.parallelism"] == f"{tmp_path}/config.py:1 (c.LocalBackend.parallelism)"


def test_the_last_assignment_counts(config: Load) -> None:
    assert config('c.Proxy.prefix = "wrong"\nc.Proxy.prefix = "/a"\n').proxy.prefix == "/a"


def test_values_are_changed_in_place(config: Load, tmp_path: Path) -> None:
    loaded = config(
        'c.ClusterConfig.environment = {"A": "1"}\n'
        'c.ClusterConfig.environment["B"] = "2"\n'
        'c.LocalClusterConfig.environment["C"] = "3"\n'
        'c.LocalBackend.inherited_environment.append("D")\n'
        "c.LocalBackend.inherited_environment\n"
        'c.UnsafeLocalBackend.inherited_environment.remove("PATH")\n'
        'assert c.LocalClusterConfig.environment == {"A": "1", "B": "2", "C": "3"}\n'
        'assert c.ClusterConfig.environment == {"A": "1", "B": "2"}\n'
    )
    assert loaded.cluster_config.environment == {"A": "1", "B": "2", "C": "3"}
    assert isinstance(loaded.backend, LocalBackend)
    assert "D" in loaded.backend.inherited_environment
    assert "PATH" not in loaded.backend.inherited_environment
    assert loaded.origins["LocalClusterConfig.environment"] == f"{tmp_path}/config.py:3"
    assert "PATH" in LocalBackend().inherited_environment


def test_reading_changes_nothing(config: Load) -> None:
    loaded = config(
        'assert c.ClusterConfig.environment == {} and c.Proxy.address == ":8000"\n'
        'assert c.LocalClusterConfig.worker_cmd == ["dask", "worker"]\n'
        'assert not hasattr(c, "_x") and not hasattr(c.Proxy, "__len__")\n'
        "c.Proxy.tcp_address = c.Proxy.address\n"
    )
    assert set(loaded.origins) == {"Proxy.tcp_address"}


def test_subconfigs_are_relative_to_the_file_that_names_them(config: Load, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.py").write_text('load_subconfig("b.py")\nc.Proxy.address = ":2"\n')
    (tmp_path / "sub" / "b.py").write_text('c.Proxy.address = ":3"\nc.Proxy.prefix = "/b"\n')
    (tmp_path / "c.py").write_text('c.Proxy.tcp_address = ":4"\n')
    loaded = config(f'load_subconfig("sub/a.py")\nload_subconfig("c.py", path={str(tmp_path)!r})\n')
    assert loaded.proxy.address == ":2"
    assert loaded.origins["Proxy.prefix"] == f"{tmp_path}/sub/b.py:2"
    assert loaded.proxy.tcp_address == ":4"


def test_overrides(config: Load) -> None:
    loaded = config(
        'c.Proxy.address = ":1"\n',
        "--Proxy.address=:2",
        "Proxy.prefix=/a=b",
        "--SimpleAuthenticator.password=123",
        "--ClusterConfig.worker_memory=3 G",
        "--ClusterConfig.worker_cores=3",
        "--ClusterConfig.environment={'A': 'b'}",
        "--ClusterConfig.worker_cmd=python -m dask worker",
        "--DBBackendBase.db_debug=True",
        "--DBBackendBase.stop_clusters_on_shutdown=None",
        "--DaskGateway.backend_class=dask_gateway_server.backends.local.LocalBackend",
    )
    assert (loaded.proxy.address, loaded.proxy.prefix) == (":2", "/a=b")
    assert isinstance(loaded.authenticators[0], SimpleAuthenticator)
    assert loaded.authenticators[0].password == "123"
    assert loaded.cluster_config.worker_memory == 3 << 30
    assert loaded.cluster_config.worker_cores == 3
    assert loaded.cluster_config.environment == {"A": "b"}
    assert loaded.cluster_config.worker_cmd == ("python", "-m", "dask", "worker")
    assert loaded.backend.db_debug is True
    assert type(loaded.backend) is LocalBackend
    assert loaded.origins["Proxy.address"] == "command line"


def test_names_of_the_original(config: Load) -> None:
    loaded = config(
        "from dask_gateway_server.options import Options, String\n"
        "from dask_gateway_server.backends.local import UnsafeLocalBackend\n"
        'c.DaskGateway.authenticator_class = "dask_gateway_server.auth.SimpleAuthenticator"\n'
        "c.DaskGateway.backend_class = UnsafeLocalBackend\n"
        'c.Backend.cluster_config_class = "dask_gateway_server.backends.base.ClusterConfig"\n'
        'c.Backend.cluster_options = Options(String("environment", default="base"), handler=lambda options: {})\n'
    )
    assert type(loaded.backend) is UnsafeLocalBackend
    assert isinstance(loaded.backend.cluster_options, Options)
    assert loaded.backend.cluster_options.parse({}) == {"environment": "base"}


def test_options_may_depend_on_the_user(config: Load) -> None:
    loaded = config(
        "from dask_gateway_server.options import Options\n"
        "async def options(user):\n    return Options()\n"
        "c.Backend.cluster_options = options\n"
    )
    assert callable(loaded.backend.cluster_options)
    loaded.backend.cluster_options(User("alice")).close()


# Classes of the site's own


def test_a_backend_in_the_file(config: Load) -> None:
    loaded = config(
        "from dask_gateway_server.backends.local import LocalClusterConfig, UnsafeLocalBackend\n"
        "from gateway.configurable import configurable, setting\n"
        "@configurable\n"
        "class OurConfig(LocalClusterConfig):\n"
        "    words: tuple[str, ...] = setting(default=(), help='Words.')\n"
        "class OurBackend(UnsafeLocalBackend):\n"
        "    cluster_config_class = OurConfig\n"
        "    cluster_start_timeout = 123\n"
        "c.DaskGateway.backend_class = OurBackend\n"
        "c.OurConfig.words.append('a')\n"
        "c.OurBackend.parallelism = 7\n"
        "c.LocalClusterConfig.worker_cores = 2\n"
    )
    assert type(loaded.backend).__name__ == "OurBackend"
    assert loaded.backend.parallelism == 7
    assert loaded.backend.cluster_start_timeout == 123.0
    assert type(loaded.cluster_config).__name__ == "OurConfig"
    assert loaded.cluster_config.worker_cores == 2
    assert loaded.cluster_config.words == ("a",)  # type: ignore[attr-defined]


def test_an_authenticator_that_keeps_state(config: Load) -> None:
    loaded = config(
        "from dask_gateway_server.auth import Authenticator, User, unauthorized\n"
        "class Ours(Authenticator):\n"
        "    async def setup(self, app):\n        self.connection = app\n"
        "    async def authenticate(self, request):\n        return User('alice')\n"
        "c.DaskGateway.authenticator_class = Ours\n"
        "c.Authenticator.cache_max_age = 7\n"
        "c.Ours.cookie_name = 'ours'\n"
    )
    authenticator = loaded.authenticators[0]
    assert (authenticator.cookie_name, authenticator.cache_max_age) == ("ours", 7)
    authenticator.setup(None).close()  # type: ignore[arg-type, attr-defined]
    authenticator.connection = 1  # type: ignore[attr-defined]


def test_classes_by_dotted_name(config: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_site.py").write_text(
        "from dask_gateway_server.auth import SimpleAuthenticator\n"
        "from dask_gateway_server.backends.base import ClusterConfig\n"
        "from gateway.configurable import configurable, setting\n"
        "@configurable\n"
        "class OurAuthenticator(SimpleAuthenticator):\n"
        "    realm: str = setting(default='', help='A realm.')\n"
        "@configurable\n"
        "class OurConfig(ClusterConfig):\n"
        "    queue: str = setting(default='', help='A queue.')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = config(
        'c.DaskGateway.authenticator_class = "our_site.OurAuthenticator"\n'
        'c.Backend.cluster_config_class = "our_site.OurConfig"\n'
        'c.OurAuthenticator.realm = "here"\n'
        'c.SimpleAuthenticator.password = "x"\n'
        'c.OurConfig.queue = "q"\n'
    )
    assert loaded.authenticators[0].realm == "here"  # type: ignore[attr-defined]
    assert loaded.authenticators[0].password == "x"  # type: ignore[attr-defined]
    # What is set on a parent counts more than the default of a child.
    assert type(loaded.cluster_config).__name__ == "OurConfig"
    assert loaded.cluster_config.queue == "q"  # type: ignore[attr-defined]
    del sys.modules["our_site"]


def test_a_class_under_the_name_of_its_parent(config: Load) -> None:
    loaded = config(
        "from gateway.backends import local\n"
        "from gateway.configurable import setting\n"
        "class UnsafeLocalBackend(local.UnsafeLocalBackend):\n"
        "    more: int = setting(default=1, help='More.')\n"
        "c.DaskGateway.backend_class = UnsafeLocalBackend\n"
        "c.UnsafeLocalBackend.more = 2\n"
        "c.UnsafeLocalBackend.parallelism = 3\n"
        "class Further(UnsafeLocalBackend): pass\n"
    )
    assert (loaded.backend.more, loaded.backend.parallelism) == (2, 3)  # type: ignore[attr-defined]


# Mistakes


def test_five_different_mistakes_are_named_at_once(mistakes: Mistakes) -> None:
    assert mistakes(
        'c.Proxy.adress = ":8000"\n'
        'c.Prxy.address = ":8000"\n'
        'c.ClusterConfig.worker_cores = "two"\n'
        "\n"
        'c.DaskGateway.backend_class = "gateway.backends.local.UnsafeLocalBckend"\n'
        'c.Proxy.tls_key = "key.pem"\n'
        "1 / 0\n"
    ) == [
        "config.py:1: c.Proxy.adress = ':8000': Proxy has no option 'adress' (did you mean 'address'?)",
        "config.py:2: c.Prxy.address = ':8000': there is no class 'Prxy' (did you mean 'Proxy'?)",
        "config.py:3: c.ClusterConfig.worker_cores = 'two': must be an integer",
        "config.py:5: c.DaskGateway.backend_class = 'gateway.backends.local.UnsafeLocalBckend': cannot be imported: "
        "AttributeError: module 'gateway.backends.local' has no attribute 'UnsafeLocalBckend' "
        "(did you mean 'UnsafeLocalBackend'?)",
        "config.py:6: c.Proxy.tls_key = 'key.pem': needs tls_cert: HTTPS takes both",
        "config.py:7: ZeroDivisionError: division by zero",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "c.Backend.db_debug = 1\n",
            "c.Backend.db_debug = 1: Backend has no option 'db_debug' (it is an option of DBBackendBase)",
        ),
        ("c.Proxy = 3\n", "c.Proxy = 3: set its options, c.Proxy.<option> = ..."),
        ("c.Proxy.address\nx = c.Nothing.at_all\n", "AttributeError: c.Nothing.at_all is neither set nor known"),
        ("x = c.Proxy.nothing\n", "AttributeError: c.Proxy.nothing is neither set nor known"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("def f():\n    raise ValueError('x')\nf()\n", "ValueError: x"),
        ("import nothing_at_all\n", "ModuleNotFoundError: No module named 'nothing_at_all'"),
        (
            "from dask_gateway_server.options import Option\n",
            "ImportError: this gateway has no counterpart of dask_gateway_server.options.Option (there are: Bool, "
            "Field, Float, FrozenAttrDict, Integer, Mapping, Options, Select, String)",
        ),
        (
            "from dask_gateway_server.options import Integer\nInteger('cores', default=9, max=4)\n",
            "cores must be at most 4, got 9",
        ),
        ("load_subconfig('config.py')\n", "load_subconfig: config.py loads itself"),
        ("load_subconfig('none.py')\n", "load_subconfig: cannot read none.py: No such file or directory"),
        (
            "c.DaskGateway.authenticator_class = int\n",
            "c.DaskGateway.authenticator_class = <class 'int'>: must be a subclass of Authenticator",
        ),
        (
            "c.DaskGateway.authenticator_class = 'gateway.auth.Authenticator'\n",
            "c.DaskGateway.authenticator_class = 'gateway.auth.Authenticator': "
            "is a base only: it has no authenticate()",
        ),
        (
            "c.DaskGateway.backend_class = 'gateway.backends.settings.DBBackendBase'\n",
            "c.DaskGateway.backend_class = 'gateway.backends.settings.DBBackendBase': "
            "is a base only: it has no open_driver()",
        ),
        ("c.DBBackendBase.db_url = 3\n", "c.DBBackendBase.db_url = ********: must be text"),
        (
            "c.SimpleAuthenticator.pasword = 'hunter2'\n",
            "c.SimpleAuthenticator.pasword = ********: SimpleAuthenticator has no option 'pasword' "
            "(did you mean 'password'?)",
        ),
        (
            "c.ClusterConfig.cluster_max_memory = '1 G'\n",
            "c.ClusterConfig.cluster_max_memory = '1 G': scheduler_memory must not exceed cluster_max_memory "
            "(1073741824 bytes), got 2147483648",
        ),
        ("c.ClusterConfig.environment['A'] = 1\n", "c.ClusterConfig.environment = {'A': 1}: 'A': must be text"),
    ],
)
def test_mistakes(mistakes: Mistakes, text: str, line: str) -> None:
    (message,) = mistakes(text)
    place, _, rest = message.partition(": ")
    assert rest == line
    assert place.startswith("config.py:")


def test_lines_are_those_of_the_cause(mistakes: Mistakes, tmp_path: Path) -> None:
    (tmp_path / "sub.py").write_text("def helper(c):\n    c.Proxy.a = 1\nx = 1\nimport nothing_at_all\n")
    assert mistakes("load_subconfig('sub.py')\ndef f():\n    return int('x')\nsetattr(c.Proxy, 'b', 2)\nf()\n") == [
        "sub.py:4: ModuleNotFoundError: No module named 'nothing_at_all'",
        "config.py:4: c.Proxy.b = 2: Proxy has no option 'b' (did you mean 'memory_budget'?)",
        "config.py:3: ValueError: invalid literal for int() with base 10: 'x'",
    ]


def test_a_mistake_does_not_breed_others(mistakes: Mistakes) -> None:
    assert mistakes("c.Proxy.tls_key = 'k'\nc.Proxy.tls_cert = 3\n") == [
        "config.py:2: c.Proxy.tls_cert = 3: must be text"
    ]


def test_mistakes_on_the_command_line(mistakes: Mistakes) -> None:
    assert mistakes(
        "c.Proxy.a = 1\n", "--Proxy.address=x", "--Porxy.address=:1", "--ClusterConfig.worker_cores=2.5"
    ) == [
        "config.py:1: c.Proxy.a = 1: Proxy has no option 'a' (did you mean 'address'?)",
        "command line: --Proxy.address = 'x': must be HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT, "
        "with a port up to 65535; or unix:/PATH, fd://NUMBER, systemd or systemd:NAME",
        "command line: --Porxy.address = ':1': there is no class 'Porxy' (did you mean 'Proxy'?)",
        "command line: --ClusterConfig.worker_cores = '2.5': must be an integer",
    ]
    with pytest.raises(ConfigError, match=r"write --Class\.option=value"):
        load(None, ["--Proxy.address"])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*none\.py: No such file or directory"):
        load(tmp_path / "none.py")


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"x = '\x00'\n", b"# coding: nonsense\n"])
def test_a_file_that_is_no_python(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "config.py"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"The configuration has a mistake:\n.*config\.py"):
        load(path)


def test_mistakes_in_classes_of_the_site(mistakes: Mistakes) -> None:
    head = "from gateway.backends.local import UnsafeLocalBackend\nfrom gateway.configurable import setting\n"
    # Once, though the class is met twice.
    assert mistakes(
        f"{head}class Ours(UnsafeLocalBackend):\n    a: int = setting(default=1)\nc.DaskGateway.backend_class = Ours\n"
    ) == ["config.py:3: class Ours (dask_gateway_config): Ours.a needs help"]
    assert mistakes(f"{head}class Ours(UnsafeLocalBackend):\n    a = setting(default=1, help='x')\n") == [
        "config.py:3: class Ours (dask_gateway_config): The following `attr.ib`s lack a type annotation: a."
    ]
    assert mistakes(
        f"{head}class Ours(UnsafeLocalBackend):\n    def __attrs_post_init__(self): 1 / 0\n"
        "c.DaskGateway.backend_class = Ours\n"
    ) == ["dask_gateway_config.Ours: ZeroDivisionError: division by zero"]
    assert mistakes(
        f"{head}class Ours(UnsafeLocalBackend):\n    cluster_heartbeat_timeout = 1\n"
        "c.DaskGateway.backend_class = Ours\n"
    ) == [
        "config.py:4: Ours: cluster_heartbeat_timeout must be more than cluster_heartbeat_period (15 seconds), got 1.0",
    ]


def test_an_installation_without_its_own_defaults(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("gateway.auth.simple.SimpleAuthenticator")
    (line,) = mistakes("")
    assert line.startswith("DaskGateway: authenticator_class cannot be imported: AttributeError")


def test_classes_that_are_no_classes(mistakes: Mistakes) -> None:
    assert mistakes("c.DaskGateway.backend_class = 3\nc.DaskGateway.authenticator_class = 'x'\n") == [
        "config.py:1: c.DaskGateway.backend_class = 3: must be a class or the dotted name of one",
        "config.py:2: c.DaskGateway.authenticator_class = 'x': must be a dotted name such as \"package.module.Class\"",
    ]


# The guide of the original for HPC, once its batch systems are here


def test_the_guides_example_for_pbs(config: Load) -> None:
    loaded = config(original_guide.PBS)
    assert type(loaded.backend).__name__ == "PBSBackend"
    assert loaded.backend.cluster_start_timeout == loaded.backend.worker_start_timeout == 600
    assert type(loaded.cluster_config).__name__ == "PBSClusterConfig"
    assert loaded.cluster_config.queue == "dask"  # type: ignore[attr-defined]
    assert loaded.cluster_config.worker_memory == 4 << 30
    assert loaded.cluster_config.scheduler_cmd == ("~/miniconda/bin/dask-scheduler",)


GUIDE_SLURM = f"""
{original_guide.SLURM}
c.Proxy.address = ':8000'
c.Proxy.tcp_address = ':8001'
c.JobQueueClusterConfig.scheduler_cmd = "/path/to/dask-scheduler"
c.JobQueueClusterConfig.worker_cmd = "/path/to/dask-worker"
c.JobQueueClusterConfig.scheduler_setup = 'source /path/to/miniconda/bin/activate /path/to/environment'
c.JobQueueClusterConfig.worker_setup = 'source /path/to/miniconda/bin/activate /path/to/environment'
{original_guide.OPTIONS}
c.JobQueueClusterConfig.worker_memory = '4 G'
c.JobQueueClusterConfig.worker_cores = 2
c.JobQueueClusterBackend.cluster_start_timeout = 600
c.JobQueueClusterBackend.worker_start_timeout = 600
c.SlurmClusterConfig.partition = "dask"
"""


def test_the_guides_lines_for_slurm(config: Load) -> None:
    loaded = config(GUIDE_SLURM)
    assert type(loaded.backend).__name__ == "SlurmBackend"
    assert loaded.backend.cluster_start_timeout == loaded.backend.worker_start_timeout == 600
    assert loaded.proxy.tcp_address == ":8001"
    assert loaded.cluster_config.worker_cores == 2
    assert loaded.cluster_config.partition == "dask"  # type: ignore[attr-defined]
    options = loaded.backend.cluster_options
    assert isinstance(options, Options)
    setup = "source ~/miniconda/bin/activate base"
    assert options.configuration(options.parse({}), User("alice")) == {"scheduler_setup": setup, "worker_setup": setup}


def test_every_built_in_class_is_valid_by_default() -> None:
    classes = builtin_classes()
    assert {"DaskGateway", "Proxy", "Authenticator", "ClusterConfig", "Backend", "UnsafeLocalBackend"} <= set(classes)
    for cls in classes.values():
        assert (cls.__doc__ or "").strip()
        cls()
    assert [cls.__module__ for cls in classes.values()] == sorted(
        (cls.__module__ for cls in classes.values()), key=MODULES.index
    )


@pytest.mark.parametrize("option", ["KubeBackend.api_token", "Proxy.secret_word", "X.PASSWD", "Proxy.api_key_2"])
def test_unknown_options_that_sound_like_secrets_are_masked(mistakes: Mistakes, option: str) -> None:
    (line,) = mistakes(f"c.{option} = 's3cr3t'\n")
    assert "s3cr3t" not in line
    assert "********" in line


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("--ClusterConfig.environment={'A': 1}", "'A': must be text"),
        ("--LocalBackend.inherited_environment=['A', 3]", "every item must be text"),
        ("--Proxy.trusted_proxies=['10.0.0.300']", "10.0.0.300"),
    ],
)
def test_a_literal_on_the_command_line_is_told_its_own_mistake(mistakes: Mistakes, override: str, reason: str) -> None:
    (line,) = mistakes("", override)
    assert reason in line
    assert "must be a list" not in line
    assert "must be a dictionary" not in line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("c.KubeBackend.gateway_instance = 'x'\n", "there is no class 'KubeBackend': this gateway is for Slurm, PBS"),
        ("c.UserCache.max_age = 1\n", "users are kept in cookies for c.Authenticator.cache_max_age"),
        ("c.Application.log_level = 10\n", "for example c.DaskGateway.log_level"),
    ],
)
def test_sections_without_a_class_say_what_to_do(mistakes: Mistakes, text: str, reason: str) -> None:
    (line,) = mistakes(text)
    assert reason in line


def test_a_package_that_is_not_here(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)  # type: ignore[arg-type]
    (line,) = mistakes("\nfrom aiohttp import web\n")
    assert line.startswith("config.py:2: ModuleNotFoundError: ")
    assert "raise `dask_gateway_server.auth.unauthorized(...)` instead of web.HTTPUnauthorized" in line


def test_get_config_takes_nothing(mistakes: Mistakes) -> None:
    assert mistakes("get_config(1)\n") == ["config.py:1: TypeError: get_config() takes no arguments"]


def test_several_options_of_one_class_that_cannot_be_passed_on_are_all_named(tmp_path):
    file = tmp_path / "config.py"
    file.write_text(
        'c.DaskGateway.backend_class = "gateway.backends.slurm_backend.SlurmBackend"\n'
        'c.SlurmClusterConfig.worker_setup = "#SBATCH --output=/tmp/x\\nmodule load a"\n'
        'c.SlurmClusterConfig.extra_args = ["--mem-per-cpu=1G", "--mem-per-gpu=1G"]\n'
        'c.JobQueueBackend.submit_command = "/usr/bin/env"\n'
        'c.JobQueueClusterConfig.scheduler_setup = "true\\n#SBATCH --time=1"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(file)
    _, *mistakes = str(caught.value).splitlines()
    assert [mistake.partition(": ")[0].rpartition(":")[2] for mistake in mistakes] == ["2", "3", "4"]
    assert "line 1 (#SBATCH --output=/tmp/x): " in mistakes[0]
    assert "both --mem-per-cpu and --mem-per-gpu" in mistakes[1]
    assert "would not be run: the launcher only runs an absolute path that ends in /sbatch" in mistakes[2]


def test_directives_that_nobody_reads_are_a_warning(tmp_path):
    file = tmp_path / "config.py"
    file.write_text(
        'c.DaskGateway.backend_class = "gateway.backends.slurm_backend.SlurmBackend"\n'
        'c.JobQueueClusterConfig.scheduler_setup = "true\\n#SBATCH --time=1"\n'
    )
    *_, warning = load(file).warnings
    assert "SlurmClusterConfig.scheduler_setup has #SBATCH lines below its first command" in warning


def test_several_wrong_values_at_once_are_all_named_to_the_user():
    with pytest.raises(SettingErrors) as caught:
        with_overrides(SlurmClusterConfig(), {"extra_args": ["--wrap=x"], "worker_setup": "#SBATCH --uid=0"})
    assert [error.option for error in caught.value.errors] == ["extra_args", "worker_setup"]


# Who can be whom

PASSWORD = "c.SimpleAuthenticator.password = 'x'\n"
BACKEND = "c.DaskGateway.backend_class = 'gateway.backends.{}'\n"
LOCAL, UNSAFE = BACKEND.format("local.LocalBackend"), BACKEND.format("local.UnsafeLocalBackend")
SLURM = BACKEND.format("slurm_backend.SlurmBackend")
LOOPBACK = "c.Proxy.address = '127.0.0.1:0'\n"
OWN = """
from gateway.auth import SimpleAuthenticator
class Own(SimpleAuthenticator):
    async def authenticate(self, request):
        ...
c.DaskGateway.authenticator_class = Own
"""


@pytest.mark.parametrize(
    "text",
    [
        PASSWORD,
        PASSWORD + SLURM,
        PASSWORD + LOCAL,
        OWN,
        OWN + LOCAL,
        LOOPBACK,
        LOOPBACK + SLURM,
        "c.Proxy.address = 'localhost:1'\nc.DaskGateway.address = '[::1]:2'\n",
    ],
)
def test_nothing_to_warn_of_when_users_are_known_or_local(config: Load, text: str) -> None:
    assert config(text).warnings == ()


@pytest.mark.parametrize(
    ("text", "is_warned_of"),
    [
        ("", True),
        ("c.Proxy.address = '0.0.0.0:1'\n", True),
        (LOOPBACK, False),
        ("c.Proxy.address = 'unix:/run/gateway'\n", False),
        ("c.Proxy.trusted_proxies = ['10.0.0.1']\n", False),
    ],
)
def test_passwords_of_accounts_are_not_for_the_network(config: Load, text: str, is_warned_of: bool) -> None:
    warnings = config(f"{OWN}Own.takes_account_passwords = True\n{text}").warnings
    assert [warning.partition(":")[0] for warning in warnings] == [
        "PASSWORDS CAN BE READ ON THE NETWORK"
    ] * is_warned_of


@pytest.mark.parametrize("backend", [UNSAFE, SLURM])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "c.SimpleAuthenticator.password = ''\n",
        "c.Proxy.address = '0.0.0.0:1'\n",
        "c.Proxy.address = 'unix:/run/gateway'\n",
        "c.Proxy.address = 'systemd'\n",
        "c.Proxy.address = '10.1.2.3:1'\n",
        "c.Proxy.address = '127.0.0.1.example.org:1'\n",
        LOOPBACK + "c.DaskGateway.address = ':2'\n",
    ],
)
def test_a_gateway_that_believes_anybody_is_warned_of(config: Load, backend: str, text: str) -> None:
    (warning,) = config(text + backend).warnings
    assert warning.startswith("ANYBODY CAN ACT AS ANYBODY: SimpleAuthenticator.password is not set")
    assert "Set c.SimpleAuthenticator.password, or c.DaskGateway.authenticator_class" in warning


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "SimpleAuthenticator.password must be set"),
        (
            "c.SimpleAuthenticator.password = ''\n",
            "config.py:2: c.SimpleAuthenticator.password = ********: must be set",
        ),
        (LOOPBACK + "c.DaskGateway.address = ':2'\n", "whoever reaches :2 runs anything as any user"),
    ],
)
def test_processes_of_all_users_are_not_for_anybody_who_can_reach_a_port(
    mistakes: Mistakes, text: str, where: str
) -> None:
    (line,) = mistakes(LOCAL + text)
    assert where in line
    assert "listen at 127.0.0.1 only" in line


def test_processes_of_all_users_without_password_on_loopback_are_warned_of(config: Load) -> None:
    (warning,) = config(LOCAL + LOOPBACK).warnings
    assert "Each user of this machine can run anything as each other one." in warning


@pytest.mark.parametrize(
    ("override", "option"),
    [
        ("--SimpleAuthenticator.password=x", "SimpleAuthenticator.password"),
        ("--DBBackendBase.db_encrypt_keys=['" + "A" * 43 + "=']", "DBBackendBase.db_encrypt_keys"),
        ("--DBBackendBase.db_url=postgresql://me:secret@host/db", "DBBackendBase.db_url"),
    ],
)
def test_a_secret_on_the_command_line_is_warned_of(config: Load, override: str, option: str) -> None:
    (warning,) = config(LOOPBACK, override).warnings
    assert warning.startswith(f"--{option} on the command line can be read by each user of this machine: ")
    assert "secret@" not in warning


@pytest.mark.parametrize("override", ["--DBBackendBase.db_url=sqlite:///x.sqlite", "--Proxy.prefix=/x"])
def test_what_is_no_secret_may_stand_on_the_command_line(config: Load, override: str) -> None:
    assert config(LOOPBACK + "c.DBBackendBase.db_url = 'postgresql://me:secret@host/db'\n", override).warnings == ()


def test_groups_that_do_not_exist_are_a_mistake(mistakes: Mistakes) -> None:
    (line,) = mistakes(PASSWORD + LOCAL + "c.LocalBackend.allowed_groups = ['root', 'no-such-group']\n")
    assert line.startswith("config.py:3: c.LocalBackend.allowed_groups = ")
    assert line.endswith("has the group 'no-such-group', which does not exist on this machine")


# Sharing


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "c.ClusterConfig.share_view = ['@support']",
            "config.py:1: c.ClusterConfig.share_view = ['@support']: is of no use: clusters cannot be shared here,"
            " unless c.Backend.sharing allows it",
        ),
        (
            "c.ClusterConfig.share_use = 'bob'\nc.Backend.sharing = 'view'",
            "config.py:1: c.ClusterConfig.share_use = 'bob': is of no use: clusters can only be shared for"
            " viewing here, unless c.Backend.sharing allows use",
        ),
    ],
)
def test_shares_that_the_site_does_not_allow_are_a_mistake(mistakes: Mistakes, text: str, mistake: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(mistake)


@pytest.mark.parametrize("text", ["view = ['@support']", "use = '@support, bob'"])
def test_shares_that_the_site_allows(config: Load, text: str) -> None:
    which = text.split()[0]
    loaded = config(f"c.Backend.sharing = {which!r}\nc.ClusterConfig.share_{text}")
    assert getattr(loaded.cluster_config, f"share_{which}")[0] == "@support"
