"""What users may choose: each choice leads to jobs that could run, or its name is told."""

import trio
from attrs import evolve

from gateway.config.load import load
from gateway.config.user_options import Integer, Options, Select
from gateway.doctor import choices
from gateway.doctor.finding import failed, ok
from gateway.doctor.site import Site


def site_of(cluster_options):
    config = load(None)
    return Site(config=evolve(config, backend=evolve(config.backend, cluster_options=cluster_options)))


async def judge(config, role):
    """Nothing has more than eight cores."""
    await trio.lowlevel.checkpoint()
    if config.job_cores(role) > 8:
        return [failed(f"{role}'s job", f"it asks for {config.job_cores(role)} cores", "fewer")]
    return [ok(f"{role}'s job", "well")]


async def told(cluster_options):
    found = []
    await choices.examine(site_of(cluster_options), judge, found.append)
    assert [one.evidence for one in found[:2]] == ["well", "well"]
    return [(one.status, one.evidence) for one in found[2:]]


def profiles(**sizes):
    return Options(
        Select("profile", list(sizes)),
        Integer("odd", default=1, target="worker_cores"),
        handler=lambda options: {"worker_cores": sizes[options.profile]},
    )


async def test_nothing_to_choose():
    assert await told(Options()) == []


async def test_choices_that_are_well_and_some_that_are_not():
    assert await told(profiles(small=1, large=8)) == [("ok", "2 choices lead to jobs that could run")]
    found = await told(profiles(small=1, huge=16, none=0))
    assert found[0] == ("failed", "with profile = 'huge' it asks for 16 cores")
    assert "with profile = 'none' no cluster can be had" in found[1][1]
    assert "worker_cores" in found[1][1]


async def test_more_choices_than_are_looked_at():
    found = await told(profiles(**{f"a{number}": 1 for number in range(choices.MOST + 3)}))
    assert found[1] == ("skipped", "3 more of them were not looked at")


async def test_a_function_of_options_that_fails():
    def options(user):
        raise RuntimeError("no such table")

    ((status, evidence),) = await told(options)
    assert status == "failed"
    assert "no such table" in evidence
