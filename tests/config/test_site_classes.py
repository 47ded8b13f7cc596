"""A site's own classes, as they come from the original: what is carried over, and what `check-config` says of the rest.

Each configuration here is one that the original takes.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.config.fields import SettingErrors, dump, setting_of, settings_of, with_overrides
from gateway.config.load import Config, load
from gateway.config.render import effective
from gateway.errors import ConfigError

Load = Callable[..., Config]
Mistakes = Callable[..., list[str]]

HEAD = """\
from traitlets import *
from dask_gateway_server.traitlets import Command, MemoryLimit
from dask_gateway_server.auth import Authenticator, SimpleAuthenticator, User
from dask_gateway_server.backends.local import LocalClusterConfig, UnsafeLocalBackend
from dask_gateway_server.backends.jobqueue.slurm import SlurmBackend, SlurmClusterConfig
from dask_gateway_server.backends.jobqueue.pbs import PBSBackend, PBSClusterConfig
from dask_gateway_server.options import Options, String
"""
LINES = HEAD.count("\n")


@pytest.fixture
def config(tmp_path: Path) -> Load:
    """Load a configuration from the text of a file, after the usual imports."""

    def load_text(text: str) -> Config:
        path = tmp_path / "config.py"
        path.write_text(HEAD + text)
        return load(path)

    return load_text


@pytest.fixture
def mistakes(config: Load, tmp_path: Path) -> Mistakes:
    """The mistakes of a file, with line numbers counted from after the usual imports."""

    def lines(text: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            config(text)
        told = []
        for line in str(caught.value).splitlines()[1:]:
            place, colon, rest = line.replace(f"{tmp_path}/", "").partition(": ")
            file, _, number = place.partition(":")
            told.append(f"{int(number) - LINES}: {rest}" if file == "config.py" else f"{place}{colon}{rest}")
        return told

    return lines


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Make `our_site` a module with this text after the usual imports."""

    def make(text: str) -> None:
        (tmp_path / "our_site.py").write_text(HEAD + text)
        monkeypatch.syspath_prepend(tmp_path)

    yield make
    sys.modules.pop("our_site", None)


