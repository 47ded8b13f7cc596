"""What setup.cfg would pack is what there is. `make wheel-check` looks at a wheel itself."""

import re
import warnings

from setuptools import Distribution

from tests.packaging.sources import ROOT, package_files


def packed(monkeypatch) -> set[str]:
    """The files that setuptools finds by setup.cfg alone: no list of an earlier build, no git."""
    monkeypatch.chdir(ROOT)
    with warnings.catch_warnings(action="ignore"):  # of what setuptools thinks of its own
        distribution = Distribution({"script_name": "setup.py"})
        distribution.parse_config_files([str(ROOT / "setup.cfg")])
        command = distribution.get_command_obj("build_py")
        command.ensure_finalized()
        return set(command.get_output_mapping().values())


def test_every_file_of_the_packages_is_packed(monkeypatch) -> None:
    assert packed(monkeypatch) == package_files()


def test_what_is_easily_forgotten_is_among_them() -> None:
    wanted = {"gateway/py.typed", "gateway/web/style.css", "gateway/web/templates/page.html"}
    wanted |= {"gateway/store/migrations/__init__.py", "dask_gateway_login/py.typed", "dask_gateway_login/__main__.py"}
    assert wanted <= package_files()


def test_the_versions_of_python_are_said_once() -> None:
    """`python_requires` begins where the classifiers do, and the type checker and the linter look at that one."""
    text = (ROOT / "setup.cfg").read_text()
    versions = re.findall(r"Python :: 3\.(\d+)$", text, re.MULTILINE)
    assert versions == ["11", "12", "13"]
    assert f"python_requires = >=3.{versions[0]}\n" in text
    tools = (ROOT / "pyproject.toml").read_text()
    assert f'target-version = "py3{versions[0]}"' in tools
    assert f'python_version = "3.{versions[0]}"' in tools
