import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.backends.local.accounts import account_of, own_account
from gateway.backends.local.files import open_clusters_directory
from gateway.errors import JobRefused, StartError
from tests.support.users import ensure_users, is_root

as_root = pytest.mark.skipif(not is_root(), reason="gives folders to other users")


@pytest.fixture
def directory(tmp_path):
    with open_clusters_directory(str(tmp_path / "clusters"), shared=False, strict=False) as directory:
        yield directory


@pytest.fixture
def account():
    return own_account()


def write(directory, cluster, job, text, account):
    directory.prepare(cluster, account)
    with directory.open_log(cluster, job, account) as fd:
        os.write(fd, text)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_cluster_gets_a_folder_of_its_own_with_logs(directory, account):
    path = directory.prepare("c1", account)
    assert path == os.path.join(directory.path, "c1")
    assert mode(path) == mode(os.path.join(path, "logs")) == 0o700
    assert directory.prepare("c1", account) == path


def test_a_folder_is_made_whatever_the_umask(tmp_path, account):
    before = os.umask(0o777)
    try:
        with open_clusters_directory(str(tmp_path / "a" / "b"), shared=True, strict=False) as directory:
            assert mode(directory.path) == mode(tmp_path / "a") == 0o711
    finally:
        os.umask(before)


def test_logs_are_appended_to(directory, account):
    write(directory, "c1", "w1-0", b"one\n", account)
    write(directory, "c1", "w1-0", b"two\n", account)
    assert directory.read_log("c1", "w1-0", 100).content == b"one\ntwo\n"
    assert directory.read_log("c1", "w1-0", 4).content == b"two\n"


def test_a_log_that_is_not_there_is_empty(directory, account):
    assert directory.read_log("c1", "w1-0", 100) is None
    directory.prepare("c1", account)
    assert directory.read_log("c1", "w1-0", 100) is None


