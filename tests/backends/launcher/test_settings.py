"""Root's settings for batch commands."""

import os

import pytest

from gateway.backends.launcher import settings as launcher_settings
from gateway.backends.launcher.settings import SettingsError, read_settings
from gateway.backends.launcher.site_commands import find_mistakes, own_commands, site_settings
from gateway.backends.slurm.launcher_rules import RULES
from gateway.errors import StartError
from tests.support.users import is_root


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file that is believed to be root's."""
    monkeypatch.setattr(launcher_settings, "unsafe", lambda path, program=False: "")
    return tmp_path / "launcher.conf"


def test_without_a_file_nothing_is_set(tmp_path):
    settings = read_settings(str(tmp_path / "absent"))
    assert (settings.environment, settings.commands) == ({}, {})


def test_variables_and_commands(file):
    file.write_text(
        "# a site\n; its commands\n\n[environment]\nSLURM_CONF = /opt/slurm.conf\nX=a=b\nEMPTY =\n"
        "[commands]\nsbatch = /opt/site/sub\nsbatch = /opt/site/sub2\nsqueue=/opt/site/q\n"
    )
    settings = read_settings(str(file))
    assert settings.environment == {"SLURM_CONF": "/opt/slurm.conf", "X": "a=b", "EMPTY": ""}
    assert settings.commands == {"sbatch": ["/opt/site/sub", "/opt/site/sub2"], "squeue": ["/opt/site/q"]}
    assert own_commands(settings) == {"sbatch": "/opt/site/sub", "squeue": "/opt/site/q"}


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("[env]\n", r":1: there is no section \[env\]"),
        ("SLURM_CONF=/x\n", ":1: write NAME = VALUE, below"),
        ("[environment]\nSLURM_CONF\n", ":2: write NAME = VALUE"),
        ("[environment]\nA-B=1\n", ":2: 'A-B' is no name"),
        ("[environment]\n=1\n", ":2: '' is no name"),
        ("[commands]\nsbatch = bin/sbatch\n", ":2: the command sbatch must be an absolute path"),
    ],
)
def test_a_mistake_is_named_with_its_line(file, text, mistake):
    file.write_text(text)
    with pytest.raises(SettingsError, match=mistake):
        read_settings(str(file))
    with pytest.raises(StartError, match=mistake):
        site_settings(str(file))
    assert [option for option, _ in find_mistakes(RULES, "", "", str(file))] == [""]


def test_a_link_is_not_followed_and_a_folder_is_no_file(file, tmp_path):
    (tmp_path / "real").write_text("")
    file.symlink_to(tmp_path / "real")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(str(file))


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="makes files of root's")
def test_settings_that_others_could_write_are_not_obeyed(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "launcher.conf"
    file.write_text("[environment]\nLD_PRELOAD = /tmp/evil.so\n")
    file.chmod(0o664)
    with pytest.raises(SettingsError, match=r"launcher.conf are not obeyed: .* can be changed by others than root"):
        read_settings(str(file))
    file.chmod(0o644)
    os.chown(file, 65534, 0)
    with pytest.raises(SettingsError, match="does not belong to root"):
        read_settings(str(file))


def test_paths_that_the_launcher_would_not_run_are_mistakes(tmp_path):
    program = tmp_path / "sbatch"
    program.write_text("")
    ((option, reason),) = find_mistakes(RULES, str(program), "", str(tmp_path / "absent"))
    assert option == "submit_command"
    assert reason.startswith(f"would not be run: {program} is not run as a user: ")
    ((_, reason),) = find_mistakes(RULES, "/usr/bin/env", "", str(tmp_path / "absent"))
    assert "ends in /sbatch" in reason
