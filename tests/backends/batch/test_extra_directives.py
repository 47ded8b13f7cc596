"""Options of the submit command that a site's function adds."""

import pytest
import trio
from attrs import evolve
from structlog.testing import capture_logs

from gateway.backends.base import ClusterRef, JobSpec
from gateway.backends.batch.extra_directives import with_extra_directives
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.pbs.backend import PBSBackend, PBSClusterConfig
from gateway.backends.pbs.submission import submission_of as pbs_submission_of
from gateway.backends.slurm.backend import SlurmBackend, SlurmClusterConfig
from gateway.backends.slurm.submission import submission_of
from gateway.config.fields import SettingError
from gateway.config.hooks import DEADLINE
from gateway.errors import BackendUnavailable, JobRefused, PublicException
from gateway.models import Role, User


def a_spec(config=None, role=Role.WORKER):
    cluster = ClusterRef(
        name="c1", username="alice", config=config or SlurmClusterConfig(), groups=frozenset(["physics"])
    )
    group = "w1" if role is Role.WORKER else "scheduler"
    return JobSpec(cluster=cluster, role=role, group=group, count=1, command=("dask",), environment={}, secrets={})


async def arguments(directives, config=None):
    """The arguments of sbatch when the site's function returns this."""
    backend = SlurmBackend(extra_directives=lambda user, config, role: directives)
    return submission_of(await with_extra_directives(a_spec(config), backend)).arguments


async def test_without_a_function_nothing_changes():
    spec = a_spec()
    assert await with_extra_directives(spec, SlurmBackend()) is spec


@pytest.mark.parametrize("is_async", [False, True])
async def test_the_function_gets_user_configuration_and_role(is_async):
    asked = []

    def directives(user, config, role):
        asked.append((user, config, role))
        return ["--licenses=matlab"]

    async def later(user, config, role):
        await trio.lowlevel.checkpoint()
        return directives(user, config, role)

    spec = a_spec(role=Role.SCHEDULER)
    backend = SlurmBackend(extra_directives=later if is_async else directives)
    made = await with_extra_directives(spec, backend)
    assert asked == [(User("alice", ["physics"]), spec.cluster.config, "scheduler")]
    assert "--licenses=matlab" in submission_of(made).arguments
    assert "--licenses=matlab" not in submission_of(spec).arguments


async def test_they_replace_what_the_gateway_and_the_site_have_of_their_kind():
    config = SlurmClusterConfig(account="a", partition="main", extra_args=["--mem=5G", "--nice=5"])
    made = await arguments(("-A", "b", "-p gpu", "--mem-per-cpu=4G"), config)
    assert {"--account=b", "--partition=gpu", "--mem-per-cpu=4G", "--nice=5"} <= set(made)
    assert not {"--account=a", "--partition=main", "--mem=5G"} & set(made)
    assert not [argument for argument in made if argument.startswith("--mem=")]


async def test_so_it_is_on_pbs():
    backend = PBSBackend(extra_directives=lambda user, config, role: ["-l", "nodes=1:ppn=4", "-Aproject"])
    made = pbs_submission_of(await with_extra_directives(a_spec(PBSClusterConfig(account="x")), backend)).arguments
    assert {"-lnodes=1:ppn=4", "-Aproject"} <= set(made)
    assert not [argument for argument in made if argument.startswith("-lselect") or argument == "-Ax"]


@pytest.mark.parametrize(
    ("directives", "reason"),
    [
        (["--output=/etc/passwd"], "must be options of sbatch that ask for resources"),
        (["--uid=0"], "'--uid=0' is not passed on"),
        (["--wrap=id"], "'--wrap=id' is not passed on"),
        (["--comment=a\n#SBATCH --uid=0"], "is not passed on"),
        (["--job-name=mine"], "must not hold what the gateway decides itself"),
        (["--requeue"], "set requeue = True"),
        (["script.sh"], "'script.sh' is none"),
        (["#SBATCH --nice"], "'#SBATCH --nice' is none"),
        (["--mem=1G", "--mem-per-cpu=1G"], "must not hold both --mem and --mem-per-cpu"),
        ("--nice", "must return a list of texts, not '--nice'"),
        (None, "must return a list of texts, not None"),
        ([5], "must return a list of texts"),
    ],
)
async def test_what_cannot_be_passed_on_is_refused_with_the_reason(directives, reason):
    with capture_logs() as logs, pytest.raises(JobRefused) as caught:
        await arguments(directives)
    assert str(caught.value).startswith("The site's extra directives cannot be used: they must")
    assert reason in str(caught.value)
    assert [line["log_level"] for line in logs] == ["error"]


@pytest.mark.parametrize("error", [PublicException("no account"), KeyError("no account"), SystemExit("no account")])
async def test_a_function_that_fails(error):
    def broken(user, config, role):
        raise error

    with capture_logs() as logs, pytest.raises(JobRefused, match=r"extra directives failed: .*no account"):
        await with_extra_directives(a_spec(), SlurmBackend(extra_directives=broken))
    assert logs[0]["exc_info"] is error


async def test_a_function_that_does_not_answer(autojump_clock):
    async def slow(user, config, role):
        await trio.sleep_forever()

    with pytest.raises(BackendUnavailable, match=r"slow \(c.JobQueueBackend.extra_directives\) has not answered"):
        await with_extra_directives(a_spec(), SlurmBackend(extra_directives=slow))
    assert trio.current_time() == DEADLINE


def test_mistakes_that_are_found_when_the_configuration_is_read():
    with pytest.raises(SettingError, match=r"must be a function of \(user, config, role\), not .*<lambda>\(user\)"):
        SlurmBackend(extra_directives=lambda user: [])
    with pytest.raises(SettingError, match="JobQueueClusterConfig knows of no submit command's options"):
        JobQueueBackend(extra_directives=lambda user, config, role: [])
    assert SlurmBackend(extra_directives=max).extra_directives is max  # of which Python knows no arguments


async def test_the_clusters_own_configuration_stays_as_it_is():
    spec = a_spec()
    made = await with_extra_directives(spec, SlurmBackend(extra_directives=lambda *about: ["--nice=5"]))
    assert spec.cluster.config.extra_args == ()
    assert evolve(made, cluster=spec.cluster) == spec
