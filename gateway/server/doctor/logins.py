"""The ways to log in, as each authenticator knows itself."""

from collections.abc import AsyncGenerator

from gateway.config.finding import Finding, doubt
from gateway.server.doctor.patient import Patient


async def logins(patient: Patient) -> AsyncGenerator[Finding, None]:
    """What each authenticator finds."""
    for authenticator in patient.config.authenticators:
        if authenticator.believes_anybody:
            remedy = "c.DaskGateway.authenticator_class"
            yield doubt(type(authenticator).__name__, "lets anybody be anybody, without a password", remedy)
            continue
        for finding in await authenticator.examine():
            yield finding
