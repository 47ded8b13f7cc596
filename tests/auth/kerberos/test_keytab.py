"""Keytabs: whose keys are in them, and what is wrong with a file that should be one."""

import os
import pwd
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.kerberos.keytab import principals_of
from gateway.auth.kerberos.keytab_file import contents_of, problem_of

BEGIN = b"\x05\x02"


def text(said: str) -> bytes:
    return struct.pack(">H", len(said.encode())) + said.encode()


def entry(*components: str, realm: str = "EXAMPLE.TEST") -> bytes:
    """An entry with a made-up key."""
    body = struct.pack(">H", len(components)) + b"".join(map(text, (realm, *components)))
    body += struct.pack(">IIBH", 1, 1_800_000_000, 2, 18) + text("k" * 32)
    return struct.pack(">i", len(body)) + body


HOLE = struct.pack(">i", -7) + bytes(7)


@pytest.mark.parametrize(
    ("content", "principals"),
    [
        (BEGIN, ()),
        (BEGIN + entry("HTTP", "gw.example.test"), ("HTTP/gw.example.test@EXAMPLE.TEST",)),
        (BEGIN + entry("alice") + entry("alice") + entry("bob", realm="B"), ("alice@EXAMPLE.TEST", "bob@B")),
        (BEGIN + HOLE + entry("a") + HOLE + bytes(4) + entry("b"), ("a@EXAMPLE.TEST", "b@EXAMPLE.TEST")),
        (BEGIN + struct.pack(">i", 8) + b"\0\1\0\1R\0\1\xff", ("\\xff@R",)),
    ],
)
def test_principals(content: bytes, principals: tuple[str, ...]) -> None:
    assert principals_of(content) == principals


@pytest.mark.parametrize(
    "content", [b"", b"\x05", b"\x05\x01", b"-----BEGIN", BEGIN + b"\0", BEGIN + entry("HTTP", "gw")[:20]]
)
def test_what_is_no_keytab(content: bytes) -> None:
    with pytest.raises(ValueError, match="is no keytab"):
        principals_of(content)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda content: BEGIN + content))
def test_no_content_does_more_than_to_be_refused(content: bytes) -> None:
    try:
        names = principals_of(content)
    except ValueError:
        return
    assert all("@" in name for name in names)


@pytest.fixture
def keytab(tmp_path: Path) -> Path:
    path = tmp_path / "http.keytab"
    path.touch(mode=0o600)
    path.write_bytes(BEGIN + entry("HTTP", "gw"))
    return path


def test_a_good_file(keytab: Path) -> None:
    assert problem_of(str(keytab)) == ""
    keytab.chmod(0o640)
    assert problem_of(str(keytab)) == ""
    assert contents_of(str(keytab)) == "it has keys of HTTP/gw@EXAMPLE.TEST"


def test_many_principals_are_not_all_named(keytab: Path) -> None:
    keytab.write_bytes(BEGIN + b"".join(entry(str(number)) for number in range(7)))
    told = contents_of(str(keytab))
    assert "4@EXAMPLE.TEST, ..." in told
    assert "5@" not in told
    keytab.unlink()
    assert contents_of(str(keytab)) == "it has keys of nobody"


def test_a_relative_path_is_shown_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KRB5_KTNAME", raising=False)
    assert problem_of("dask.keytab") == f"must be a keytab: there is no file {tmp_path}/dask.keytab"


def test_the_environments_keytab_is_not_used_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_KTNAME", "FILE:/etc/other.keytab")
    assert "KRB5_KTNAME=FILE:/etc/other.keytab is not looked at" in problem_of(str(tmp_path / "dask.keytab"))


def test_what_is_wrong_with_a_file(keytab: Path) -> None:
    for content, told in ((b"", "is no keytab"), (BEGIN, "with keys: there are none"), (b"\x05\x02\1", "is no keytab")):
        keytab.write_bytes(content)
        assert told in problem_of(str(keytab))
    assert "Is a directory" in problem_of(str(keytab.parent))


def test_who_else_could_read_or_change_it(keytab: Path) -> None:
    keytab.chmod(0o644)
    assert "must not be readable for everybody" in problem_of(str(keytab))
    keytab.chmod(0o620)
    assert "must not be changeable by others" in problem_of(str(keytab))
    keytab.chmod(0o600)
    keytab.parent.chmod(0o777)
    assert f"{keytab.parent} can be changed" in problem_of(str(keytab))


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="acts as two users")
def test_a_file_of_somebody_else(keytab: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        keytab = keytab.rename(Path(folder) / "http.keytab")
        os.seteuid(nobody)
        try:
            assert problem_of(str(keytab)) == f"must be a file that user nobody can read: {keytab}: Permission denied"
        finally:
            os.seteuid(0)
        os.chown(keytab, nobody, -1)
        assert "does not belong to root" in problem_of(str(keytab))
