"""What the launcher passes on to sbatch and scancel."""

import pytest

from gateway.backends.slurm.launcher_rules import RULES

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
}
REFUSED = {
    "sbatch": [
        "--wrap=id",
        "--uid=root",
        "--gid=0",
        "--get-user-env",
        "--export-file=/etc/shadow",
        "--output=/etc/x",
        "--error=x",
        "--input=x",
        "--chdir=/",
        "--bbf=/etc/shadow",
        "--wait",
        "-p",
        "main",
        "/tmp/script",
        "--",
        "--export=ALL,LD_PRELOAD=x",
        "--job-name=x",
        "--array=0-9%1",
        "--time=1\n--uid=0",
        "--out=x",
        "--wra=id",
        "--nodelist=/home/alice/.ssh/id_rsa",
        "--exclude=./x",
        "--nodelist",
        "--exclude",
        "--clusters=a,b",
        "--clusters=",
        "--test-only",
        "",
        "--partition=a\x00b",
        "--export=NONE\n",
    ],
    "scancel": ["--user=alice", "--name=x", "-s", "1 2", "", "--state=RUNNING", "12_[", "12_[]", "a"],
}


@pytest.mark.parametrize(("command", "argument"), [(c, a) for c, arguments in ALLOWED.items() for a in arguments])
def test_what_says_what_a_job_needs_is_passed_on(command, argument):
    assert RULES.allows(command, argument)


@pytest.mark.parametrize(("command", "argument"), [(c, a) for c, arguments in REFUSED.items() for a in arguments])
def test_what_names_files_users_and_scripts_is_not(command, argument):
    assert not RULES.allows(command, argument)


def test_only_two_commands_exist():
    with pytest.raises(KeyError):
        RULES.allows("bash", "-c")
