"""Configuration files that somebody else can write to: they are programs, which the gateway runs."""

import os
from pathlib import Path

import pytest

from gateway.config.load import load
from gateway.errors import ConfigError
from tests.support.users import is_root

pytestmark = [pytest.mark.root, pytest.mark.skipif(not is_root(), reason="acts as two users")]
NOBODY = 65534
LOOPBACK = "c.Proxy.address = '127.0.0.1:0'\n"


@pytest.fixture
def trap(tmp_path):
    """A line of a configuration that leaves a trace."""
    return f"open({str(tmp_path / 'taken')!r}, 'w').close()\n" + LOOPBACK


def of_another(path, text):
    path.write_text(text)
    os.chown(path, NOBODY, NOBODY)


def writable(path, text):
    path.write_text(text)
    path.chmod(0o666)


def of_a_group(path, text):
    path.write_text(text)
    path.chmod(0o664)


def in_an_open_folder(path, text):
    path.parent.chmod(0o777)
    path.write_text(text)


def through_a_link(path, text):
    real = path.parent / "real"
    real.mkdir()
    (real / "config.py").write_text(text)
    os.chown(real, NOBODY, NOBODY)
    path.symlink_to(real / "config.py")


ATTACKS = [of_another, writable, of_a_group, in_an_open_folder, through_a_link]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "config.py"


@pytest.mark.parametrize("attack", ATTACKS)
def test_root_does_not_run_it(attack, path, tmp_path, trap):
    attack(path, trap)
    with pytest.raises(ConfigError, match=r"config\.py: is not run as root: .*\(chown root, chmod go-w"):
        load(path)
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_nor_when_another_file_loads_it(attack, path, tmp_path, trap):
    attack(path, trap)
    main = tmp_path / "main.py"
    main.write_text(f"load_subconfig({str(path)!r})\n")
    with pytest.raises(ConfigError, match=r"config\.py: is not run as root"):
        load(main)
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_others_are_warned(attack, path, monkeypatch):
    attack(path, LOOPBACK)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    (warning,) = load(path).warnings
    assert warning.startswith(f"{path}: {Path(path).anchor}")
    assert "decides what the gateway does" in warning


def test_a_file_of_one_s_own_is_fine(path, monkeypatch):
    of_another(path, LOOPBACK)
    monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
    assert load(path).warnings == ()
