"""What users may choose (profiles, partitions): each choice has to lead to jobs that could run."""

from collections.abc import Awaitable, Callable, Collection
from functools import partial

from attrs import evolve

from gateway.backends.launcher.client import own_account
from gateway.clusters.cluster_options import ClusterOptions
from gateway.config.cluster import ClusterConfig
from gateway.config.option_fields import Select
from gateway.config.user_options import Options
from gateway.doctor.finding import Finding, Status, failed, ok, skipped
from gateway.doctor.site import Say, Site
from gateway.errors import GatewayError
from gateway.models import Role, User

Judge = Callable[[ClusterConfig, Role], Awaitable[Collection[Finding]]]

#: Choices that are looked at, each with the defaults of all other fields.
MOST = 50
_CHECK = "users' choices"


async def examine(site: Site, judge: Judge, say: Say) -> None:
    """Look at the jobs of the plain configuration, then at those of each choice; of these what is wrong is said."""
    plain = [finding for role in Role for finding in await judge(site.config.cluster_config, role)]
    for finding in plain:
        say(finding)
    options = ClusterOptions(site.config.backend, site.config.cluster_config)
    user = User(site.submit_as or own_account())
    try:
        wanted = _choices(await options.of(user))
    except GatewayError as error:
        say(failed(_CHECK, str(error), "c.Backend.cluster_options"))
        return
    wrong = await _wrong(wanted[:MOST], partial(_of_choice, options, user, judge), {one.evidence for one in plain})
    for finding in wrong:
        say(finding)
    if wanted and not wrong:
        say(ok(_CHECK, f"{len(wanted[:MOST])} choices lead to jobs that could run"))
    if len(wanted) > MOST:
        say(skipped(_CHECK, f"{len(wanted) - MOST} more of them were not looked at"))


async def _wrong(
    wanted: Collection[tuple[str, str]],
    look: Callable[[dict[str, str]], Awaitable[Collection[Finding]]],
    said: Collection[str],
) -> Collection[Finding]:
    """What is wrong with these choices, by its evidence, which is told once, and not when it was `said` already."""
    found: dict[str, Finding] = {}
    for field, choice in wanted:
        for finding in await look({field: choice}):
            named = evolve(finding, evidence=f"with {field} = {choice!r} {finding.evidence}")
            found.setdefault(finding.evidence, named)
    return [finding for evidence, finding in found.items() if evidence not in said]


def _choices(options: Options) -> list[tuple[str, str]]:
    """Each choice of each field that has some."""
    return [(field.field, choice) for field in options.fields if isinstance(field, Select) for choice in field.options]


async def _of_choice(
    options: ClusterOptions, user: User, judge: Judge, requested: dict[str, str]
) -> Collection[Finding]:
    """What is wrong with what a user would get who chooses this."""
    try:
        _, config = await options.configure(user, requested)
    except GatewayError as error:
        return [failed(_CHECK, f"no cluster can be had: {error}", "c.Backend.cluster_options, and its handler")]
    found = [finding for role in Role for finding in await judge(config, role)]
    return [finding for finding in found if finding.status is Status.FAILED]
