"""What Slurm's commands print, judged; what the real one prints is in tests/slurm/test_doctor.py."""

from pathlib import Path

import pytest
from attrs import evolve

from gateway.backends.commands import Answer
from gateway.doctor.slurm import (
    Needs,
    association_verdict,
    config_verdicts,
    noise_verdict,
    ping_verdict,
    settings_of,
)
from gateway.doctor.slurm_jobs import (
    Node,
    job_verdicts,
    mebibytes,
    names_verdict,
    nodes_of,
    options,
    partitions_of,
)

RECORDED = Path(__file__).parents[1] / "data" / "slurm" / "scontrol_config.txt"
NEEDS = Needs(account="dask", arrays=True, group=500, eager_period=2.0)
PARTITIONS = {
    "main": {"PartitionName": "main", "Default": "YES", "State": "UP", "MaxTime": "1-00:00:00"},
    "long": {"PartitionName": "long", "State": "UP", "MaxTime": "UNLIMITED"},
    "odd": {"PartitionName": "odd", "State": "UP", "MaxTime": "soon"},
    "off": {"PartitionName": "off", "State": "INACTIVE"},
}
NODES = (Node("main", 16, 65536, "idle"), Node("main", 64, 1000, "mixed"), Node("long", 8, 1000, "down"))


def verdicts(settings, needs=NEEDS, level=""):
    return {one.check: one for one in config_verdicts({**settings}, needs, level)}


def test_a_recorded_configuration():
    settings = settings_of(RECORDED.read_text())
    assert settings["MaxArraySize"].isdecimal()
    assert {one.status for one in verdicts(settings).values()} == {"ok"}


@pytest.mark.parametrize(
    ("size", "arrays", "status", "words"),
    [
        ("1001", True, "ok", "groups of 500"),
        ("100", True, "ok", "groups of 100"),
        ("0", True, "failed", "forbids"),
        ("0", False, "ok", "not used"),
        ("", True, "skipped", "does not say"),
    ],
)
def test_arrays(size, arrays, status, words):
    found = verdicts({"MaxArraySize": size}, evolve(NEEDS, arrays=arrays))["job arrays"]
    assert found.status == status
    assert words in found.evidence


@pytest.mark.parametrize(
    ("private", "account", "level", "status"),
    [
        ("none", "dask", "", "ok"),
        ("accounts,usage", "dask", "", "ok"),
        ("jobs", "dask", "Operator", "ok"),
        ("usage,jobs", "dask", "None", "failed"),
        ("jobs", "dask", "", "failed"),
        ("jobs", "root", "", "skipped"),
    ],
)
def test_who_sees_the_jobs_of_others(private, account, level, status):
    found = verdicts({"PrivateData": private}, evolve(NEEDS, account=account), level)["jobs of others"]
    assert found.status == status


@pytest.mark.parametrize(
    ("age", "accounting", "status"),
    [
        ("300 sec", "accounting_storage/none", "ok"),
        ("2 sec", "accounting_storage/none", "warning"),
        ("2 sec", "accounting_storage/slurmdbd", "ok"),
        ("0 sec", "accounting_storage/none", "ok"),  # nothing is forgotten
        ("", "", "ok"),
    ],
)
def test_how_long_ended_jobs_are_known(age, accounting, status):
    assert verdicts({"MinJobAge": age, "AccountingStorageType": accounting})["ends of jobs"].status == status


def test_plugins_are_shown_and_silence_is_a_failure():
    assert "lua" in verdicts({"JobSubmitPlugins": "lua"})["job_submit"].evidence
    assert "job_submit" not in verdicts({"JobSubmitPlugins": "(null)"})
    assert [one.status for one in config_verdicts({}, NEEDS, "")] == ["failed"]


def test_controllers():
    up = "Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n"
    assert ping_verdict(Answer(0, up, "")).status == "ok"
    assert ping_verdict(Answer(1, "Slurmctld(primary) at a is DOWN\n", "")).status == "failed"


def test_noise():
    assert noise_verdict("squeue", Answer(0, "", " \n")).status == "ok"
    assert noise_verdict("squeue", Answer(0, "", "Hello\n")).status == "warning"
    assert noise_verdict("squeue", Answer(1, "", "away\n")).status == "failed"


def test_what_is_read_of_lists():
    text = "PartitionName=main AllowGroups=ALL Default=YES State=UP MaxTime=UNLIMITED\n\nnoise\n"
    assert partitions_of(text)["main"]["Default"] == "YES"
    lines = "main|16|65536|idle\nmain|8|1000+|down*\nmain|x|1|idle\nmain|1|x|idle\nshort|1\n"
    assert nodes_of(lines) == (Node("main", 16, 65536, "idle"), Node("main", 8, 1000, "down"))
    assert options(["--mem=4G", "--exclusive", "x"]) == {"mem": "4G", "exclusive": ""}
    assert [mebibytes(size) for size in ("4G", "1024", "2048K", "1TB", "all")] == [4096, 1024, 2, 1048576, None]


@pytest.mark.parametrize(
    ("asked", "statuses", "words"),
    [
        ({"time": "8:00:00", "mem": "1G", "cpus-per-task": "2"}, ["ok"], "--mem=1G"),
        ({}, ["ok"], "no resources"),
        ({"partition": "main,odd", "time": "8:00:00"}, ["ok"], "main, odd"),
        ({"partition": "odd", "time": "8:00:00"}, ["ok"], "odd"),
        ({"partition": "none,main"}, ["failed"], "no partition none"),
        ({"partition": "off"}, ["failed"], "off is INACTIVE"),
        ({"partition": "off,main"}, ["ok"], "off, main"),
        ({"partition": "long"}, ["failed"], "no node of partition long"),
        ({"time": "2-0"}, ["failed"], "allows 1-00:00:00"),
        ({"partition": "main,long", "time": "2-0"}, ["ok"], "main, long"),
        ({"mem": "100G", "cpus-per-task": "65"}, ["failed", "failed"], "65536M"),
        ({"mem": "all"}, ["ok"], "main"),
    ],
)
def test_whether_jobs_could_run(asked, statuses, words):
    found = list(job_verdicts("worker", asked, PARTITIONS, NODES))
    assert [one.status for one in found] == statuses
    assert words in found[0].evidence


def test_without_a_default_partition():
    (found,) = job_verdicts("worker", {}, {"long": PARTITIONS["long"]}, NODES)
    assert (found.status, found.remedy) == ("failed", "c.SlurmClusterConfig.partition")


def test_names_of_accounting():
    known = {"qos": {"normal"}, "account": set()}
    found = list(names_verdict("worker", {"qos": "high", "account": "physics"}, known))
    assert [one.evidence for one in found] == [
        "there is no qos high; there are normal",
        "there is no account physics; there are none",
    ]
    assert list(names_verdict("worker", {"qos": "normal"}, known)) == []


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", "warning"),
        ("physics||\n", "ok"),
        ("physics|1|\n", "failed"),
        ("physics|1|\nchemistry|100|5\n", "ok"),
    ],
)
def test_what_a_user_may(text, status):
    assert association_verdict("alice", text).status == status
