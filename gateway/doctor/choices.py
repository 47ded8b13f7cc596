"""What users may choose (profiles, partitions): each choice has to lead to jobs that could run."""

from collections.abc import Awaitable, Callable, Collection
from itertools import islice

from attrs import evolve

from gateway.clusters.cluster_options import ClusterOptions
from gateway.config.cluster import ClusterConfig
from gateway.config.option_fields import Select
from gateway.doctor.finding import Finding, Status, failed, ok, skipped
from gateway.doctor.site import Say, Site, own_name
from gateway.errors import GatewayError
from gateway.models import Role, User

Judge = Callable[[ClusterConfig, Role], Awaitable[Collection[Finding]]]

#: Choices that are looked at, each with the defaults of all other fields.
MOST = 50
_CHECK = "users' choices"


async def examine(site: Site, judge: Judge, say: Say) -> None:
    """Look at the jobs of the plain configuration, then at those of each choice; of these what is wrong is said."""
    plain = {role: await judge(site.config.cluster_config, role) for role in Role}
    for findings in plain.values():
        for finding in findings:
            say(finding)
    said = {finding.evidence for findings in plain.values() for finding in findings}
    options = ClusterOptions(site.config.backend, site.config.cluster_config)
    user = User(site.submit_as or own_name())
    try:
        fields = [field for field in (await options.of(user)).fields if isinstance(field, Select)]
    except GatewayError as error:
        say(failed(_CHECK, str(error), "c.Backend.cluster_options"))
        return
    wanted = [(field.field, choice) for field in fields for choice in field.options]
    wrong = 0
    for field, choice in islice(wanted, MOST):
        for finding in await _of_choice(options, user, {field: choice}, judge):
            if finding.evidence not in said:
                wrong += 1
                said.add(finding.evidence)
                say(evolve(finding, evidence=f"with {field} = {choice!r} {finding.evidence}"))
    if wanted and not wrong:
        say(ok(_CHECK, f"{min(len(wanted), MOST)} choices lead to jobs that could run"))
    if len(wanted) > MOST:
        say(skipped(_CHECK, f"{len(wanted) - MOST} more of them were not looked at"))


async def _of_choice(
    options: ClusterOptions, user: User, requested: dict[str, str], judge: Judge
) -> Collection[Finding]:
    """What is wrong with what a user would get who chooses this."""
    try:
        _, config = await options.configure(user, requested)
    except GatewayError as error:
        return [failed(_CHECK, f"no cluster can be had: {error}", "c.Backend.cluster_options, and its handler")]
    found = [finding for role in Role for finding in await judge(config, role)]
    return [finding for finding in found if finding.status is Status.FAILED]
