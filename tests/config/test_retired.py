"""Options that do nothing: accepted, warned of, and shown nowhere."""

from pathlib import Path

import pytest

from gateway.backends.slurm.options import SlurmClusterConfig
from gateway.config.fields import dump, setting_of, settings_of, with_overrides
from gateway.config.load import Config, load
from gateway.config.registry import builtin_classes
from gateway.config.render import effective, manual

RETIRED = [
    f"{name}.{option}"
    for name, cls in builtin_classes().items()
    for option, field in settings_of(cls).items()
    if setting_of(field).retired
]


def loaded(directory: Path, text: str) -> Config:
    file = directory / "config.py"
    file.write_text(text)
    return load(file)


def test_which_options_do_nothing() -> None:
    assert {
        "Proxy.externally_managed",
        "DaskGateway.log_datefmt",
        "DBBackendBase.check_timeouts_period",
        "SlurmBackend.cluster_status_period",
        "PBSClusterConfig.worker_start_patience",
    } <= set(RETIRED)


@pytest.mark.parametrize("option", RETIRED)
def test_any_value_is_accepted_warned_of_and_without_effect(tmp_path: Path, option: str) -> None:
    config = loaded(tmp_path, f"c.{option} = ['a', 5]\n")
    assert f"{tmp_path}/config.py:1: c.{option} has no effect: " in config.warnings[-1]
    assert effective(config) == effective(loaded(tmp_path, ""))


def test_a_warning_says_why(tmp_path: Path) -> None:
    text = "c.Proxy.externally_managed = True\nc.Proxy.log_level = 'warn'\n"
    assert loaded(tmp_path, text).warnings[1:] == (
        f"{tmp_path}/config.py:1: c.Proxy.externally_managed has no effect: the proxy is part of this process",
        f"{tmp_path}/config.py:2: c.Proxy.log_level has no effect: the proxy is part of this process;"
        " set c.DaskGateway.log_level",
    )


def test_a_site_s_class_may_give_it_a_default_or_make_it_an_option_of_its_own(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        "from gateway.backends.local import UnsafeLocalBackend\n"
        "from gateway.configurable import setting\n"
        "class Ours(UnsafeLocalBackend):\n"
        "    check_timeouts_period = 7\n"
        "    cluster_status_period: int = setting(default=1, help='Ours.')\n"
        "c.DaskGateway.backend_class = Ours\n"
        "c.Ours.cluster_status_period = 3\n",
    )
    assert not any("no effect" in warning for warning in config.warnings)
    assert (config.backend.check_timeouts_period, config.backend.cluster_status_period) == (7, 3)
    assert "c.Ours.cluster_status_period = 3" in effective(config)
    assert "check_timeouts_period" not in effective(config)


def test_neither_manual_nor_store_has_one() -> None:
    assert "worker_start_patience" not in manual()
    # The handler of a site's cluster options may still return it.
    changed = with_overrides(SlurmClusterConfig(), {"worker_start_patience": 3})
    assert "worker_start_patience" not in dump(changed)
