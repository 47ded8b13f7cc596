"""Commands: what they print, and their exit codes."""

import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import structlog
from click.testing import CliRunner

import gateway
from gateway.config.load import Config
from gateway.errors import StartError
from gateway.proxy.__main__ import main as proxy_alone
from gateway.server.cli import run


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    handlers, level = logging.root.handlers, logging.root.level
    yield
    logging.captureWarnings(False)
    logging.root.handlers, logging.root.level = handlers, level
    structlog.reset_defaults()


class Server:
    """Stands for gateway.server.main: takes the configuration instead of serving."""

    def __init__(self) -> None:
        self.config: Config | None = None
        self.kept: bool | None = None
        self.code = 0
        self.error: Exception | None = None

    def run(self, config: Config) -> int:
        if self.error:
            raise self.error
        self.config = config
        return self.code

    def demo(self, keep: bool) -> int:
        self.kept = keep
        return self.code


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    for name, function in (("server.main", server.run), ("server.demo.program", server.demo)):
        module = ModuleType(f"gateway.{name}")
        module.run = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"gateway.{name}", module)
    return server


def test_serve_with_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("c.Proxy.address = ':1'\n")
    assert run(["-f", "a.py", "--Proxy.prefix=/x", "--log-level", "warning"]) == 0
    assert server.config is not None
    assert (server.config.proxy.address, server.config.proxy.prefix) == (":1", "/x")
    assert server.config.gateway.log_level == "WARNING"


