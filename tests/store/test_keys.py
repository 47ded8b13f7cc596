"""Where encryption keys come from, and what is refused."""

import base64
import os
import stat
from pathlib import Path

import pytest
from cryptography.fernet import InvalidToken

from gateway.errors import StartError
from gateway.store.keys import ENVIRONMENT_VARIABLE, Cipher, find_keys, new_keys

RAW = bytes([0xFB, 0xFF, *range(30)])  # its base64 has characters in which the alphabets differ
STANDARD = base64.b64encode(RAW).decode()
URLSAFE = base64.urlsafe_b64encode(RAW).decode()
OTHER = base64.b64encode(bytes(32)).decode()


def opened(keys: list[str], *, environment: str = "", key_file: Path | None = None, new: bool = False) -> Cipher:
    found = find_keys(keys, {ENVIRONMENT_VARIABLE: environment} if environment else {}, key_file, new=new)
    return found.cipher()


def test_both_alphabets_are_the_same_key() -> None:
    assert STANDARD != URLSAFE
    token = opened([STANDARD]).encrypt(b"x")
    for spelling in (URLSAFE, f" {STANDARD}\n"):
        assert opened([spelling]).decrypt(token) == b"x"


def test_first_key_encrypts_all_decrypt() -> None:
    old, both, new = opened([OTHER]), opened([STANDARD, OTHER]), opened([STANDARD])
    assert both.decrypt(old.encrypt(b"x")) == b"x"
    assert new.decrypt(both.encrypt(b"x")) == b"x"
    assert both.is_of_first_key(both.encrypt(b"x"))
    assert not both.is_of_first_key(old.encrypt(b"x"))
    with pytest.raises(InvalidToken):
        new.decrypt(old.encrypt(b"x"))


def test_configured_keys_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    opened([], key_file=key_file, new=True)
    token = opened([OTHER], environment=STANDARD, key_file=key_file).encrypt(b"x")
    assert opened([OTHER]).decrypt(token) == b"x"
    token = opened([], environment=f"{STANDARD}; {OTHER};", key_file=key_file).encrypt(b"x")
    assert opened([STANDARD]).decrypt(token) == b"x"


@pytest.mark.parametrize("bad", ["", "short", STANDARD[:-4], STANDARD * 2, "ä" * 44, "!" * 44, STANDARD[:-1]])
@pytest.mark.parametrize("source", ["option", "environment", "file"])
def test_bad_keys_are_counted_but_not_shown(tmp_path: Path, bad: str, source: str) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(bad)
    key_file.chmod(0o600)
    keys = [OTHER, bad] if source == "option" else []
    environment = f"{OTHER};x{bad}" if source == "environment" else ""
    with pytest.raises(StartError, match="openssl rand -base64 32") as caught:
        opened(keys, environment=environment, key_file=key_file)
    assert ("Key number 1" if source == "file" else "Key number 2") in str(caught.value)
    expected = {"option": "db_encrypt_keys", "environment": ENVIRONMENT_VARIABLE, "file": str(key_file)}
    assert expected[source] in str(caught.value)
    assert len(bad) < 10 or bad not in str(caught.value)


def test_database_without_a_place_for_a_key_file_needs_keys() -> None:
    with pytest.raises(StartError, match="db_encrypt_keys"):
        opened([])


def test_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    (tmp_path / "key.new").write_text("of an interrupted start")
    token = opened([], key_file=key_file, new=True).encrypt(b"x")
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    content = key_file.read_text()
    assert opened([], key_file=key_file, new=True).decrypt(token) == b"x"
    assert opened([], key_file=key_file, new=False).decrypt(token) == b"x"
    assert opened([content]).decrypt(token) == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_key_file_that_got_lost_is_not_made_anew(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="is missing"):
        opened([], key_file=tmp_path / "key", new=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_key_file_open_to_others(tmp_path: Path, mode: int) -> None:
    key_file = tmp_path / "key"
    opened([], key_file=key_file, new=True)
    key_file.chmod(mode)
    with pytest.raises(StartError, match=f"mode {mode:04o}.*chmod"):
        opened([], key_file=key_file)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_key_file_of_somebody_else(tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    opened([], key_file=key_file, new=True)
    os.chown(key_file, 65534, -1)
    with pytest.raises(StartError, match="belongs to user id 65534"):
        opened([], key_file=key_file)


def test_key_file_that_is_a_directory(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="Is a directory"):
        opened([], key_file=tmp_path)


def test_key_file_where_none_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="Cannot make the key file"):
        opened([], key_file=tmp_path / "missing" / "key", new=True)


def test_fresh_ciphers_differ() -> None:
    with pytest.raises(InvalidToken):
        new_keys().cipher().decrypt(new_keys().cipher().encrypt(b"x"))
