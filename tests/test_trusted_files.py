"""Who could change a file."""

import errno
import os
from types import SimpleNamespace

import pytest

from gateway import trusted_files
from gateway.trusted_files import unsafe

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
    monkeypatch.setattr(trusted_files, "os", fake)


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
