"""All subjects, each with a deadline and a boundary of its own: one that hangs or fails holds up no other."""

from collections.abc import Awaitable, Callable, Sequence

import structlog
import trio
from attrs import frozen

from gateway.doctor import account, authenticators, batch, certificate, ports, service, storage, users
from gateway.doctor.finding import Finding, failed
from gateway.doctor.site import Say, Site
from gateway.errors import GatewayError, innermost
from gateway.user_text import one_line

_log = structlog.get_logger()


@frozen
class Subject:
    """Something to look at, and how many seconds that may take."""

    name: str
    examine: Callable[[Site, Say], Awaitable[None]]
    patience: float = 30.0
    #: Whether it is looked at when the others have been: what it does would be in their way.
    comes_last: bool = False


SUBJECTS = (
    Subject("account", account.examine),
    Subject("database", storage.examine),
    Subject("ports", ports.examine),
    Subject("certificate", certificate.examine),
    Subject("unit", service.examine),
    Subject("authenticator", authenticators.examine),
    Subject("batch system", batch.examine, patience=120.0),
    Subject("user", users.examine, patience=240.0, comes_last=True),
)


async def examine(site: Site, subjects: Sequence[Subject] = SUBJECTS) -> list[Finding]:
    """What is found of each subject, in their order."""
    found: list[list[Finding]] = [[] for _ in subjects]
    for last in (False, True):
        async with trio.open_nursery() as nursery:
            for subject, into in zip(subjects, found, strict=True):
                if subject.comes_last is last:
                    nursery.start_soon(_look, subject, site, into)
    return [finding for findings in found for finding in findings]


async def _look(subject: Subject, site: Site, into: list[Finding]) -> None:
    with trio.move_on_after(subject.patience) as scope:
        try:
            await subject.examine(site, into.append)
        except Exception as error:  # noqa: BLE001 - the other subjects are looked at all the same
            reason = innermost(error)
            words = str(reason) if isinstance(reason, GatewayError) else f"{type(reason).__name__}: {reason}"
            _log.debug("a subject could not be examined", subject=subject.name, exc_info=error)
            into.append(failed(subject.name, f"cannot be looked at: {one_line(words)}", site.command))
    if scope.cancelled_caught:
        evidence = f"has not been looked at within {subject.patience:g} seconds: something hangs"
        into.append(failed(subject.name, evidence, "look for a file server or a command that does not answer"))
