"""Options of batch systems: forms, limits, and the arguments that Dask gets from them."""

import pytest

from gateway.backends.batch.option_values import port_range, walltime_seconds
from gateway.backends.batch.options import JobQueueBackend, JobQueueClusterConfig
from gateway.backends.launcher.settings import Settings
from gateway.config.fields import SettingError, dump, with_overrides
from gateway.models import Role


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("1:30", 90),
        ("1:30:00", 5400),
        ("2-12", 216000),
        ("1-0:30", 88200),
        ("1-1:1:1", 90061),
    ],
)
def test_time_limits_are_read_as_sbatch_reads_them(text, seconds):
    assert walltime_seconds(text) == seconds
    assert JobQueueClusterConfig(time=text).time == text


@pytest.mark.parametrize("text", ["soon", "1:2:3:4", "-1", "0", "0:0", "1h", "1 0"])
def test_other_times_are_refused(text):
    with pytest.raises(SettingError, match="time"):
        JobQueueClusterConfig(worker_time=text)


def test_workers_retire_before_their_time_is_up():
    config = JobQueueClusterConfig(time="1:00:00", scheduler_time="2:00:00")
    lifetime, stagger = 3600 - 120 - 30, 30
    assert config.worker_arguments() == ("--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s")
    assert config.scheduler_arguments() == ()


@pytest.mark.parametrize("time", ["0:10", "1", "5", "20"])
def test_short_limits_leave_workers_most_of_their_time(time):
    arguments = JobQueueClusterConfig(time=time).worker_arguments()
    lifetime, stagger = (float(arguments[index].removesuffix("s")) for index in (1, 3))
    limit = walltime_seconds(time)
    assert limit / 2 - 0.2 <= lifetime - stagger
    assert lifetime + stagger <= limit - min(120, limit / 4) + 0.2


def test_arguments_of_workers():
    config = JobQueueClusterConfig(
        worker_processes=3, worker_interface="ib0", worker_extra_args=["--resources", "GPU=1"]
    )
    assert config.worker_arguments() == ("--nworkers", "3", "--interface", "ib0", "--resources", "GPU=1")


def test_arguments_of_schedulers():
    config = JobQueueClusterConfig(scheduler_port="8786", scheduler_interface="ib0", scheduler_extra_args=["--show"])
    assert config.scheduler_arguments() == ("--port", "8786", "--host", "", "--interface", "ib0", "--show")
    assert config.scheduler_ports is None
    config = JobQueueClusterConfig(scheduler_port="9000:9100")
    assert config.scheduler_arguments() == ()
    assert config.scheduler_ports == (9000, 9100)
    assert JobQueueClusterConfig().scheduler_arguments() == ()
    assert JobQueueClusterConfig().worker_arguments() == ()


@pytest.mark.parametrize("text", ["http", "70000", "9000:9001", "9100:9000", "0:10", "-5", ""])
def test_bad_ports(text):
    with pytest.raises(ValueError, match="port"):
        port_range(text)


def test_a_role_s_own_option_wins_and_nothing_is_no_option():
    config = JobQueueClusterConfig(time="5", worker_time="6")
    assert config.for_role(Role.WORKER, "time") == "6"
    assert config.for_role(Role.SCHEDULER, "time") == "5"


@pytest.mark.parametrize("line", ["/bin/bash", "#!bash", "#!/bin/sh\nid", ""])
def test_bad_shebangs(line):
    with pytest.raises(SettingError, match="shebang"):
        JobQueueClusterConfig(shebang=line)


@pytest.mark.parametrize("text", ["relative", "{home}/{cluster}", "{home.x}/a", "/a\nb", "~/x", "C:\\x"])
def test_bad_directories(text):
    with pytest.raises(SettingError, match="directory"):
        JobQueueClusterConfig(staging_directory=text)


def test_bad_names_of_variables():
    with pytest.raises(SettingError, match="pass_environment"):
        JobQueueClusterConfig(pass_environment=["A=B"])
    assert JobQueueClusterConfig(pass_environment=["LANG"]).pass_environment == ("LANG",)


def test_the_eager_period_is_the_shorter_one():
    with pytest.raises(SettingError, match="eager_poll_period"):
        JobQueueBackend(poll_period=1)
    with pytest.raises(SettingError, match="impersonation"):
        JobQueueBackend(impersonation="su")


@pytest.mark.parametrize("path", ["", "launcher.sock", "/a\0b", f"/{'ü' * 54}"])
def test_paths_that_no_socket_can_have(path):
    with pytest.raises(SettingError, match="launcher_socket"):
        JobQueueBackend(launcher_socket=path)
    assert JobQueueBackend(launcher_socket=f"/{'a' * 106}")


def test_values_survive_the_store():
    config = JobQueueClusterConfig(time="5", scheduler_port="9000:9100", extra_args=["--x"], pass_environment=["A"])
    assert with_overrides(JobQueueClusterConfig(), dump(config)) == config


def test_a_batch_system_without_a_dialect_says_nothing_of_itself() -> None:
    assert JobQueueBackend().dialect(Settings()) is None
