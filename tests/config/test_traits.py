"""The original's own traitlets, which work without the package of that name."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.backends.slurm.options import SlurmClusterConfig
from gateway.config.carry import Problem, carry
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingErrors, dump, settings_of, with_overrides
from gateway.config.load import Config, load
from gateway.config.traits import Callable as CallableTrait
from gateway.config.traits import (
    Command,
    Integer,
    List,
    MemoryLimit,
    TraitError,
    TraitType,
    Type,
    Unicode,
    is_trait,
    read,
)
from gateway.errors import ConfigError

Load = Callable[[str], Config]

HEAD = """\
from dask_gateway_server.traitlets import Callable, Command, Integer, List, MemoryLimit, TraitError, TraitType, Type
from dask_gateway_server.traitlets import Unicode
from dask_gateway_server.backends.jobqueue.slurm import SlurmBackend, SlurmClusterConfig
c.DaskGateway.backend_class = SlurmBackend
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a configuration where traitlets is not installed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "traitlets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "traitlets", None)  # type: ignore[arg-type]

    def load_text(text: str) -> Config:
        path = tmp_path / "config.py"
        path.write_text(HEAD + text)
        return load(path)

    return load_text


@pytest.mark.parametrize(
    ("trait", "default", "good", "kept", "bad"),
    [
        ("Unicode('x', config=True, help='Text.')", "x", "y", "y", 3),
        ("Unicode(allow_none=True, config=True)", "", None, None, 3),
        ("Integer(2, min=1, max=4, config=True)", 2, 4, 4, 5),
        ("Integer().tag(config=True)", 0, -1, -1, "1"),
        ("List(config=True)", [], ["a", 1], ["a", 1], "a"),
        ("List(Unicode(), ['a'], config=True)", ["a"], [], [], [1]),
        ("List(Unicode, ['a'], config=True)", ["a"], [], [], [1]),
        ("List(['a'], config=True)", ["a"], [1], [1], 3),
        ("List(Integer(min=1, max=2), [1], config=True)", [1], [2], [2], [3]),
        ("List(Integer(min=1), minlen=1, default_value=[1], config=True)", [1], [2], [2], []),
        ("List(List(Integer(min=1)), [[1]], maxlen=1, config=True)", [[1]], [[2]], [[2]], [[0]]),
        ("List(Integer(min=1, allow_none=True), [None], config=True)", [None], [2], [2], [0]),
        ("List(MemoryLimit(), config=True)", [], ["1 K"], [1024], ["lots"]),
        ("List(TraitType(), config=True)", [], ["a", 1], ["a", 1], "a"),
        ("List(Command(), config=True)", [], ["a b"], [["a", "b"]], [3]),
        ("Command('a', config=True)", ["a"], "b c", ["b", "c"], []),
        ("Command(['a', 'b'], config=True)", ["a", "b"], ["b"], ["b"], 3),
        ("MemoryLimit('1 K', config=True)", 1024, "2 K", 2048, "lots"),
        ("MemoryLimit(None, allow_none=True, min=10, config=True)", None, 11, 11, 9),
        ("TraitType('x', config=True)", "x", 3, 3, None),
    ],
)
def test_traits_without_traitlets(config: Load, trait: str, default: Any, good: Any, kept: Any, bad: Any) -> None:
    loaded = config(
        f"class SiteConfig(SlurmClusterConfig):\n    extra = {trait}\n"
        "c.SlurmBackend.cluster_config_class = SiteConfig\n"
    )
    cluster: Any = loaded.cluster_config
    assert cluster.extra == default
    changed = with_overrides(cluster, {"extra": good})
    assert (changed.extra, type(changed.extra)) == (kept, type(kept))
    assert with_overrides(type(cluster)(), dump(changed)) == changed
    if bad is not None:
        with pytest.raises(SettingErrors, match="extra "):
            with_overrides(cluster, {"extra": bad})


