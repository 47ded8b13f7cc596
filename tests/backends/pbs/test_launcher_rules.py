"""What the launcher passes on to qsub and qdel."""

import pytest

from gateway.backends.pbs.launcher_rules import RULES

ALLOWED = {
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
    assert RULES.allows(command, argument)


@pytest.mark.parametrize(("command", "argument"), [(c, a) for c, arguments in REFUSED.items() for a in arguments])
def test_what_names_files_users_and_scripts_is_not(command, argument):
    assert not RULES.allows(command, argument)


def test_only_two_commands_exist():
    with pytest.raises(KeyError):
        RULES.allows("bash", "-c")
