"""Options of batch systems: forms, limits, and the arguments that Dask gets from them."""

import pytest

from gateway.backends.batch.options import JobQueueBackend, JobQueueClusterConfig, port_range, walltime_seconds
from gateway.backends.launcher.rules import ARGUMENTS, allows
from gateway.config.fields import SettingError, dump, restore
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


def test_values_survive_the_store():
    config = JobQueueClusterConfig(time="5", scheduler_port="9000:9100", extra_args=["--x"], pass_environment=["A"])
    assert restore(JobQueueClusterConfig, dump(config)) == config


# --- what the launcher passes on --------------------------------------------------------------------------------------

ALLOWED = {
    "sbatch": [
        "--parsable",
        "--job-name=dask-gateway-a-w1",
        "--array=0-19",
        "--export=ALL",
        "--exclusive",
        "--time=1-0",
        "--nodelist=n[1-4],n7",
        "--comment=a/b",
    ],
    "scancel": ["12", "12_3", "12_[0-4,7]"],
    "qsub": [
        "-f",
        "-Ndask-gateway-a-w1",
        "-J0-19",
        "-koed",
        "-joe",
        "-rn",
        "-lselect=1:ncpus=2:mem=4GB",
        "-qdask",
        "-q7",
        "-Wumask=022",
    ],
    "qdel": ["12", "12.pbs", "12[].pbs", "12[3-5].pbs01.example.org"],
}
REFUSED = {
    "sbatch": [
        *("--wrap=id", "--uid=root", "--gid=0", "--get-user-env", "--export-file=/etc/shadow", "--output=/etc/x"),
        *("--error=x", "--input=x", "--chdir=/", "--bbf=/etc/shadow", "--wait", "-p", "main", "/tmp/script", "--"),
        *("--export=ALL,LD_PRELOAD=x", "--job-name=x", "--array=0-9%1", "--time=1\n--uid=0", "--out=x", "--wra=id"),
        *("--nodelist=/home/alice/.ssh/id_rsa", "--exclude=./x", "--nodelist", "--exclude"),
        *("--clusters=a,b", "--clusters=", "--test-only", "", "--partition=a\0b", "--export=NONE\n"),
    ],
    "scancel": ["--user=alice", "--name=x", "-s", "1 2", "", "--state=RUNNING", "12_[", "12_[]", "a"],
    "qsub": [
        "-vA=B",
        "-V",
        "-o/etc/x",
        "-e/x",
        "-I",
        "-X",
        "-C#",
        "-uroot",
        "/tmp/script",
        "-q",
        "-q-V",
        "-qworkq@evil.host",
        "-q@evil.host",
        "-Wstagein=a@b:c",
        "-Wsandbox=PRIVATE,stageout=x@login:/home/alice/.bashrc",
        "-Wumask=022,stagein=a@b:c",
        "-Wgroup_list=",
        "",
    ],
    "qdel": ["-W", "all", "-x", "12 13", "", "12.a b", "-Wforce"],
}


@pytest.mark.parametrize(("command", "argument"), [(c, a) for c, arguments in ALLOWED.items() for a in arguments])
def test_what_says_what_a_job_needs_is_passed_on(command, argument):
    assert allows(command, argument)


@pytest.mark.parametrize(("command", "argument"), [(c, a) for c, arguments in REFUSED.items() for a in arguments])
def test_what_names_files_users_and_scripts_is_not(command, argument):
    assert not allows(command, argument)


def test_only_batch_commands_exist():
    assert set(ARGUMENTS) == {"sbatch", "scancel", "qsub", "qdel"}
