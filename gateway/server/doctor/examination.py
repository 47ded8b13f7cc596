"""All checks, one after the other; what goes wrong in one is a finding, and keeps none from the next."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import trio

from gateway.config.chosen import Chosen
from gateway.config.finding import Finding, doubt, failure, fine
from gateway.errors import ConfigError, GatewayError, innermost
from gateway.server.doctor.account import acting_as_users, own_identity
from gateway.server.doctor.batch_system import batch_system
from gateway.server.doctor.logins import logins
from gateway.server.doctor.machine import clock, disk, open_files
from gateway.server.doctor.network import certificate, ports
from gateway.server.doctor.patient import Patient, Sample
from gateway.server.doctor.trial import trial
from gateway.server.doctor.units import unit

Check = Callable[[Patient], AsyncGenerator[Finding, None]]

CHECKS: tuple[Check, ...] = (
    own_identity,
    disk,
    open_files,
    clock,
    unit,
    ports,
    certificate,
    logins,
    acting_as_users,
    batch_system,
    trial,
)


async def examine(chosen: Chosen, sample: Sample) -> AsyncIterator[Finding]:
    """All findings, as they come."""
    try:
        config = await trio.to_thread.run_sync(chosen.load)
    except ConfigError as error:
        heading, *mistakes = str(error).splitlines()
        for mistake in mistakes or [heading]:
            yield failure("configuration", mistake.strip(), f"dask-gateway-server check-config -f {chosen.path}")
        return
    yield fine("configuration", f"{chosen.path or 'the defaults'}: no mistakes")
    for warning in config.warnings:
        yield doubt("configuration", warning)
    patient = Patient(config, sample)
    for check in CHECKS:
        async with aclosing(_within(check, patient)) as findings:
            async for finding in findings:
                yield finding


async def _within(check: Check, patient: Patient) -> AsyncGenerator[Finding, None]:
    """What a check finds, and its own failure if it has one."""
    subject = check.__name__.replace("_", " ")
    try:
        async for finding in check(patient):
            yield finding
    except* GatewayError as group:
        error = innermost(group)
        yield failure(subject, str(error))
