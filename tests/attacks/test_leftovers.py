"""Jobs that leave what is hard to remove. Their clusters end, all of it goes, and nothing else does."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from gateway.backends.base import ClusterRef
from gateway.backends.local.accounts import own_account
from gateway.backends.local.backend import LocalClusterConfig, UnsafeLocalBackend
from gateway.backends.local.files import open_clusters_directory
from gateway.backends.removal import empty
from gateway.models import ClusterStatus
from tests.support.cluster_house import open_house
from tests.support.trees import make_chain, run_as_nobody
from tests.support.users import is_root

DEPTH = 5_000  # folders; the path to the innermost would be longer than any may be


@pytest.mark.parametrize("keep_logs", [False, True])
async def test_a_chain_of_folders_in_a_local_cluster(tmp_path, keep_logs):
    backend = UnsafeLocalBackend(clusters_directory=str(tmp_path / "clusters"))
    cluster = ClusterRef(name="c1", username="alice", config=LocalClusterConfig())
    async with backend.open_driver() as driver:
        folder = Path(driver._directory.prepare("c1", own_account()))
        make_chain(folder, DEPTH)
        await driver.clean(cluster, keep_logs=keep_logs)
        left = os.listdir(folder) if keep_logs else os.listdir(folder.parent)
        assert left == (["logs"] if keep_logs else [".lock"])


async def test_removals_that_take_long_hold_up_nobody_else(tmp_path, nursery):
    """A hundred folders of alice's that are slow to remove; bob's goes meanwhile, and threads are left for the rest."""
    backend = UnsafeLocalBackend(clusters_directory=str(tmp_path / "clusters"))
    slow = threading.Event()
    async with backend.open_driver() as driver:
        remove = driver._directory.remove

        def remove_slowly(cluster, *, keep_logs):
            if cluster.startswith("alice"):
                slow.wait(100)
            return remove(cluster, keep_logs=keep_logs)

        driver._directory.remove = remove_slowly

        async def clean(name, username):
            ref = ClusterRef(name=name, username=username, config=LocalClusterConfig())
            await driver.clean(ref, keep_logs=False)

        try:
            for number in range(100):
                nursery.start_soon(clean, f"alice{number}", "alice")
            await trio.testing.wait_all_tasks_blocked(0.05)
            with trio.fail_after(60):
                await clean("bob", "bob")
                await trio.to_thread.run_sync(os.getpid)
        finally:
            slow.set()


@pytest.mark.root
@pytest.mark.skipif(not is_root(), reason="the launcher serves ordinary users only")
def test_a_chain_of_folders_in_the_directory_of_a_batch_job():
    request = {"action": "clean", "cluster": "c1", "seconds": 300}
    assert (
        run_as_nobody(
            f"""
            import json, sys
            from gateway.backends.launcher import directories, program
            folder = directories.make(str(top), "c1")
            make_chain(folder, {DEPTH})
            request = {{**{request!r}, "staging_directory": str(top)}}
            print(program.answer(json.dumps(request).encode(), "/nowhere"), os.listdir(top))
            """
        )
        == "{'ok': True, 'kept': 0} []"
    )


def test_a_process_that_goes_on_making_folders_holds_nobody_for_ever(tmp_path):
    """It fills the folder as fast as it is emptied. The removal ends all the same, and says what it has left."""
    path = str(tmp_path / "clusters")
    with open_clusters_directory(path, shared=False, strict=False) as directory:
        folder = directory.prepare("c1", own_account())
        program = (
            "import os, itertools\n"
            "for n in itertools.count():\n"
            "    try: os.makedirs(f'{n}/a/b', exist_ok=True)\n"
            "    except OSError: pass"  # what it stands in was removed at this moment
        )
        with subprocess.Popen((sys.executable, "-c", program), cwd=folder, stderr=subprocess.DEVNULL) as process:
            try:
                while not os.path.exists(os.path.join(folder, "100")):
                    os.sched_yield()
                # Whoever finds it empty for a moment has removed it all.
                problems = directory.remove("c1", keep_logs=False, seconds=0.5)
                assert (problems == []) == (not os.path.exists(folder))
            finally:
                process.kill()
        assert directory.remove("c1", keep_logs=False, seconds=600) == []
        assert os.listdir(path) == [".lock"]


def test_folders_that_are_swapped_for_links_lead_nowhere(tmp_path):
    """Another process puts links to a folder of somebody else's in the place of folders, while they are removed."""
    victim = tmp_path / "victim"
    victim.mkdir()
    for number in range(10):
        (victim / str(number)).mkdir()
        (victim / str(number) / "thesis").write_text("x")
    top = tmp_path / "top"
    top.mkdir()
    done = threading.Event()

    def swap():
        while not done.is_set():
            for number in range(20):
                try:
                    os.rename(top / str(number), tmp_path / "aside")
                    os.symlink(victim, top / str(number))
                    os.rename(tmp_path / "aside", top / f"back{number}")
                except OSError:
                    continue

    attacker = threading.Thread(target=swap)
    attacker.start()
    try:
        for _ in range(15):
            for number in range(20):
                try:
                    os.makedirs(top / str(number) / "0" / "a")
                except OSError:
                    continue  # a link
            descriptor = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
            empty(descriptor, deadline=time.monotonic() + 60)
            os.close(descriptor)
    finally:
        done.set()
        attacker.join()
    assert sorted(os.listdir(victim)) == [str(number) for number in range(10)]
    assert all((victim / str(number) / "thesis").read_text() == "x" for number in range(10))


@pytest.mark.parametrize("error", [RecursionError("too deep"), OSError(24, "Too many open files"), MemoryError()])
async def test_whatever_goes_wrong_in_cleaning_the_cluster_ends(autojump_clock, monkeypatch, error):
    async with open_house() as house:
        await house.running()

        async def clean(self, cluster, *, keep_logs):
            raise error

        monkeypatch.setattr(type(house.driver), "clean", clean)
        await house.cluster.stop()
        await house.cluster.wait_ended()
        assert house.cluster.record.status is ClusterStatus.STOPPED


def test_the_launcher_is_as_quick_to_start_as_before():
    """It imports nothing but the small modules it needs: the start of each submission."""
    program = "import sys; import gateway.backends.launcher.program; print(*sorted(sys.modules))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = (sys.executable, "-I", "-c", program)
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    loaded = done.stdout.split()
    assert not {"shutil", "tempfile", "trio", "attr", "structlog", "random", "logging"} & set(loaded)
    launcher = [
        f"backends.launcher.{name}"
        for name in ("commands", "directories", "output", "policy", "program", "request", "rules", "settings")
    ]
    ours = ["backends", "backends.launcher", *launcher, "backends.log_part", "backends.removal", "trusted_files"]
    assert [name for name in loaded if name.startswith("gateway")] == ["gateway", *(f"gateway.{name}" for name in ours)]
