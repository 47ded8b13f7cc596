"""A site's function that is asked before a cluster is made."""

import pytest
import trio
from structlog.testing import capture_logs

from gateway.config.backend import DBBackendBase
from gateway.config.fields import SettingError, with_overrides
from gateway.config.hooks import DEADLINE
from gateway.config.limits import Limits, UserLimits
from gateway.config.user_options import Integer, Options
from gateway.errors import InvalidRequest, PublicException
from gateway.models import User
from tests.support.houses import FixedGroups, open_house

CLUSTERS = "/api/v1/clusters/"
FIELDS = Options(Integer("worker_cores", default=1, min=1, max=8))


def of_a_site(user, config):
    """For students one core, and no clusters for those who are on a list."""
    if "blocked" in user.groups:
        raise PublicException(f"Dear {user.name}, please talk to us first")
    return with_overrides(config, {"worker_cores": 1}) if "students" in user.groups else config


async def of_a_site_later(user, config):
    await trio.lowlevel.checkpoint()
    return of_a_site(user, config)


@pytest.mark.parametrize("function", [of_a_site, of_a_site_later])
async def test_it_may_refuse_and_change(function):
    groups = FixedGroups(bob=["students"], eve=["blocked"])
    async with open_house(before_create=function, groups=groups, cluster_options=FIELDS) as house:
        answer = await house.ask("POST", CLUSTERS, body={}, user="eve")
        assert (answer.status, answer.error) == (422, "Dear eve, please talk to us first")
        assert house.store.clusters == {}
        for user, cores in (("alice", 4), ("bob", 1)):
            name = await house.create({"worker_cores": 4}, user=user)
            assert house.store.clusters[name].config["worker_cores"] == cores
            assert house.store.clusters[name].options == {"worker_cores": 4}
            assert house.manager.find(name).ref.config.worker_cores == cores


async def test_limits_are_looked_at_afterwards():
    def bigger(user, config):
        return with_overrides(config, {"scheduler_cores": 9})

    async with open_house(before_create=bigger, limits=Limits(users=UserLimits(max_cores=8))) as house:
        answer = await house.ask("POST", CLUSTERS, body={})
        assert (answer.status, "its scheduler takes 9" in answer.error) == (422, True)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PublicException("not today"), "not today"),
        (ValueError("not today"), "The cluster was refused: not today"),
        (KeyError("gpu"), "The cluster was refused: 'gpu'"),
        (SystemExit("enough"), "The cluster was refused: enough"),
        (RuntimeError(), "The cluster was refused: RuntimeError"),
    ],
)
async def test_what_it_raises_is_told(error, text):
    def broken(user, config):
        raise error

    async with open_house(before_create=broken) as house:
        with capture_logs() as logs:
            answer = await house.ask("POST", CLUSTERS, body={})
        assert (answer.status, answer.error) == (422, text)
        tracebacks = [line["exc_info"] for line in logs if line["event"] == "the site's before_create failed"]
        assert tracebacks == ([] if isinstance(error, PublicException) else [error])


async def test_a_value_that_cannot_be():
    def wrong(user, config):
        return with_overrides(config, {"worker_cores": 0})

    async with open_house(before_create=wrong) as house:
        answer = await house.ask("POST", CLUSTERS, body={})
        assert answer.error == "The cluster was refused: worker_cores must be at least 1, got 0"


@pytest.mark.parametrize("result", [None, {"worker_cores": 2}, "config"])
async def test_anything_but_a_configuration_is_a_mistake(result):
    async with open_house(before_create=lambda user, config: result) as house:
        answer = await house.ask("POST", CLUSTERS, body={})
        assert answer.status == 422
        assert f"before_create returned {result!r}, expected the configuration, a ClusterConfig" in answer.error


async def test_one_that_does_not_answer(autojump_clock):
    async def slow(user, config):
        await trio.sleep_forever()

    async with open_house(before_create=slow, cluster_options=FIELDS) as house:
        with pytest.raises(InvalidRequest, match=r"slow \(c.Backend.before_create\) has not answered within 30 s"):
            await house.manager.create(User("alice"), {})
        assert trio.current_time() >= DEADLINE


async def test_nor_are_options_waited_for_for_ever(autojump_clock):
    async def slow(user):
        await trio.sleep_forever()

    async with open_house(cluster_options=slow) as house:
        with pytest.raises(InvalidRequest, match=r"slow \(c.Backend.cluster_options\) has not answered within 30 s"):
            await house.manager.create(User("alice"), {})


def test_a_function_of_something_else_is_found_when_the_configuration_is_read():
    with pytest.raises(SettingError, match=r"before_create must be a function of \(user, config\), not .*\(user\)"):
        DBBackendBase(before_create=lambda user: None)
    with pytest.raises(SettingError, match="before_create must be callable"):
        DBBackendBase(before_create="f")

    class Callable:
        def __call__(self, config):
            return config

    with pytest.raises(SettingError, match=r"not .*Callable\(config\)"):
        DBBackendBase(before_create=Callable())
    assert DBBackendBase(before_create=of_a_site).before_create is of_a_site
