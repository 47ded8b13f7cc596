"""Root's settings for batch commands, and who could change a file."""

import errno
import os
from types import SimpleNamespace

import pytest

from gateway.backends.launcher import settings as launcher_settings
from gateway.backends.launcher.settings import SettingsError, read_settings, unsafe
from gateway.backends.launcher.site_commands import find_mistakes, own_commands, site_settings
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
    assert [option for option, _ in find_mistakes({}, str(file))] == [""]


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
    commands = {"sbatch": ("submit_command", str(program)), "scancel": ("cancel_command", "")}
    ((option, reason),) = find_mistakes(commands, str(tmp_path / "absent"))
    assert option == "submit_command"
    assert reason.startswith(f"would not be run: {program} is not run as a user: ")
    ((_, reason),) = find_mistakes({"sbatch": ("submit_command", "/usr/bin/env")}, str(tmp_path / "absent"))
    assert "ends in /sbatch" in reason


# --- who could change it ----------------------------------------------------------------------------------------------

DIRECTORY, FILE, LINK = 0o40755, 0o100755, 0o120777
TREE = {
    "/": (0, DIRECTORY),
    "/usr": (0, DIRECTORY),
    "/usr/bin": (0, DIRECTORY),
    "/usr/bin/sbatch": (0, FILE),
    "/bin": (0, LINK, "usr/bin"),
    "/abs": (0, LINK, "/usr/./bin"),
    "/up": (0, LINK, "usr/../usr/bin/sbatch"),
    "/loop": (0, LINK, "loop"),
    "/tmp": (0, 0o41777),
    "/tmp/root": (0, DIRECTORY),
    "/tmp/root/sbatch": (0, FILE),
    "/tmp/user": (1000, DIRECTORY),
    "/tmp/user/sbatch": (0, FILE),
    "/tmp/link": (1000, LINK, "/usr/bin"),
    "/group": (0, 0o40775),
    "/group/sbatch": (0, FILE),
    "/usr/bin/mine": (1000, FILE),
    "/usr/bin/writable": (0, 0o100775),
    "/usr/bin/sticky": (0, 0o101777),
    "/usr/bin/text": (0, 0o100644),
}


@pytest.fixture
def tree(monkeypatch):
    def lstat(path):
        if path not in TREE:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return SimpleNamespace(st_uid=TREE[path][0], st_mode=TREE[path][1])

    fake = SimpleNamespace(lstat=lstat, readlink=lambda path: TREE[path][2], path=os.path)
    monkeypatch.setattr(launcher_settings, "os", fake)


@pytest.mark.parametrize(
    "path", ["/usr/bin/sbatch", "/bin/sbatch", "/abs/sbatch", "/up", "/tmp/root/sbatch", "//usr//bin/./sbatch"]
)
def test_root_alone_can_change_these(tree, path):
    assert unsafe(path, program=True) == ""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/usr/bin/mine", "/usr/bin/mine does not belong to root"),
        ("/usr/bin/writable", "/usr/bin/writable can be changed by others than root"),
        ("/usr/bin/sticky", "/usr/bin/sticky can be changed by others than root"),
        ("/usr/bin/text", "/usr/bin/text is no program"),
        ("/usr/bin", "/usr/bin is no program"),
        ("/tmp/user/sbatch", "/tmp/user does not belong to root"),
        ("/tmp/link/sbatch", "/tmp/link does not belong to root"),
        ("/group/sbatch", "/group can be changed by others than root"),
        ("/loop/sbatch", "/loop: too many symbolic links"),
        ("/usr/bin/absent", "/usr/bin/absent: No such file or directory"),
        ("/tmp/root/../user/sbatch", "/tmp/user does not belong to root"),
    ],
)
def test_others_could_change_these(tree, path, why):
    assert unsafe(path, program=True) == why


def test_a_file_need_not_be_a_program(tree):
    assert unsafe("/usr/bin/text") == ""
    assert unsafe("/usr/bin") == "/usr/bin is no file"


def test_a_folder_of_the_gateway_s_user(tree):
    assert unsafe("/tmp/user", folder=True, owners=(0, 1000)) == ""
    assert unsafe("/tmp/user/sbatch", owners=(0, 1000)) == ""
    assert unsafe("/tmp/user", folder=True) == "/tmp/user does not belong to root"
    assert unsafe("/tmp/user", folder=True, owners=(0, 1)) == "/tmp/user does not belong to root or the gateway's user"
    assert unsafe("/usr/bin/sbatch", folder=True) == "/usr/bin/sbatch is no folder"


def test_into_a_sticky_folder_others_can_put_files(tree):
    assert unsafe("/tmp", folder=True) == "/tmp can be changed by others than root"
    assert (
        unsafe("/tmp", folder=True, owners=(0, 1)) == "/tmp can be changed by others than root and the gateway's user"
    )
    assert unsafe("/tmp/root", folder=True) == ""


def test_a_group_may_be_trusted(tree):
    assert unsafe("/group", folder=True) == "/group can be changed by others than root"
    assert unsafe("/group", folder=True, group_may_write=True) == ""
    assert unsafe("/usr/bin/writable", group_may_write=True) == ""
    assert unsafe("/tmp", folder=True, group_may_write=True) == "/tmp can be changed by others than root"


def test_the_system_s_own_commands_are_safe():
    assert unsafe("/usr/bin/env", program=True) == ""
