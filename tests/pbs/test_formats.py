"""The simulation prints what a real OpenPBS printed, to the byte.

Each recorded answer (tests/data/pbs/samples) is read into attributes and
printed again. The reader here is small because it reads only recordings; it
shares nothing with the gateway's parser.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.pbs.simulation import pbssim

formats = pbssim("formats")
SAMPLES = Path(__file__).parent.parent / "data" / "pbs" / "samples"


def samples(pattern: str, without: str = "(?!)") -> list[str]:
    """Names of recorded answers."""
    return sorted(p.name for p in SAMPLES.glob(pattern) if not re.search(rf"stderr|{without}", p.name))


def read(name: str) -> str:
    """A recorded answer, bytes intact."""
    return (SAMPLES / name).read_text(errors="surrogateescape")


def unescaped(value: str) -> str:
    """A variable's value as PBS stores it, from what `-f` printed."""
    return value.replace("\\,", ",").replace("\\\\", "\\")


def jobs_of_text(text: str) -> list[tuple[str, list[list[Any]]]]:
    """`qstat -f`: (id, attributes) a job."""
    found: list[tuple[str, list[list[Any]]]] = []
    for line in text.replace("\n\t", "").replace("\nl2", "\0l2").splitlines():
        if line.startswith("Job Id: "):
            found.append((line.removeprefix("Job Id: "), []))
        elif line:
            name, _, value = line.strip(" ").replace("\0", "\n").partition(" = ")
            found[-1][1].append(attribute(name, line.replace("\0", "\n").partition(" = ")[2] if value else ""))
    return found


def attribute(name: str, value: str) -> list[Any]:
    """One attribute from its printed name and value."""
    if name == "Variable_List":
        pairs = re.split(r"(?<!\\),", value)
        return [name, None, [[k, unescaped(v)] for k, v in (pair.split("=", 1) for pair in pairs)]]
    first, _, resource = name.partition(".")
    return [first, resource or None, value]


@pytest.mark.parametrize("name", samples("qstat*_f_*.txt", "json|dsv"))
def test_text(name: str) -> None:
    printed = "".join(formats.text_of(job, attributes) for job, attributes in jobs_of_text(read(name)))
    assert printed == read(name)


@pytest.mark.parametrize("name", samples("*dsv*.txt", "variable_list"))
def test_dsv(name: str) -> None:
    text = read(name)
    printed = ""
    for line in text.splitlines():
        job, *parts = line.split("|")
        attributes = [attribute(*part.split("=", 1)) for part in parts]
        printed += formats.dsv_of(job.removeprefix("Job Id: "), attributes)
    assert printed == text


def test_dsv_doubles_backslashes_again() -> None:
    (job, attributes), *_ = jobs_of_text(read("qstat_f_variable_list.txt"))
    assert formats.dsv_of(job, attributes) == read("qstat_f_dsv_variable_list.txt")


@pytest.mark.parametrize("name", samples("*json*.txt", "unknown.txt|numbers"))
def test_json(name: str) -> None:
    text = read(name)
    document = json.loads(text)
    jobs = []
    for job, members in document["Jobs"].items():
        attributes: list[list[Any]] = []
        for key, value in members.items():
            if key == "Variable_List":
                pairs = [[k, (v if isinstance(v, str) else str(v)).replace("\\\\", "\\")] for k, v in value.items()]
                attributes.append([key, None, pairs])
            elif isinstance(value, dict):
                attributes += [[key, resource, str(v)] for resource, v in value.items()]
            else:
                attributes.append([key, None, str(value)])
        jobs.append((job, attributes))
    printed = formats.json_head(document["pbs_server"], document["timestamp"]) + formats.json_jobs(jobs)
    assert printed + formats.JSON_TAIL == text


def test_json_without_jobs() -> None:
    text = read("qstat_json_unknown.txt")
    assert formats.json_head("pbs", json.loads(text)["timestamp"]) + formats.JSON_TAIL == text


def test_values_that_look_like_numbers() -> None:
    """What qsub had been given, and what `-F json` printed (qstat_f_json_numbers.txt)."""
    given = (
        "A=007 B=1e5 C=+5 D=.5 E=0x1F F=nan G=inf H=1_000 I=5 J=- K=true L={ M=1. N=1e999 "
        "O=123456789012345678901234567890 P=-0 Q=_5 Q2=5 Q3=1.50 Q4=1E Q5="
    )
    pairs = [pair.replace("_5", " 5").split("=", 1) for pair in given.split(" ")]
    printed = formats.json_jobs([("40.pbs", [["Variable_List", None, pairs]])])
    recorded = read("qstat_f_json_numbers.txt")
    lines = [line.rstrip(",") + "," for line in printed.splitlines()[4:-3]]
    assert len(lines) == len(pairs)
    assert not set(lines) - set(recorded.splitlines())


@pytest.mark.parametrize("name", samples("qstat*.txt", "_f_|json|history_off"))
def test_table(name: str) -> None:
    text = read(name)
    printed = formats.HEADER if text.startswith(formats.HEADER) else ""
    for line in text.removeprefix(formats.HEADER).splitlines():
        shown, job_name, user, used, state, queue = line.split()
        # Where PBS has cut something off, anything may have been there.
        printed += formats.table_row(
            re.sub(r"\*$", "0123456789", shown), re.sub(r"\*$", "and more", job_name), user, used, state, queue
        )
    assert printed == text


def test_what_is_cut() -> None:
    row = formats.table_row("1280[100000000].pbs", "dask-gateway-0123456789abcdef", "alice", "0", "Q", "workq")
    assert row.split() == ["1280[100000000].*", "dask-gateway-01*", "alice", "0", "Q", "workq"]
    row = formats.table_row("1279[1000000].pbs", "longid", "alice", "0", "Q", "workq")
    assert row.split()[0] == "1279[1000000].pbs"
