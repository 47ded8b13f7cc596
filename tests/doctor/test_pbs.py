"""What qmgr prints, judged."""

import re
from pathlib import Path

import pytest

from gateway.doctor.pbs import Server, job_verdicts, options, server_of, server_verdicts
from gateway.doctor.pbs_nodes import Host, hosts_of, size_in_bytes

RECORDED = Path(__file__).parents[1] / "data" / "pbs" / "conversations" / "print_server.txt"


def verdicts(settings, *, arrays=True, account="dask"):
    server = Server(settings=settings, queues={})
    found = server_verdicts(server, account=account, is_us=lambda entry: entry == "dask@*", arrays=arrays, group=500)
    return {one.check: one for one in found}


def test_a_recorded_server():
    server = server_of(RECORDED.read_text())
    assert server.queues["workq"]["enabled"] == "True"
    assert server.settings["default_queue"] == "workq"
    found = verdicts(server.settings)
    assert found["job arrays"].status == "ok"


def test_lists_are_whole():
    server = server_of("set server operators = a@*\nset server operators += dask@*\nset server managers += b@c\n")
    assert server.settings == {"operators": "a@*,dask@*", "managers": "b@c"}


@pytest.mark.parametrize(
    ("settings", "check", "status"),
    [
        ({"query_other_jobs": "True"}, "jobs of others", "ok"),
        ({"operators": "a@*, dask@*"}, "jobs of others", "ok"),
        ({"managers": "root@*"}, "jobs of others", "failed"),
        ({"job_history_enable": "True"}, "ends of jobs", "ok"),
        ({"job_history_enable": "False"}, "ends of jobs", "warning"),
        ({"scheduling": "False"}, "scheduling", "failed"),
        ({"max_array_size": "1"}, "job arrays", "failed"),
        ({"max_array_size": "100"}, "job arrays", "ok"),
        ({"a": "b"}, "job arrays", "ok"),
    ],
)
def test_how_a_server_is_set(settings, check, status):
    assert verdicts(settings)[check].status == status


def test_a_server_that_says_nothing_and_one_without_arrays():
    assert [one.status for one in verdicts({}).values()] == ["failed"]
    assert "not used" in verdicts({"max_array_size": "1"}, arrays=False)["job arrays"].evidence


SERVER = Server(
    settings={"default_queue": "workq"},
    queues={
        "workq": {"enabled": "True", "started": "True", "resources_max.walltime": "01:00:00"},
        "seconds": {"enabled": "True", "started": "True", "resources_max.walltime": "60"},
        "closed": {"enabled": "False"},
    },
)


@pytest.mark.parametrize(
    ("arguments", "statuses", "words"),
    [
        (["-lselect=1:ncpus=2", "-lwalltime=3600"], ["ok"], "-lselect=1:ncpus=2"),
        ([], ["ok"], "no resources"),
        (["-qnone"], ["failed"], "no queue none"),
        (["-qclosed"], ["failed", "failed"], "takes no jobs"),
        (["-lwalltime=3601"], ["failed"], "allows 01:00:00"),
        (["-qseconds", "-lwalltime=61"], ["failed"], "allows 60"),
        (["-lwalltime=soon", "-N", "x"], ["ok"], "workq"),
    ],
)
def test_whether_jobs_could_run(arguments, statuses, words):
    found = list(job_verdicts("worker", options(arguments), SERVER, ()))
    assert [one.status for one in found] == statuses
    assert re.search(re.escape(words), found[0].evidence)


def test_without_a_default_queue():
    (found,) = job_verdicts("worker", {}, Server(settings={}, queues={}), ())
    assert (found.status, found.remedy) == ("failed", "c.PBSClusterConfig.queue")


def sample(name):
    return (RECORDED.parents[1] / "samples" / name).read_text()


GB = 2**30


def test_recorded_nodes():
    assert hosts_of(sample("pbsnodes_all.txt")) == (Host(frozenset({"free"}), True, 64, 64 * GB),)
    assert hosts_of(sample("pbsnodes_all_offline.txt")) == (Host(frozenset({"offline"})),)
    assert hosts_of("pbsnodes: Server has no node list\n") == ()


def test_vnodes_of_one_host_are_taken_together():
    lines = [
        "Name=n1[0]|state=free|resources_available.host=n1|resources_available.mem=4gb|resources_available.ncpus=2",
        "Name=n1[1]|state=job-busy|resources_available.host=n1|resources_available.mem=4gb|resources_available.ncpus=2",
        "Name=n1[2]|state=down,offline|resources_available.host=n1|resources_available.mem=4gb",
        "Name=n2|state=free",
    ]
    one, other = hosts_of("\n".join(lines))
    assert (one.usable, one.cpus, one.memory) == (True, 4, 8 * GB)
    assert other == Host(frozenset({"free"}), True)


@pytest.mark.parametrize(
    ("size", "number"),
    [("1gb", GB), ("2GB", 2 * GB), ("10", 10), ("1kw", 8192), ("512mb", GB // 2), ("1.5gb", None), ("", None)],
)
def test_sizes(size, number):
    assert size_in_bytes(size) == number


DOWN, UNKNOWN = Host(frozenset({"down", "state-unknown"})), Host(frozenset({"free"}), True)


@pytest.mark.parametrize(
    ("select", "hosts", "words"),
    [
        ("1:ncpus=2:mem=4096mb", (Host(usable=True, cpus=4, memory=8 * GB),), ""),
        (
            "1:ncpus=2:mem=9gb",
            (Host(usable=True, cpus=4, memory=8 * GB), DOWN),
            "mem=9gb, and the largest node has 8192mb",
        ),
        ("1:ncpus=5:mem=1gb", (Host(usable=True, cpus=4, memory=8 * GB),), "5 cores, and the largest node has 4"),
        ("1:ncpus=5:mem=9gb", (Host(usable=True, cpus=4, memory=8 * GB), UNKNOWN), ""),
        ("1:ncpus=1", (DOWN,), "no node can be used: down, state-unknown"),
        ("", (UNKNOWN,), ""),
        ("1:ncpus=1000000", (), ""),
    ],
)
def test_whether_there_is_a_node_for_a_job(select, hosts, words):
    (found,) = job_verdicts("worker", {"select": select}, SERVER, hosts)
    assert found.status == ("failed" if words else "ok")
    assert words in found.evidence