def test_serve_with_defaults_says_so(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "no configuration file, defaults are used" in capsys.readouterr().err
    (tmp_path / "dask_gateway_config.py").write_text("c.Proxy.address = ':2'\n")
    assert run([]) == 0
    assert server.config is not None
    assert server.config.proxy.address == ":2"
    assert "configuration read" in capsys.readouterr().err


def test_the_servers_exit_code_is_ours(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.code = 1
    assert run([]) == 1
    server.error = StartError("The port is in use")
    assert run([]) == 1
    assert capsys.readouterr().err.endswith("The port is in use\n")
    server.error = KeyboardInterrupt()  # type: ignore[assignment]
    assert run([]) == 1


def test_a_named_file_must_be_there(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-f", "none.py"]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert server.config is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["-f", "a.py", "show-config"],
        ["show-config", "-f", "a.py"],
        ["show-config", "--config=a.py"],
        ["-f", "none.py", "show-config", "-f", "a.py"],
    ],
)
def test_options_stand_before_or_after_the_subcommand(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.py").write_text("c.Proxy.address = ':1'\nc.Proxy.max_events = 1\n")
    assert run([*arguments, "--Proxy.prefix=/x", "--log-level=debug"]) == 0
    out, err = capsys.readouterr()
    assert f"c.Proxy.address = ':1'  # {tmp_path}/a.py:1\n" in out
    assert "c.Proxy.prefix = '/x'  # command line\n" in out
    assert "c.DaskGateway.log_level = 'DEBUG'  # command line\n" in out
    assert f"Warning: {tmp_path}/a.py:2: c.Proxy.max_events has no effect" in err


@pytest.mark.parametrize("level", ["WARN", "warn", "WARNING"])
def test_levels_as_the_original_writes_them(server: Server, level: str) -> None:
    assert run(["--log-level", level]) == 0
    assert server.config.gateway.log_level == "WARNING"


def test_check_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "good.py").write_text("c.Proxy.externally_managed = True\n")
    assert run(["check-config", "-f", "good.py"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].startswith("Warning: ANYBODY CAN ACT AS ANYBODY: ")
    assert out.splitlines()[1].startswith("Warning: ")
    assert out.splitlines()[2:] == ["good.py: no mistakes"]
    (tmp_path / "bad.py").write_text("c.Proxy.a = True\nc.Proxy.b = 1\n")
    assert run(["check-config", "-f", "bad.py"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "The configuration has 2 mistakes:"
    assert run(["check-config"]) == 0
    assert capsys.readouterr().out.endswith("\nThe defaults: no mistakes\n")


def test_generate_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate-config"]) == 0
    path = tmp_path / "dask_gateway_config.py"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert run(["check-config", "-f", str(path)]) == 0
    assert run(["generate-config"]) == 2
    assert "--force" in capsys.readouterr().err
    path.write_text("")
    assert run(["generate-config", "--force"]) == 0
    assert path.read_text()
    assert run(["generate-config", "--output", "none/x.py"]) == 2
    assert "cannot write none/x.py: No such file or directory" in capsys.readouterr().err
    assert run(["generate-config", "--output", "x.py"]) == 0


def test_demo(server: Server) -> None:
    assert run(["demo"]) == 0
    assert server.kept is False
    assert run(["demo", "--keep"]) == 0
    assert server.kept is True
    assert run(["-f", "x.py", "demo"]) == 2


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["--nonsense"], ["--Proxy.address"], ["--log-level=loud"], ["-f"], ["demo", "x"]]
)
def test_wrong_usage(arguments: list[str], server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert server.config is None


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"dask-gateway-server {gateway.__version__}\n"
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    for command in ("demo", "check-config", "show-config", "generate-config", "--Class.option=value"):
        assert command in out


def test_the_command_as_a_process(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("c.Proxy.a = True\n")
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "-f", "bad.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path(gateway.__file__).parent.parent)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.endswith("Proxy has no option 'a' (did you mean 'address'?)\n")


@pytest.mark.parametrize(
    "words",
    [
        ["--route", "abc=foo"],
        ["--route", "a=1.2.3.4:x"],
        ["--route", "a=1.2.3.4:99999"],
        ["--route", "a=[::1:5"],
        ["--route", "a=1.2.3.4:5", "--dashboard", "a=foo"],
        ["--route", "a=1.2.3.4:5", "--dashboard", "b=1.2.3.4:6"],
        ["--dashboard", "b=1.2.3.4:6"],
    ],
)
def test_the_proxy_alone_refuses_what_is_no_route(words: list[str]) -> None:
    result = CliRunner().invoke(proxy_alone, words)
    assert (result.exit_code, result.output.count("Error: ")) == (2, 1)


def test_a_generated_file_may_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["generate-config", "--output", "-"]) == 0
    compile(capsys.readouterr().out, "config.py", "exec")
    assert not Path("-").exists()


# ---- units of systemd

JOBS = 'c.DaskGateway.backend_class = "gateway.backends.slurm.backend.SlurmBackend"\n'


def test_units_are_those_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text(f"{JOBS}c.Proxy.address = ':9000'\nc.DaskGateway.address = '10.0.0.1:9002'\n")
    assert run(["systemd-unit", "-f", "a.py", "--user", "gateway", "--directory", "/srv/gateway"]) == 0
    out = capsys.readouterr().out
    for line in (
        "# --- /etc/systemd/system/dask-gateway.socket",
        "ListenStream=9000",
        "ListenStream=10.0.0.1:9002",
        "User=gateway",
        "WorkingDirectory=/srv/gateway",
        f"ExecStart={os.path.dirname(sys.executable)}/dask-gateway-server -f {tmp_path}/a.py",
    ):
        assert f"{line}\n" in out
    assert "launcherd.socket" not in out


def test_units_with_the_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dask_gateway_config.py").write_text(
        f"{JOBS}c.JobQueueBackend.impersonation = 'socket'\nc.JobQueueBackend.launcher_socket = '/run/x/l.sock'\n"
        "c.DBBackendBase.db_url = 'sqlite:////data/gateway.sqlite'\nc.Proxy.address = 'unix:/srv/sockets/public'\n"
    )
    assert run(["systemd-unit"]) == run(["systemd-unit", "--launcherd"]) == 0
    out = capsys.readouterr().out
    assert "ListenStream=/run/x/l.sock\n" in out
    assert "ReadWritePaths=/var/dask-gateway -/srv/sockets -/data\n" in out
    assert run(["systemd-unit", "--sudo"]) == 2
    assert "so sudo is not used" in capsys.readouterr().err


def test_units_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["systemd-unit"]) == 2
    assert "say which, with -f" in capsys.readouterr().err
    (tmp_path / "a.py").write_text(JOBS)
    assert run(["systemd-unit", "-f", "a.py", "--launcherd"]) == 2
    assert 'impersonation = "socket" first' in capsys.readouterr().err
    (tmp_path / "b.py").write_text("c.Proxy.address = ':1'\n")
    assert run(["systemd-unit", "-f", "b.py"]) == 2
    assert "and not for UnsafeLocalBackend" in capsys.readouterr().err
    assert run(["systemd-unit", "-f", "a.py", "--user", "no body"]) == 2
    assert "'no body' cannot stand in a unit" in capsys.readouterr().err


def test_units_are_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.process.unit_files import write_units

    monkeypatch.setattr(write_units, "__defaults__", (tmp_path,))
    (tmp_path / "a.py").write_text(JOBS)
    assert run(["systemd-unit", "--install", "-f", "a.py"]) == 0
    out = capsys.readouterr().out
    assert f"Written: {tmp_path}/dask-gateway.service\n" in out
    assert "Next: systemctl enable --now" in out
    (tmp_path / "dask-gateway.service").write_text("[Service]\n")
    assert run(["systemd-unit", "--install", "-f", "a.py"]) == 1
    assert "was not written by this command" in capsys.readouterr().err
    assert run(["systemd-unit", "--install", "--force", "-f", "a.py"]) == 0


def test_the_doctor_counts_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text("c.Proxy.adress = ':1'\n")
    assert run(["doctor", "-f", "a.py"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["status"] == "failed"
    assert "did you mean 'address'?" in finding["evidence"]
    (tmp_path / "a.py").write_text("c.Proxy.address = '127.0.0.1:0'\n")
    assert run(["-f", "a.py", "doctor", "--table"]) == 0
    assert f"configuration     {tmp_path}/a.py: no mistakes" in capsys.readouterr().out
