"""A look at a site's PBS, by what `print server` says."""

import pytest

from gateway.backends.batch.examination import Wishes
from gateway.backends.commands import Answer
from gateway.backends.pbs.backend import PBSBackend
from gateway.backends.pbs.dialect import PBS
from gateway.backends.pbs.examination import PBSExamination
from gateway.backends.pbs.options import PBSClusterConfig
from gateway.config.cluster import ClusterConfig
from gateway.config.finding import Finding, State

SERVER = """\
create queue workq
set queue workq queue_type = Execution
set queue workq enabled = True
set queue workq started = True
create queue slow
set queue slow enabled = True
set queue slow started = False
set server scheduling = True
set server default_queue = workq
set server query_other_jobs = True
set server max_array_size = 10000
set server job_history_enable = True
"""


def look(text: str, config: ClusterConfig | None = None, **backend: object) -> dict[str, Finding]:
    """What is not as it should be, by its subject."""
    examination = PBSExamination(PBS())
    wishes = Wishes(backend=PBSBackend(**backend), config=config or PBSClusterConfig(), account="dask")
    (question,) = examination.questions(wishes)
    found = list(examination.findings(wishes, {question: Answer(0, text, "")}))
    assert len({finding.subject for finding in found}) == len(found)
    return {finding.subject: finding for finding in found if finding.state is not State.OK}


def test_nothing_is_wrong_with_a_good_one() -> None:
    assert look(SERVER) == {}
    assert look(SERVER, ClusterConfig()) == {}


@pytest.mark.parametrize(
    ("before", "after", "subject", "words"),
    [
        ("max_array_size = 10000", "max_array_size = 1", "job arrays", "takes none"),
        ("query_other_jobs = True", "query_other_jobs = False", "jobs of others", "query_other_jobs"),
        ("job_history_enable = True", "job_history_enable = False", "ended jobs", "forgets them at once"),
        ("scheduling = True", "scheduling = False", "scheduler of PBS", "no job begins"),
        ("workq enabled = True", "workq enabled = False", "queue of workers", "takes no jobs"),
        ("workq started = True", "workq started = False", "queue of schedulers", "starts no jobs"),
        ("default_queue = workq\n", "x = 1\n", "queue of workers", "no default queue"),
    ],
)
def test_what_is_wrong_is_named(before: str, after: str, subject: str, words: str) -> None:
    found = look(SERVER.replace(before, after))
    assert words in found[subject].evidence
    assert "qmgr -c" in found[subject].remedy
    assert {name.partition(" of ")[0] for name in found} == {subject.partition(" of ")[0]}


def test_queues_that_are_configured() -> None:
    found = look(SERVER, PBSClusterConfig(queue="gpu", worker_queue="slow"))
    assert found["queue of schedulers"].evidence == "there is no queue 'gpu': there are slow, workq"
    assert found["queue of workers"].evidence == "slow starts no jobs"
    assert look(SERVER, PBSClusterConfig(queue="R12"))["queue of workers"].state is State.WARNING


def test_arrays_that_are_not_wanted_are_no_matter() -> None:
    assert look(SERVER.replace("max_array_size = 10000", "max_array_size = 1"), worker_job_arrays=False) == {}
