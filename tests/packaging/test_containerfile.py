"""What the recipe of the container names is there: files, options of the configuration, of the command line, extras."""

import re
from configparser import ConfigParser

from gateway.config.load import load
from gateway.server.cli import cli
from tests.packaging.sources import PACKAGES, ROOT

RECIPE = (ROOT / "deploy" / "Containerfile").read_text()


def setup() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_what_it_copies_is_there_and_is_all_that_a_wheel_is_made_of() -> None:
    copied = [name for line in re.findall(r"^COPY ([^-].*)$", RECIPE, re.MULTILINE) for name in line.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    metadata = setup()["metadata"]
    files = {"setup.cfg", "pyproject.toml", metadata["license_files"], metadata["long_description"].split()[-1]}
    assert files | set(PACKAGES) == set(copied)


def test_the_options_that_it_names_exist(tmp_path) -> None:
    lines = re.findall(r"`(c\.[A-Za-z.]+ = [^`]+)`", RECIPE)
    assert lines
    path = tmp_path / "config.py"
    path.write_text("\n".join(['c.DaskGateway.backend_class = "gateway.backends.slurm.SlurmBackend"', *lines]))
    assert load(path).backend.impersonation == "socket"
    for name in re.findall(r"(?<!`)c\.DaskGateway\.(\w+)", RECIPE):
        assert hasattr(load(path).gateway, name)


def test_the_socket_is_mounted_where_the_gateway_looks_for_it(tmp_path) -> None:
    path = tmp_path / "config.py"
    path.write_text('c.DaskGateway.backend_class = "gateway.backends.slurm.SlurmBackend"')
    socket = load(path).backend.launcher_socket
    assert f"-v {socket}:{socket} " in RECIPE


def test_its_program_and_its_extras_exist() -> None:
    config = setup()
    (program,) = re.findall(r'^ENTRYPOINT \["/opt/dask-gateway/bin/(.*)"\]', RECIPE, re.MULTILINE)
    assert f"{program} =" in config["options.entry_points"]["console_scripts"]
    (option,) = re.findall(r'^CMD \["([^"]+)"', RECIPE, re.MULTILINE)
    assert any(option in parameter.opts for parameter in cli.params)
    (extras,) = re.findall(r"/source\[(.*)\]", RECIPE)
    assert set(extras.split(",")) <= set(config["options.extras_require"])


def test_it_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (.*)$", RECIPE, re.MULTILINE) == ["dask"]
    assert RECIPE.index("\nUSER") < RECIPE.index("\nENTRYPOINT")