def test_a_link_is_neither_written_to_nor_read(directory, account, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    logs = Path(directory.prepare("c1", account), "logs")
    (logs / "w1-0.log").symlink_to(secret)
    with pytest.raises(JobRefused, match=r"w1-0\.log cannot be opened"), directory.open_log("c1", "w1-0", account):
        pass
    assert directory.read_log("c1", "w1-0", 100) is None
    assert secret.read_bytes() == b"secret"


def test_a_hard_link_is_not_written_to(directory, account, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    logs = Path(directory.prepare("c1", account), "logs")
    os.link(secret, logs / "w1-0.log")
    with pytest.raises(JobRefused, match="plain file"), directory.open_log("c1", "w1-0", account):
        pass


def test_a_pipe_does_not_stop_a_reader_or_writer(directory, account):
    logs = Path(directory.prepare("c1", account), "logs")
    os.mkfifo(logs / "w1-0.log")
    assert directory.read_log("c1", "w1-0", 100) is None
    with pytest.raises(JobRefused), directory.open_log("c1", "w1-0", account):
        pass
    reader = os.open(logs / "w1-0.log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(JobRefused, match="plain file"), directory.open_log("c1", "w1-0", account):
            pass
    finally:
        os.close(reader)


def test_a_link_in_the_place_of_the_logs_is_not_followed(directory, account, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "w1-0.log").write_bytes(b"secret")
    logs = Path(directory.prepare("c1", account), "logs")
    logs.rmdir()
    logs.symlink_to(other)
    with pytest.raises(JobRefused), directory.open_log("c1", "w1-0", account):
        pass
    assert directory.read_log("c1", "w1-0", 100) is None
    directory.remove("c1", keep_logs=True)
    assert (other / "w1-0.log").read_bytes() == b"secret"


def test_a_cluster_s_folder_must_be_a_folder(directory, account):
    Path(directory.path, "c1").write_text("")
    with pytest.raises(JobRefused, match=r"c1 cannot be made: Not a directory"):
        directory.prepare("c1", account)


def test_everything_is_removed(directory, account):
    write(directory, "c1", "w1-0", b"one\n", account)
    assert directory.remove("c1", keep_logs=False) == []
    assert os.listdir(directory.path) == [".lock"]
    assert directory.remove("c1", keep_logs=False) == []
    assert directory.remove("c1", keep_logs=True) == []


def test_all_but_the_logs_is_removed(directory, account):
    write(directory, "c1", "w1-0", b"one\n", account)
    folder = Path(directory.path, "c1")
    (folder / "spilled" / "deep").mkdir(parents=True)
    (folder / "spilled" / "deep" / "x").write_text("x")
    (folder / "core").write_text("x")
    (folder / "link").symlink_to("/")
    assert directory.remove("c1", keep_logs=True) == []
    assert os.listdir(folder) == ["logs"]
    assert directory.read_log("c1", "w1-0", 100).content == b"one\n"


def test_what_cannot_be_removed_is_told(directory, account):
    Path(directory.path, "c1").write_text("not a folder")
    assert "Not a directory" in directory.remove("c1", keep_logs=False)[0]
    assert "Not a directory" in directory.remove("c1", keep_logs=True)[0]


def test_one_gateway_at_a_time(tmp_path):
    path = str(tmp_path / "clusters")
    with (
        open_clusters_directory(path, shared=False, strict=False),
        pytest.raises(StartError, match=r"Another gateway uses the clusters directory .*clusters_directory"),
        open_clusters_directory(path, shared=False, strict=False),
    ):
        pass
    with open_clusters_directory(path, shared=False, strict=False):
        pass


@contextmanager
def opened(path, *, strict=False):
    with open_clusters_directory(str(path), shared=False, strict=strict) as directory:
        yield directory


def test_a_folder_that_others_may_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o1777)
    with pytest.raises(StartError, match="others may write to"), opened(tmp_path):
        pass


def test_a_folder_below_one_that_others_may_write_to_is_refused_when_strict(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with opened(tmp_path / "open" / "clusters"):
        pass
    with pytest.raises(StartError, match="others may write to"), opened(tmp_path / "open" / "clusters", strict=True):
        pass


def test_a_sticky_folder_above_is_safe(tmp_path):
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    with opened(tmp_path / "sticky" / "clusters", strict=True):
        pass


def test_a_link_of_ours_is_followed(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with opened(tmp_path / "link", strict=True) as directory:
        assert directory.path == str(tmp_path / "real")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be used: File exists"), opened(tmp_path / "file"):
        pass


def test_a_link_in_the_place_of_the_lock_is_refused(tmp_path):
    (tmp_path / "clusters").mkdir(mode=0o700)
    (tmp_path / "clusters" / ".lock").symlink_to("/nowhere")
    with pytest.raises(StartError, match="cannot be locked"), opened(tmp_path / "clusters"):
        pass


@pytest.fixture
def shared():
    """A clusters directory that other users can reach."""
    top = Path(tempfile.mkdtemp(prefix="clusters-", dir="/var/tmp"))
    top.chmod(0o711)
    with open_clusters_directory(str(top / "clusters"), shared=True, strict=True) as directory:
        yield directory
    shutil.rmtree(top)


@pytest.mark.root
@as_root
class TestAsRoot:
    """What a user may do to trick a gateway that is root."""

    @pytest.fixture
    def alice(self):
        ensure_users()
        return account_of("alice")

    @pytest.fixture
    def bob(self):
        ensure_users()
        return account_of("bob")

    def test_the_folder_and_the_logs_are_the_user_s(self, shared, alice):
        write(shared, "c1", "w1-0", b"one\n", alice)
        folder = Path(shared.path, "c1")
        assert {path.stat().st_uid for path in (folder, folder / "logs", folder / "logs" / "w1-0.log")} == {alice.uid}
        assert shared.read_log("c1", "w1-0", 100).content == b"one\n"

    def test_a_folder_left_half_made_is_completed(self, shared, alice):
        Path(shared.path, "c1").mkdir(mode=0o700)
        shared.prepare("c1", alice)
        assert Path(shared.path, "c1", "logs").stat().st_uid == alice.uid

    def test_a_folder_of_another_user_is_not_used(self, shared, alice, bob):
        shared.prepare("c1", alice)
        with pytest.raises(JobRefused, match="does not belong to user 'bob'"):
            shared.prepare("c1", bob)

    def test_a_file_of_somebody_else_is_neither_written_to_nor_read(self, shared, alice, bob):
        write(shared, "c1", "w1-0", b"one\n", alice)
        os.chown(Path(shared.path, "c1", "logs", "w1-0.log"), bob.uid, bob.gid)
        with pytest.raises(JobRefused, match="plain file"), shared.open_log("c1", "w1-0", alice):
            pass
        assert shared.read_log("c1", "w1-0", 100) is None

    def test_nothing_that_was_put_there_is_given_to_the_user(self, shared, alice):
        logs = Path(shared.prepare("c1", alice), "logs")
        logs.rmdir()
        logs.mkdir()  # as root's, moved there by some trick
        (logs / "w1-0.log").write_bytes(b"secret")
        shared.prepare("c1", alice)
        assert logs.stat().st_uid == 0
        assert shared.read_log("c1", "w1-0", 100) is None
        with pytest.raises(JobRefused, match="does not belong to the user"), shared.open_log("c1", "w1-1", alice):
            pass

    def test_a_clusters_directory_of_somebody_else_is_refused(self, shared, alice):
        path = Path(shared.path, "of-alice")
        path.mkdir(mode=0o700)
        os.chown(path, alice.uid, alice.gid)
        with pytest.raises(StartError, match="belongs to neither root nor the gateway's user"), opened(path):
            pass
        (path / "clusters").mkdir(mode=0o700)
        with pytest.raises(StartError, match="belongs to neither"), opened(path / "clusters", strict=True):
            pass

    def test_a_link_of_somebody_else_is_refused(self, shared, alice):
        link = Path(shared.path, "link")
        link.symlink_to(shared.path)
        os.lchown(link, alice.uid, alice.gid)
        with pytest.raises(StartError, match="belongs to neither"), opened(link):
            pass
