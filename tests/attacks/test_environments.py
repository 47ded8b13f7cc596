"""Names of environment variables that commands could take for options."""

import json
import subprocess
import sys

import pytest

from gateway.backends.batch.script import JobScript, render_script
from gateway.backends.launcher.program import Refused, environment
from gateway.backends.launcher.settings import SettingsError, read_settings
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingError

NAMES = ["-", "-i", "-u", "-S sh -c 'echo taken'", "--split-string", "--chdir", "--help", "-S${IFS}id"]
TELL = "import json, os; print(json.dumps([os.getcwd(), dict(os.environ)]))"


@pytest.mark.parametrize("name", NAMES)
def test_a_script_passes_them_on_as_variables(name, tmp_path):
    script = render_script(
        JobScript(
            shebang="#!/bin/bash",
            command=(sys.executable, "-c", TELL),
            job_variable="SLURM_JOB_ID",
            environment={name: "/", "a.b": "c"},
        )
    )
    done = subprocess.run(
        ["/bin/bash"], input=script, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PATH": "/bin"}
    )
    folder, variables = json.loads(done.stdout)
    assert folder == str(tmp_path)
    assert (variables[name], variables["a.b"], variables["PATH"]) == ("/", "c", "/bin")


@pytest.mark.parametrize("name", NAMES)
def test_nobody_can_ask_for_them(name, tmp_path, monkeypatch):
    with pytest.raises(SettingError, match="begin with no dash"):
        ClusterConfig(environment={name: "x"})
    with pytest.raises(Refused, match="does not pass the variable"):
        environment({"environment": {name: "x"}})
    monkeypatch.setattr("gateway.backends.launcher.settings.unsafe", lambda path: "")
    (tmp_path / "launcher.conf").write_text(f"[environment]\n{name} = x\n")
    with pytest.raises(SettingsError, match=r"is no name of an environment variable"):
        read_settings(str(tmp_path / "launcher.conf"))