def slurm(body: str, *, before: str = "", after: str = "") -> str:
    """A configuration whose clusters have options of the class SiteConfig with this body."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return (
        f"{before}class SiteConfig(SlurmClusterConfig):\n{lines}\n"
        "c.DaskGateway.backend_class = SlurmBackend\nc.SlurmBackend.cluster_config_class = SiteConfig\n" + after
    )


# ---- traits are options


@pytest.mark.parametrize(
    ("trait", "default", "good", "kept", "bad"),
    [
        ('Unicode("", config=True, help="limit")', "", "2:00", "2:00", 3),
        ('Unicode("x").tag(config=True)', "x", "y", "y", b"y"),
        ("Unicode(None, allow_none=True, config=True)", None, None, None, 3),
        ("Integer(2, min=1, max=4, config=True)", 2, 4, 4, 5),
        ("Int(2, config=True)", 2, 0, 0, "2"),
        ("Float(0.5, max=1, config=True)", 0.5, 1, 1.0, 1.5),
        ("Float(config=True)", 0.0, -1.5, -1.5, "x"),
        ("Bool(True, config=True)", True, False, False, 1),
        ("List(config=True)", [], ["a", 1], ["a", 1], "ab"),
        ("List(Unicode(), ['a'], config=True)", ["a"], ["b"], ["b"], [1]),
        ("List(Integer(min=1), [1], config=True)", [1], [2], [2], [0]),
        ("List(Unicode(), ['a'], minlen=1, maxlen=2, config=True)", ["a"], ["a", "b"], ["a", "b"], []),
        ("List(Unicode(), ['a'], minlen=1, config=True)", ["a"], ["b", "c"], ["b", "c"], []),
        ("Dict(config=True)", {}, {"a": 1}, {"a": 1}, [1]),
        ("Dict(value_trait=Unicode(), key_trait=Unicode(), config=True)", {}, {"a": "b"}, {"a": "b"}, {"a": 1}),
        ("Dict(value_trait=Integer(max=2), config=True)", {}, {"a": 1}, {"a": 1}, {"a": 3}),
        ("Enum(['a', 'b'], 'a', config=True)", "a", "b", "b", "c"),
        ("Enum(['a', 'b'], None, allow_none=True, config=True)", None, None, None, "c"),
        ("CaselessStrEnum(['A', 'B'], 'A', config=True)", "A", "b", "B", "c"),
        ("Any(config=True)", None, 3, 3, None),
        ("Any(7, config=True)", 7, "x", "x", None),
        ("Union([Integer(), Unicode()], default_value=3, config=True)", 3, "x", "x", []),
        ("Union([Integer(), Unicode()], default_value=3, allow_none=True, config=True)", 3, None, None, []),
        ("Set({1}, config=True)", {1}, {2}, {2}, 3),
        ("Tuple(Integer(), Unicode(), default_value=(1, 'x'), config=True)", (1, "x"), (2, "y"), (2, "y"), (1,)),
        ("CInt(3, config=True)", 3, "4", 4, "x"),
        ('Command("a", config=True)', ["a"], "b c", ["b", "c"], ""),
        ('Command(["a", "b"], config=True)', ["a", "b"], ["c"], ["c"], []),
        ('MemoryLimit("1 G", config=True)', 1 << 30, "2G", 2 << 30, "lots"),
        ("MemoryLimit(None, allow_none=True, min=0, config=True)", None, 5, 5, -1),
        ("Unicode(config=True)", "", "x", "x", 3),
        ("Unicode", "", "x", "x", 3),
        ("Unicode('without config=True')", "without config=True", "x", "x", 3),
    ],
)
def test_traits_of_clusters_options(config: Load, trait: str, default: Any, good: Any, kept: Any, bad: Any) -> None:
    cluster = config(slurm(f"extra = {trait}")).cluster_config
    assert cluster.extra == default  # type: ignore[attr-defined]
    changed = with_overrides(cluster, {"extra": good})
    assert changed.extra == kept  # type: ignore[attr-defined]
    assert type(changed.extra) is type(kept)  # type: ignore[attr-defined]
    stored = orjson.loads(orjson.dumps(dump(changed)))
    assert with_overrides(type(cluster)(), stored) == changed
    if bad is not None:
        with pytest.raises(SettingErrors, match="extra "):
            with_overrides(cluster, {"extra": bad})


def test_help_and_secrets_of_traits(config: Load) -> None:
    loaded = config(
        slurm('a = Unicode("", config=True, help="\\n  Two\\n  lines.\\n")\nb = Integer(config=True)\n')
        + "class Ours(SimpleAuthenticator):\n    api_token = Unicode(config=True)\n"
        "c.DaskGateway.authenticator_class = Ours\nc.Ours.api_token = 'hunter2'\n"
    )
    fields = settings_of(type(loaded.cluster_config))
    assert setting_of(fields["a"]).help == "Two lines."
    assert setting_of(fields["b"]).help == "An option of the site's own, an int."
    assert "hunter2" not in effective(loaded) + repr(loaded.authenticators[0])
    assert "c.Ours.api_token = ********" in effective(loaded)


def test_a_refused_secret_is_not_shown(mistakes: Mistakes) -> None:
    told = mistakes(
        "class Ours(SimpleAuthenticator):\n    api_token = Union([Integer()], default_value=1, config=True)\n"
        "c.DaskGateway.authenticator_class = Ours\nc.Ours.api_token = 'hunter2'\n"
    )
    assert len(told) == 1
    assert "hunter2" not in told[0]


def test_configuration_files_set_and_read_them(config: Load) -> None:
    loaded = config(
        slurm(
            'wall_time = Unicode("", config=True)\nwords = List(config=True)\n',
            after="c.SiteConfig.wall_time = '2:00'\nc.SiteConfig.words.append('a')\n"
            "assert c.SiteConfig.words == ['a']\n"
            "c.SlurmClusterConfig.worker_cores = 3\n"
            "c.Backend.cluster_options = Options(String('wall_time', default='3:00'))\n",
        )
    )
    assert (loaded.cluster_config.wall_time, loaded.cluster_config.words) == ("2:00", ["a"])  # type: ignore[attr-defined]
    assert loaded.cluster_config.worker_cores == 3
    assert "c.SiteConfig.wall_time = '2:00'  # " in effective(loaded)


def test_a_trait_narrows_an_option_of_ours(config: Load) -> None:
    loaded = config(
        slurm(
            'worker_memory = MemoryLimit("8 G", config=True)\n'
            "worker_cores = Integer(2, min=0, max=8, config=True, help='Cores.')\n"
            'partition = Enum(["gpu", "cpu"], "gpu", config=True)\n'
            "cluster_max_workers = Integer(5, config=True)\n"
        )
    )
    cluster = loaded.cluster_config
    assert (cluster.worker_memory, cluster.worker_cores, cluster.cluster_max_workers) == (8 << 30, 2, 5)
    for wrong in ({"worker_cores": 9}, {"worker_cores": 0}, {"partition": "tpu"}, {"worker_memory": 0}):
        with pytest.raises(SettingErrors):
            with_overrides(cluster, wrong)
    fields = settings_of(type(cluster))
    assert setting_of(fields["worker_cores"]).help == "Cores."
    assert setting_of(fields["worker_memory"]).help == "Memory of one worker."


def test_a_sites_own_kind_of_trait(config: Load) -> None:
    before = (
        "class Even(Integer):\n    def validate(self, obj, value):\n"
        "        if value % 2:\n            self.error(obj, value)\n        return value\n"
        "class Limit(MemoryLimit):\n    def validate(self, obj, value):\n"
        "        value = super().validate(obj, value)\n        if value > 100:\n"
        "            raise TraitError('too much')\n"
        "        return value\n"
        "class Plain(Unicode):\n    pass\n"
    )
    body = "a = Even(2, config=True)\nb = Limit('1', config=True)\nc = Plain('x', config=True)\nworker_cores = Even(4)"
    cluster = config(slurm(body, before=before)).cluster_config
    assert (cluster.a, cluster.b, cluster.c, cluster.worker_cores) == (2, 1, "x", 4)  # type: ignore[attr-defined]
    for wrong, reason in (
        ({"a": 3}, "a is refused: The 'a' trait expected an int, not the int 3"),
        ({"a": "x"}, "a is refused: TypeError: "),
        ({"b": "1 K"}, "b is refused: too much"),
        ({"b": "lots"}, "b is refused: must be a number of bytes"),
        ({"worker_cores": 5}, "worker_cores is refused: The 'worker_cores' trait expected"),
        ({"worker_cores": "x"}, "worker_cores must be an integer"),
    ):
        with pytest.raises(SettingErrors) as caught:
            with_overrides(cluster, wrong)
        assert str(caught.value).startswith(reason)


def test_a_subclass_of_the_one_for_jupyterhub(
    config: Load, mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://127.0.0.1:8081/hub/api")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", "of the environment")
    ours = (
        "from dask_gateway_server.auth import JupyterHubAuthenticator\n"
        "class Ours(JupyterHubAuthenticator):\n    domain = Unicode('site', config=True)\n"
        "    @default('jupyterhub_service_name')\n    def _name(self):\n        return f'gateway-of-{self.domain}'\n"
        "    async def authenticate(self, request):\n        return await super().authenticate(request)\n"
        "c.DaskGateway.authenticator_class = Ours\n"
    )
    one: Any = config(ours + "c.Ours.domain = 'x'\n").authenticators[0]
    assert one.jupyterhub_service_name == "gateway-of-x"
    assert (one.jupyterhub_api_url, one.jupyterhub_api_token) == ("http://127.0.0.1:8081/hub/api", "of the environment")
    assert one.reads == ()  # it is asked for every request, since it may read others than a token of the Hub's
    (line,) = mistakes(ours + "c.Ours.jupyterhub_api_url = 'hub'\n")
    assert "c.Ours.jupyterhub_api_url = 'hub': must be the URL of the Hub's API" in line


def test_options_of_backends_and_authenticators(config: Load) -> None:
    loaded = config(
        "class SiteBackend(UnsafeLocalBackend):\n    motto = Unicode('hello', config=True)\n    other = Integer(3)\n"
        "class Ours(SimpleAuthenticator):\n    url = Unicode('http://x', config=True)\n"
        "    seen = Dict()\n    made = List()\n    _hidden = Unicode('h', config=True)\n"
        "    @default('made')\n    def _make(self):\n        return [self.url]\n"
        "c.DaskGateway.backend_class = SiteBackend\nc.DaskGateway.authenticator_class = Ours\nc.Ours.url = 'http://y'\n"
    )
    assert (loaded.backend.motto, loaded.backend.other) == ("hello", 3)  # type: ignore[attr-defined]
    ours: Any = loaded.authenticators[0]
    ours.seen["a"] = 1  # what is no option is the authenticator's own state
    assert (ours.url, ours.seen, ours.made, ours._hidden) == ("http://y", {"a": 1}, ["http://y"], "h")
    ours.made = []
    ours.session = 3
    assert (ours.made, type(ours)().seen) == ([], {})
    del ours.session
    for change in ("ours.url = 'z'", "del ours.url"):
        with pytest.raises(AttributeError, match="url is an option, which stays as it was configured"):
            exec(change, {"ours": ours})
    assert {"seen", "made", "other", "_hidden"}.isdisjoint(
        {*settings_of(type(ours)), *settings_of(type(loaded.backend))}
    )


def test_instances_and_classes(config: Load) -> None:
    loaded = config(
        "import collections\n"
        "class Ours(SimpleAuthenticator):\n"
        "    kind = Type(collections.OrderedDict, klass=dict, config=True)\n"
        "    named = Type('dask_gateway_server.auth.SimpleAuthenticator', "
        "klass='dask_gateway_server.auth.Authenticator', config=True)\n"
        "    any_class = Type(config=True)\n"
        "    counter = Instance(collections.Counter, args=(), config=True)\n"
        "    by_name = Instance('collections.Counter', allow_none=True, config=True)\n"
        "    call = Callable(len, config=True)\n"
        "c.DaskGateway.authenticator_class = Ours\n"
    )
    ours: Any = loaded.authenticators[0]
    assert (ours.kind.__name__, ours.named.__name__, ours.any_class) == ("OrderedDict", "SimpleAuthenticator", object)
    assert (ours.counter, ours.by_name, ours.call("abc")) == ({}, None, 3)
    for wrong in ({"kind": int}, {"named": int}, {"counter": 3}, {"by_name": []}, {"call": 3}):
        with pytest.raises(SettingErrors):
            with_overrides(ours, wrong)


# ---- defaults and checks of the site's own


def test_defaults_that_a_method_computes(config: Load) -> None:
    body = (
        "queue_name = Unicode(config=True)\n"
        "@default('queue_name')\ndef _a(self):\n    return 'q-' + self.label\n"
        "label = Unicode(config=True)\n"
        "@default('label')\ndef _b(self):\n    return self.partition or 'none'\n"
        "@default('worker_threads')\ndef _c(self):\n    return self.worker_cores * 2\n"
        "def _account_default(self):\n    return 'acc'\n"
    )
    cluster: Any = config(
        slurm(body, after="c.SiteConfig.partition = 'gpu'\nc.SiteConfig.worker_cores = 3\n")
    ).cluster_config
    assert (cluster.queue_name, cluster.label, cluster.worker_threads, cluster.account) == ("q-gpu", "gpu", 6, "acc")
    # A user's choice counts for what is computed from it, unless the user chose that as well.
    chosen: Any = with_overrides(cluster, {"worker_cores": 5, "partition": "cpu", "label": "mine"})
    assert (chosen.queue_name, chosen.label, chosen.worker_threads) == ("q-mine", "mine", 10)
    assert with_overrides(type(cluster)(), dump(chosen)) == chosen
    assert "c.SiteConfig.worker_threads = 6  # default" in effective(
        config(slurm(body, after="c.SiteConfig.worker_cores = 3\n"))
    )


def test_a_subclass_overrides_a_computed_default(config: Load) -> None:
    cluster: Any = config(
        "class Parent(SlurmClusterConfig):\n    @default('account')\n    def _account(self):\n        return 'parent'\n"
        "    @default('qos')\n    def _qos(self):\n        return self.account\n"
        + slurm("account = 'child'").replace("SlurmClusterConfig", "Parent")
    ).cluster_config
    assert (cluster.account, cluster.qos) == ("child", "child")


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("raise ValueError('API_TOKEN must be set')", "cannot be computed: ValueError: API_TOKEN must be set"),
        ("return 3", "must be text, got 3"),
        ("return self.account", "is computed from itself (_a)"),
        ("return self.nothing", "cannot be computed: AttributeError: "),
    ],
)
def test_defaults_that_cannot_be_computed(mistakes: Mistakes, method: str, reason: str) -> None:
    (told,) = mistakes(slurm(f"@default('account')\ndef _a(self):\n    {method}"))
    assert told.startswith(("1: SiteConfig: account ", "SiteConfig: account "))
    assert reason in told


def test_checks_of_the_sites_own(config: Load) -> None:
    body = (
        "wall_time = Unicode('', config=True)\n"
        "@validate('wall_time', 'account')\ndef _a(self, proposal):\n"
        "    if proposal['value'] == 'bad':\n        raise TraitError('no bad times')\n"
        "    if proposal.value == 'worse':\n        raise KeyError('x')\n"
        "    assert proposal.owner is self and proposal.trait in ('wall_time', 'account')\n"
        "    assert not hasattr(proposal, 'nothing')\n"
        "    return proposal.value.upper() if proposal.value != 'none' else None\n"
    )
    cluster: Any = config(slurm(body, after="c.SiteConfig.wall_time = '2h'\n")).cluster_config
    assert (cluster.wall_time, cluster.account) == ("2H", "")
    assert with_overrides(cluster, {"account": "a"}).account == "A"
    for value, reason in (
        ("bad", "wall_time is refused: no bad times, got 'bad'"),
        ("worse", "wall_time is refused: KeyError: 'x', got 'worse'"),
        ("none", "wall_time must be text, got None"),
    ):
        with pytest.raises(SettingErrors) as caught:
            with_overrides(cluster, {"wall_time": value})
        assert str(caught.value) == reason


def test_checks_come_before_those_that_concern_several_options(config: Load, mistakes: Mistakes) -> None:
    body = "@validate('cluster_max_memory')\ndef _a(self, proposal):\n    return max(proposal.value, 4 << 30)\n"
    cluster = config(slurm(body, after="c.SiteConfig.cluster_max_memory = '1 G'\n")).cluster_config
    assert cluster.cluster_max_memory == 4 << 30
    own = "def __attrs_post_init__(self):\n    super().__attrs_post_init__()\n    assert not self.cluster_max_memory\n"
    assert config(slurm(body + own)).cluster_config.cluster_max_memory is None
    authenticator = (
        "class Ours(SimpleAuthenticator):\n    @validate('password')\n    def _a(self, proposal):\n"
        "        raise ValueError('is too weak')\n"
        "c.DaskGateway.authenticator_class = Ours\nc.SimpleAuthenticator.password = 'hunter2'\n"
    )
    assert mistakes(authenticator) == ["6: c.SimpleAuthenticator.password = ********: is refused: is too weak"]


def test_a_check_may_refuse_in_our_words(config: Load) -> None:
    body = (
        "@validate('account')\ndef _a(self, proposal):\n"
        "    from gateway.configurable import SettingError\n    raise SettingError('account', 'must be paid')\n"
    )
    with pytest.raises(SettingErrors, match="account must be paid"):
        with_overrides(config(slurm(body)).cluster_config, {"account": "x"})


# ---- wherever it stands


@pytest.mark.parametrize(
    "classes",
    [
        "class Mixin:\n    gpus = Integer(1, max=4, config=True)\n    worker_cores = 2\n"
        "class SiteConfig(Mixin, SlurmClusterConfig): pass\n",
        "class Grandmixin:\n    gpus = Integer(1, max=4, config=True)\n"
        "class Mixin(Grandmixin):\n    worker_cores = 2\n"
        "class SiteConfig(Mixin, SlurmClusterConfig): pass\n",
        "class Mixin:\n    gpus = Integer(1, max=4, config=True)\n    worker_cores = 9\n    partition = Unicode('no')\n"
        "class SiteConfig(SlurmClusterConfig, Mixin):\n    worker_cores = 2\n",
        "class Parent(SlurmClusterConfig):\n    gpus = Integer(1, max=4, config=True)\n"
        "class SiteConfig(Parent):\n    worker_cores = 2\n",
        "class A(SlurmClusterConfig):\n    gpus = Integer(1, max=4, config=True)\n"
        "class B(SlurmClusterConfig):\n    worker_cores = 2\n"
        "class SiteConfig(A, B): pass\n",
        "class B(SlurmClusterConfig):\n    gpus = Integer(1, max=4, config=True)\n"
        "class A(SlurmClusterConfig):\n    worker_cores = 2\n"
        "class SiteConfig(A, B): pass\n",
        "class Mixin:\n    @default('worker_cores')\n    def _a(self):\n        return 2\n"
        "    @validate('gpus')\n    def _b(self, proposal):\n        return proposal.value\n"
        "class SiteConfig(Mixin, SlurmClusterConfig):\n    gpus = Integer(1, max=4, config=True)\n",
        "from gateway.configurable import setting\n"
        "class Mixin:\n    gpus: int = setting(default=1, maximum=4, help='GPUs.')\n    worker_cores: int = 2\n"
        "class SiteConfig(Mixin, SlurmClusterConfig): pass\n",
        "def make():\n    class SiteConfig(SlurmClusterConfig):\n        gpus = Integer(1, max=4, config=True)\n"
        "        worker_cores: 'int' = 2\n    return SiteConfig\nSiteConfig = make()\n",
    ],
    ids=range(9),
)
def test_options_come_from_parents_and_mixins(config: Load, classes: str) -> None:
    ways = (
        "c.SlurmBackend.cluster_config_class = SiteConfig\n",
        "class SiteBackend(SlurmBackend):\n    cluster_config_class = SiteConfig\n"
        "c.DaskGateway.backend_class = SiteBackend\n",
        "class SiteBackend(SlurmBackend):\n    @default('cluster_config_class')\n    def _a(self):\n"
        "        return SiteConfig\nc.DaskGateway.backend_class = SiteBackend\n",
    )
    for way in ways:
        loaded = config(f"{classes}c.DaskGateway.backend_class = SlurmBackend\n{way}c.SiteConfig.gpus = 3\n")
        cluster: Any = loaded.cluster_config
        assert (cluster.gpus, cluster.worker_cores, cluster.partition) == (3, 2, "")
        with pytest.raises(SettingErrors, match="gpus must be at most 4"):
            with_overrides(cluster, {"gpus": 5})


def test_classes_of_an_imported_module(config: Load, module: Callable[[str], None], mistakes: Mistakes) -> None:
    module(
        "class Mixin:\n    async def start_cluster(self, user, cluster_options):\n        raise Exception('no')\n"
        "class Config(LocalClusterConfig):\n    gpus = Integer(1, config=True)\n"
        "class Parent(UnsafeLocalBackend):\n    cluster_config_class = Config\n"
        "class Good(Parent):\n    parallelism: int = 7\n"
        "class Bad(Mixin, Parent): pass\n"
    )
    loaded = config('c.DaskGateway.backend_class = "our_site.Good"\nc.Config.gpus = 2\n')
    assert (loaded.backend.parallelism, loaded.cluster_config.gpus) == (7, 2)  # type: ignore[attr-defined]
    (told,) = mistakes('c.DaskGateway.backend_class = "our_site.Bad"\n')
    assert told.startswith(f"our_site.py:{LINES + 2}: Mixin.start_cluster() is never called here: to refuse a cluster")


def test_a_module_that_cannot_be_imported(module: Callable[[str], None], mistakes: Mistakes) -> None:
    module("\nfrom dask_gateway_server.auth import UserCache\n")
    (told,) = mistakes('c.DaskGateway.authenticator_class = "our_site.Ours"\n')
    assert f"our_site.py:{LINES + 2})" in told
    (told,) = mistakes("\nimport our_site\n")
    assert told.startswith("2: ImportError: this gateway has no counterpart of dask_gateway_server.auth.User")
    assert f"our_site.py:{LINES + 2})" in told


def test_annotations_that_are_text(config: Load, module: Callable[[str], None]) -> None:
    module(
        "from gateway.configurable import setting\n"
        "class Config(LocalClusterConfig):\n    size: 'int' = setting(default=1, help='A size.')\n"
        "    worker_cores: 'int' = 2\n    note: 'Nothing at all' = 'x'\n"
        "    def method(self): pass\n"
    )
    loaded = config('c.Backend.cluster_config_class = "our_site.Config"\nc.Config.size = 2\n')
    cluster: Any = loaded.cluster_config
    assert (cluster.size, cluster.worker_cores, cluster.note) == (2, 2, "x")


def test_annotations_that_mean_nothing(mistakes: Mistakes) -> None:
    (told,) = mistakes(
        "from gateway.configurable import setting\n"
        "class Ours(UnsafeLocalBackend):\n    size: 'Nothing' = setting(default=1, help='A size.')\n"
        "c.DaskGateway.backend_class = Ours\n"
    )
    assert told.startswith(
        "2: class Ours (dask_gateway_config): Ours.size must be made by setting(), with an annotation"
    )


def test_a_computed_default_of_an_option_made_by_setting(config: Load) -> None:
    body = (
        "from gateway.configurable import setting\nsize: int = setting(default=1, minimum=1, help='A size.')\n"
        "def _size_default(self):\n    return self.worker_cores + 1\n"
    )
    cluster: Any = config(slurm(body)).cluster_config
    assert (cluster.size, with_overrides(cluster, {"worker_cores": 3}).size) == (2, 4)


def test_annotated_defaults_and_attributes(config: Load) -> None:
    loaded = config(
        "class Ours(SimpleAuthenticator):\n    password: str = 'example'\n    seen: dict\n    url: str = 'http://x'\n"
        "    async def authenticate(self, request):\n        return User('ann')\n"
        "c.DaskGateway.authenticator_class = Ours\n"
    )
    ours: Any = loaded.authenticators[0]
    assert (ours.password, ours.url) == ("example", "http://x")
    assert "example" not in effective(loaded)
    assert config("class Ours(SimpleAuthenticator):\n    seen: dict\nc.DaskGateway.authenticator_class = Ours\n")


def test_functions_as_defaults(config: Load) -> None:
    loaded = config(
        "def options_for(user):\n    return Options()\n"
        "class A(UnsafeLocalBackend):\n    cluster_options = options_for\n"
        "class B(UnsafeLocalBackend):\n    cluster_options = staticmethod(options_for)\n"
        "class C(UnsafeLocalBackend):\n    cluster_options = Options(String('account'), handler=lambda options: {})\n"
        "c.DaskGateway.backend_class = A\nc.Backend.cluster_config_class = LocalClusterConfig\n"
    )
    assert callable(loaded.backend.cluster_options)


# ---- what cannot be carried over


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "class Ours(UnsafeLocalBackend):\n    async def start_cluster(self, user, cluster_options): pass\n"
            "    def get_submit_cmd_env_stdin(self, cluster, worker=None): pass\n    def helper(self): pass\n",
            ["2: Ours.start_cluster() is never called here: to refuse", "3: Ours.get_submit_cmd_env_stdin() is never"],
        ),
        (
            "class Ours(SlurmBackend):\n\n    supports_bulk_shutdown = True\n    default_host = '10.0.0.1'\n"
            "    @staticmethod\n    def parse_job_id(stdout): pass\n    @property\n    def get_tls_paths(self): pass\n",
            [
                "3: Ours.supports_bulk_shutdown has no effect here: ",
                "5: Ours.parse_job_id() is never called here: ",
                "7: Ours.get_tls_paths has no effect here: ",
            ],
        ),
        (
            "def start(self, *args): pass\nclass Ours(PBSBackend): pass\n"
            "Ours.do_start_worker = start\nOurs.get_env = lambda self, cluster: {}\n",
            ["1: Ours.do_start_worker() is never called here: ", "4: Ours.get_env() is never called here: "],
        ),
        (
            "class Ours(PBSBackend):\n    def _default_submit_command(self): return 'x'\n",
            ["2: Ours._default_submit_command() is never called here: set c.<Class>.submit_command, or decorate"],
        ),
        (
            "class Ours(UnsafeLocalBackend):\n    def cluster_options(self, user): pass\n    @property\n"
            "    def parallelism(self): return 3\n",
            [
                "2: Ours.cluster_options() is an option, for which no method or property can stand",
                "3: Ours.parallelism is an option, for which no method or property can stand: give it a value, or use "
                '@default("parallelism")',
            ],
        ),
        (
            "class Ours(UnsafeLocalBackend):\n    motto = Unicode(config=True)\n"
            "    @observe('motto')\n    def _a(self, change): pass\n"
            "    def _motto_changed(self, old, new): pass\n    def _motto_validate(self, value, trait): pass\n"
            "    @default('mottto')\n    def _b(self): pass\n    @validate(All)\n    def _c(self, proposal): pass\n"
            "    bad = Instance('nothing.at.All', config=True)\n",
            [
                "11: Ours.bad cannot be an option: it cannot be imported: ModuleNotFoundError: No module",
                "3: Ours._a() is never called here, since options do not change: use @validate",
                "5: Ours._motto_changed() is never called here, since options do not change",
                '6: Ours._motto_validate() is never called here: decorate it with @validate("motto")',
                "7: Ours._b() is for an option 'mottto', which there is not (did you mean 'motto'?)",
                "9: Ours._c() is for an option traitlets.All, which there is not: name the options one by one",
            ],
        ),
        (
            "class Ours(UnsafeLocalBackend):\n    motto = Unicode(config=True)\n"
            "    def __init__(self, *args, **kwargs):\n        super().__init__(*args, **kwargs)\n",
            ["3: Ours.__init__() cannot stand beside options or their defaults: do what it does in methods"],
        ),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass Mixin:\n    x: int = 3\n"
            "class Ours(Mixin, UnsafeLocalBackend):\n    parallelism = 3\n"
            "    def __setattr__(self, name, value): pass\n",
            ["7: Ours.__setattr__() cannot stand beside options", "3: Mixin.__init__() cannot stand beside options"],
        ),
        (
            "class Bad(Unicode):\n    def default(self, obj=None): raise RuntimeError('boom')\n"
            "class Ours(UnsafeLocalBackend):\n    x = Bad(config=True)\n",
            ["4: Ours.x cannot be an option: RuntimeError: boom"],
        ),
        (
            "class Mixin(HasTraits):\n    motto = Unicode(config=True)\nclass Ours(Mixin, UnsafeLocalBackend): pass\n",
            ["3: Ours has HasTraits of traitlets among its bases: leave it out"],
        ),
        (
            "from gateway.configurable import configurable\n@configurable\nclass Ours(UnsafeLocalBackend):\n"
            "    motto = Unicode(config=True)\n",
            ["4: Ours.motto declare it by setting() in a class that is decorated with @configurable, or leave"],
        ),
        (
            "class Ours(UnsafeLocalBackend):\n    parallelism: int = 0\n    n = Integer('three', config=True)\n",
            ["2: Ours: parallelism must be at least 1, got 0"],
        ),
        ("class Ours(UnsafeLocalBackend):\n    n = Integer('three', config=True)\n", ["2: Ours: n must be an integer"]),
    ],
    ids=range(13),
)
def test_what_cannot_be_carried_over_is_named(mistakes: Mistakes, text: str, told: list[str]) -> None:
    found = mistakes(f"{text}c.DaskGateway.backend_class = Ours\n")
    assert len(found) == len(told), found
    for line, begin in zip(found, told, strict=True):
        assert line.startswith(begin)


def test_clusters_configs_and_authenticators_too(mistakes: Mistakes) -> None:
    found = mistakes(
        "class Config(LocalClusterConfig):\n    def to_dict(self): pass\n"
        "class Ours(SimpleAuthenticator):\n    async def authenticate_and_handle(self, request, handler): pass\n"
        "    async def setup(self, app): pass\n    async def cleanup(self): pass\n"
        "    async def pre_response(self, request, response, context): pass\n    def get_token(self, request): pass\n"
        "c.Backend.cluster_config_class = Config\nc.DaskGateway.authenticator_class = Ours\n"
    )
    assert [line.partition(" is never")[0] for line in found] == [
        "2: Config.to_dict()",
        "4: Ours.authenticate_and_handle()",
    ]


def test_what_is_put_onto_the_gateways_own_classes(mistakes: Mistakes, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.backends.local.backend import UnsafeLocalBackend
    from gateway.config.proxy import Proxy

    monkeypatch.setattr(UnsafeLocalBackend, "start_cluster", None, raising=False)
    monkeypatch.setattr(Proxy, "add_route", None, raising=False)
    found = mistakes(
        "from dask_gateway_server.proxy import Proxy\nasync def start(self, user, options): pass\n"
        "UnsafeLocalBackend.start_cluster = start\nProxy.add_route = 3\n"
    )
    assert found[0].startswith("Proxy.add_route has no effect here: ")
    assert found[1].startswith("2: UnsafeLocalBackend.start_cluster() is never called here: ")
    assert len(found) == 2


def test_an_unused_class_is_no_mistake(config: Load) -> None:
    assert config("class Unused(UnsafeLocalBackend):\n    def start_cluster(self): pass\n")


def test_an_init_of_its_own_is_fine_without_options(config: Load) -> None:
    loaded = config(
        "class Ours(SimpleAuthenticator):\n    def __init__(self, *args, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n        self.seen = set()\n"
        "c.DaskGateway.authenticator_class = Ours\nc.Ours.password = 'x'\n"
    )
    assert loaded.authenticators[0].seen == set()  # type: ignore[attr-defined]


def test_a_batch_system_needs_its_own_options(mistakes: Mistakes, config: Load) -> None:
    own = "class Config({parent}): pass\nclass Ours(SlurmBackend): pass\nc.DaskGateway.backend_class = Ours\n"
    for parent in ("LocalClusterConfig", "PBSClusterConfig"):
        (told,) = mistakes(own.format(parent=parent) + "c.Backend.cluster_config_class = Config\n")
        assert told.startswith("4: c.Backend.cluster_config_class = ")
        assert told.endswith("must be a subclass of SlurmClusterConfig, whose options Ours reads")
    assert config(own.format(parent="SlurmClusterConfig") + "c.Backend.cluster_config_class = Config\n")


# ---- cluster options


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            "Options(String('worker_memry'))",
            "cannot be used without a handler, since LocalClusterConfig has no option 'worker_memry' (did you mean "
            "'worker_memory'?): name another target, or give Options a handler",
        ),
        (
            "Options(String('a', target='b'))",
            "cannot be used without a handler, since LocalClusterConfig has no option 'b'",
        ),
        ("Options", "is the class Options: write Options(...)"),
        ("lambda: Options()", "must be a function of one argument, the user"),
        ("lambda user, more: Options()", "must be a function of one argument, the user"),
        ("Unshowable()", "cannot be shown to users: KeyError: 'x'"),
    ],
)
def test_cluster_options_that_no_cluster_could_have(mistakes: Mistakes, options: str, reason: str) -> None:
    before = "class Unshowable(Options):\n    def get_specification(self): raise KeyError('x')\n"
    (told,) = mistakes(f"{before}c.Backend.cluster_options = {options}\n")
    place, _, rest = told.partition(": c.Backend.cluster_options = ")
    assert place == "3"
    assert reason in rest


def test_cluster_options_of_a_class(mistakes: Mistakes) -> None:
    (told,) = mistakes(
        "class Ours(UnsafeLocalBackend):\n    cluster_options = Options(String('nothing'))\n"
        "c.DaskGateway.backend_class = Ours\n"
    )
    assert told.startswith("2: Ours.cluster_options cannot be used without a handler")


@pytest.mark.parametrize(
    "options",
    [
        "Options(String('x'), handler=lambda options: {})",
        "Options(String('worker_memory', default='2 G'), String('cmd', default='a', target='worker_cmd'))",
        "lambda user: Options()",
        "lambda *users: Options()",
        "max",  # of which Python does not tell the arguments
        "Own(String('x'))",
    ],
)
def test_cluster_options_that_may_be(config: Load, options: str) -> None:
    before = "class Own(Options):\n    def get_configuration(self, options, user): return {}\n"
    assert config(f"{before}c.Backend.cluster_options = {options}\n")