def test_classes_and_functions(config: Load) -> None:
    text = (
        "from dask_gateway_server.auth import SimpleAuthenticator\n"
        "class Ours(SimpleAuthenticator):\n"
        "    call = Callable(len, config=True)\n    kind = Type(bool, klass=int, config=True)\n"
        "    named = Type(klass='dask_gateway_server.backends.base.ClusterConfig', config=True)\n"
        "    none = Type(None, allow_none=True, config=True)\n    plain = List()\n"
        "c.DaskGateway.authenticator_class = Ours\n"
    )
    ours: Any = config(text).authenticators[0]
    assert (ours.call("ab"), ours.kind, ours.named, ours.none, ours.plain) == (2, bool, ClusterConfig, None, [])
    for wrong in ({"call": 3}, {"kind": str}, {"named": int}):
        with pytest.raises(SettingErrors):
            with_overrides(ours, wrong)


def test_a_sites_own_trait(config: Load) -> None:
    text = (
        "class Even(Integer):\n    info_text = 'an even number'\n    def validate(self, obj, value):\n"
        "        value = super().validate(obj, value)\n        if value % 2:\n            self.error(obj, value)\n"
        "        return value\n"
        "class Broken(TraitType):\n    def info(self):\n        return 1 / 0\n"
        "class SiteConfig(SlurmClusterConfig):\n    a = Even(2, min=1, config=True)\n    b = Broken(config=True)\n"
        "c.SlurmBackend.cluster_config_class = SiteConfig\n"
    )
    cluster: Any = config(text).cluster_config
    for value, reason in (
        (3, "expected an even number, not 3"),
        (0, "must be at least 1"),
        ("x", "must be an integer"),
    ):
        with pytest.raises(SettingErrors, match=f"a is refused: {reason}"):
            with_overrides(cluster, {"a": value})
    assert "a value" in settings_of(type(cluster))["b"].metadata["setting"].help


def test_traitlets_itself_has_to_be_installed(config: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        config("from traitlets import Unicode\n")
    assert "declare options with `gateway.configurable.setting`, or install traitlets" in str(caught.value)


def test_what_traits_say() -> None:
    assert [is_trait(value) for value in (Unicode(), Unicode, 3, int, TraitError)] == [True, True, False, False, False]
    assert read(Integer(3), "a").help == "An option of the site's own, an integer."
    assert (List([1]).default(), List.default_value) == ([1], [])
    assert (Command().default(), MemoryLimit().default(), CallableTrait().default()) == ([], 0, None)
    assert (Type().klass, Type(int).klass, Type(None).klass) == (object, int, object)
    assert TraitType().validate(None, 3) == 3


def test_reading_what_has_no_value_yet() -> None:
    class Mixin:
        partition = property(lambda self: "never read")

    class Ours(SlurmClusterConfig, Mixin):
        pass

    assert carry(Ours) == []
    assert Ours(partition="a").partition == "a"
    unfinished = Ours.__new__(Ours)
    with pytest.raises(AttributeError, match="no value yet"):
        _ = unfinished.partition
    assert Ours.partition is not None


def test_a_class_is_carried_once() -> None:
    class Ours(SlurmClusterConfig):
        extra = Unicode("x")
        state = Unicode("y")

    assert carry(Ours) == carry(Ours) == []
    assert "extra" in settings_of(Ours)
    assert carry(SlurmClusterConfig) == []

    class Late(Ours):
        pass

    assert carry(Late) == []
    Ours.late = Unicode()  # type: ignore[attr-defined]
    (problem,) = carry(Ours)
    assert problem == Problem(Ours, "late", problem.text)


def test_what_a_class_shows_of_its_own() -> None:
    class Ours(SlurmClusterConfig):
        _hidden = Unicode("x")

        def _account_default(self) -> str:
            return "acc"

    assert carry(Ours) == []
    assert Ours._hidden is not None
    assert Ours.account is not None
    assert (Ours().account, Ours()._hidden) == ("acc", "x")
