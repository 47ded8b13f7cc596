"""Limits of a cluster."""

import orjson
import pytest

from gateway.backends.local.backend import LocalClusterConfig
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingError, dump, with_overrides
from gateway.config.structure import ShellWord


@pytest.mark.parametrize(
    ("limits", "workers"),
    [
        ({}, None),
        ({"cluster_max_workers": 3}, 3),
        ({"cluster_max_workers": 0}, 0),
        ({"cluster_max_memory": "10 G"}, 4),
        ({"cluster_max_memory": "2 G"}, 0),
        ({"cluster_max_cores": 7.5, "worker_cores": 2}, 3),
        ({"cluster_max_cores": 3, "cluster_max_memory": "100 G"}, 2),
        ({"cluster_max_cores": 9, "cluster_max_memory": "10 G", "cluster_max_workers": 5}, 4),
        ({"cluster_max_cores": 9, "cluster_max_memory": "10 G", "cluster_max_workers": 2}, 2),
    ],
)
def test_the_smallest_limit_counts_after_the_schedulers_share(limits: dict[str, object], workers: int | None) -> None:
    assert ClusterConfig(**limits).max_workers == workers


def test_a_scheduler_fits_into_its_cluster() -> None:
    with pytest.raises(SettingError, match=r"scheduler_memory must not exceed cluster_max_memory \(1073741824 bytes\)"):
        ClusterConfig(cluster_max_memory="1 G")
    with pytest.raises(SettingError, match=r"scheduler_cores must not exceed cluster_max_cores \(1.5\), got 2"):
        ClusterConfig(scheduler_cores=2, cluster_max_cores=1.5)


@pytest.mark.parametrize("variables", [{"": "x"}, {"A=B": "x"}, {"A": "x\0"}, {"A\0": "x"}, {"-S": "x"}, {"-": "x"}])
def test_environment_variables_that_cannot_be(variables: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="environment must hold names"):
        ClusterConfig(environment=variables)


def test_commands_and_environment() -> None:
    config = ClusterConfig(worker_cmd="/opt/my env/dask-worker", scheduler_cmd=["a b", "c"], environment={"A": "b"})
    assert config.worker_cmd == ("/opt/my", "env/dask-worker")
    assert config.scheduler_cmd == ("a b", "c")
    assert config.scheduler_arguments() == config.worker_arguments() == ()
    assert with_overrides(ClusterConfig(), dump(config)) == config


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("source /opt/activate && dask-worker", "must begin with a program, which 'source' is not"),
        ("FOO=1 dask-worker", "must begin with a program, not with a variable ('FOO=1'): set environment"),
        ("dask-worker && true", "must be one program and its arguments, without shell ('&&')"),
        ("dask-worker ; true", "without shell (';')"),
        ("dask-worker; true", "without shell"),
        ("dask-worker > /tmp/log", "without shell ('>')"),
        ("dask-worker 2>&1", "without shell ('2>&1')"),
        ("dask-worker >>/tmp/log", "without shell ('>>/tmp/log')"),
        ("dask-worker | tee", "without shell ('|')"),
        ("dask-worker &", "without shell ('&')"),
        ("dask-worker --host $(hostname -i)", "without shell ('$(hostname')"),
        ("dask-worker --host `hostname`", "without shell ('`hostname`')"),
        (["dask-worker", "--host=$(hostname)"], "without shell ('--host=$(hostname)')"),
        ("module load dask", "put lines of shell into scheduler_setup and worker_setup"),
    ],
)
@pytest.mark.parametrize("option", ["scheduler_cmd", "worker_cmd"])
def test_lines_of_shell_are_no_commands(option: str, command: object, reason: str) -> None:
    with pytest.raises(SettingError) as caught:
        ClusterConfig(**{option: command})
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    "command",
    [
        "~/miniconda/bin/dask-worker",
        "$HOME/miniconda/bin/dask-worker",
        "srun -n1 dask-worker --resources 'a=1 b=2' --preload 'x;y'",
        "bash -c 'source a && exec dask-worker \"$@\"' worker",
        ["bash", "-c", "exec dask-worker --host $(hostname)"],
        ["/opt/with blank/dask-worker", "--name=<x>"],
    ],
)
def test_commands_of_a_program_with_arguments(command: object) -> None:
    config = ClusterConfig(worker_cmd=command)
    assert with_overrides(ClusterConfig(), dump(config)) == config


def test_variables_are_for_the_shell_of_a_batch_job() -> None:
    config = ClusterConfig(worker_cmd=["$HOME/bin/dask-worker", "--a=${B}", "c $D", "$1", "$", "~/x", "$$E"])
    assert [type(word) is ShellWord for word in config.worker_cmd] == [True, True, False, False, False, False, True]
    assert orjson.loads(orjson.dumps(dump(config)))["worker_cmd"] == list(config.worker_cmd)


@pytest.mark.parametrize("program", ["$HOME/bin/dask-worker", "${CONDA}/bin/dask", "~/bin/dask-worker", "~"])
def test_local_processes_are_started_without_a_shell(program: str) -> None:
    with pytest.raises(SettingError, match="must name its program by a path without variables") as caught:
        LocalClusterConfig(worker_cmd=program)
    assert caught.value.option == "worker_cmd"
    LocalClusterConfig(worker_cmd=["dask", "worker", "--name=$X"], scheduler_cmd="/opt/dask/bin/dask-scheduler")


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ((), ()),
        ("", ()),
        ("bob", ("bob",)),
        (" bob, @physics ,,bob", ("bob", "@physics")),
        (["b.o-b@example.org", "@/a group: of many words"], ("b.o-b@example.org", "@/a group: of many words")),
        ([f"u{number}" for number in range(25)], tuple(f"u{number}" for number in range(25))),
    ],
)
def test_with_whom_a_cluster_is_shared(written: object, names: tuple[str, ...]) -> None:
    config = ClusterConfig(share_use=written)
    assert config.share_use == names
    assert with_overrides(ClusterConfig(), {"share_use": dump(config)["share_use"]}).share_use == names


@pytest.mark.parametrize(
    "written",
    [
        "bob smith",
        "-bob",
        "../bob",
        "@",
        "@@x",
        "@ ",
        "b\0b",
        "@a\nb",
        "@" + "x" * 129,
        "x" * 129,
        ["a,b"],
        ["@a,b"],
        [""],
    ],
)
def test_what_is_no_name_of_a_user_or_a_group(written: object) -> None:
    with pytest.raises(SettingError, match="share_view must hold names of users, and of groups with an @"):
        ClusterConfig(share_view=written)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ([f"u{number}" for number in range(26)], "must hold at most 25 names: make a group of them"),
        (3, "must be a list"),
        ([3], "every item must be text"),
        ({"bob": True}, "must be a list"),
    ],
)
def test_what_is_no_list_of_names(written: object, reason: str) -> None:
    with pytest.raises(SettingError, match=f"share_view {reason}"):
        ClusterConfig(share_view=written)
