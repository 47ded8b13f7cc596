"""Configuration as text: the generated file, what is in force, the manual."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import gateway
from gateway.config.backend import Backend
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import Memory, setting_of, settings_of
from gateway.config.load import load
from gateway.config.registry import builtin_classes
from gateway.config.render import effective, generated_file, manual, render_value
from gateway.config.user_options import Options


def test_the_generated_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    path.write_text(generated_file())
    assert effective(load(path)) == effective(load(None))


BACKENDS = [
    name
    for name, cls in builtin_classes().items()
    if issubclass(cls, Backend) and cls.open_driver is not Backend.open_driver
]


@pytest.mark.parametrize("name", BACKENDS)
def test_every_line_of_the_generated_file_is_a_default(tmp_path: Path, name: str) -> None:
    path = tmp_path / "config.py"
    text, count = re.subn("^# c", "c", generated_file(), flags=re.MULTILINE)
    assert count > 50
    path.write_text(text)
    cls = builtin_classes()[name]
    backend = f"--DaskGateway.backend_class={cls.__module__}.{name}"

    def values(text: str) -> list[str]:
        return [line.partition("  # ")[0] for line in text.splitlines()]

    safe = "--Proxy.address=127.0.0.1:8000"  # as LocalBackend wants it
    assert values(effective(load(path, [backend, safe]))) == values(effective(load(None, [backend, safe])))


def test_the_generated_file_has_every_option_with_its_help() -> None:
    text = generated_file()
    for name, cls in builtin_classes().items():
        assert f"\n## {name}\n" in text
        for option, field in settings_of(cls).items():
            lines = [f".\n# c.{base.__name__}.{option} = " for base in cls.__mro__]
            shown = any(line in text.replace(")\n", ".\n") for line in lines)
            assert shown == (not setting_of(field).retired)
    assert "\n## Memory of one worker. (bytes, at least 1)\n# c.ClusterConfig.worker_memory = '2 G'\n" in text


def test_what_is_in_force_masks_secrets() -> None:
    text = effective(
        load(
            None,
            [
                "--SimpleAuthenticator.password=hunter2",
                "--DBBackendBase.db_url=postgresql://u:p@h/d",
                "--ClusterConfig.worker_memory=1536 M",
                "--ClusterConfig.idle_timeout=1.5",
                "--ClusterConfig.environment={'LICENCE_KEY': 's3cr3t', 'OMP_NUM_THREADS': '1'}",
            ],
        )
    )
    assert "hunter2" not in text
    assert "u:p@h" not in text
    assert "{'LICENCE_KEY': '********', 'OMP_NUM_THREADS': '1'}" in text
    assert "c.SimpleAuthenticator.password = ********  # command line\n" in text
    assert "c.LocalClusterConfig.worker_memory = '1536 M'  # command line (--ClusterConfig.worker_memory)\n" in text
    assert "c.LocalClusterConfig.idle_timeout = 1.5  # command line (--ClusterConfig.idle_timeout)\n" in text
    assert "c.Proxy.address = ':8000'  # default\n" in text
    assert "c.UnsafeLocalBackend.db_url = 'sqlite:///dask_gateway.sqlite'  # default\n" in effective(load(None))


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("a", str, "'a'"),
        (("a",), None, "['a']"),
        (3, int, "3"),
        (2.0, float, "2"),
        (2.5, float, "2.5"),
        (True, bool, "True"),
        (None, Memory | None, "None"),
        (0, Memory, "0"),
        (1000, Memory, "1000"),
        (1 << 40, Memory | None, "'1 T'"),
        (3 << 20, Memory, "'3 M'"),
        (ClusterConfig, None, "'gateway.cluster_config.ClusterConfig'"),
        (Options(), None, "Options()"),
        (test_the_generated_file_changes_nothing, None, "test_the_generated_file_changes_nothing"),
    ],
)
def test_values(value: object, kind: object, text: str) -> None:
    assert render_value(value, kind) == text


def test_the_manual_is_up_to_date() -> None:
    root = Path(gateway.__file__).parent.parent
    printed = subprocess.run(
        [sys.executable, "-m", "gateway.config.render"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert printed == manual()
    text = (root / "docs" / "configuration.md").read_text()
    assert text == printed, "run: python -m gateway.config.render > docs/configuration.md"


def test_the_examples_of_the_manual_work(tmp_path: Path) -> None:
    examples = re.findall("```python\n(.*?)```", manual(), flags=re.DOTALL)
    assert len(examples) == 2
    path = tmp_path / "config.py"
    path.write_text("\n".join(examples))
    config = load(path)
    assert config.backend.cluster_start_timeout == 120
    assert config.cluster_config.environment == {"OMP_NUM_THREADS": "1"}
    assert config.origins["OurBackend.motto"].startswith(str(path))
