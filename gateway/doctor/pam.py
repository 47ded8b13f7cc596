"""PAM: rules that check something, and passwords that the gateway's account can have checked."""

from gateway.auth.pam.authenticator import PAMAuthenticator, reads_shadow
from gateway.auth.pam.stack import needs_shadow, rules_of
from gateway.backends.launcher.client import own_account
from gateway.config.load import Config
from gateway.doctor.finding import Finding, ok, warning
from gateway.doctor.site import Say, looked_at


async def examine(authenticator: PAMAuthenticator, config: Config, say: Say) -> None:
    """What lets in anybody, or nobody, is a mistake that is seen when the configuration is read."""
    rules = await looked_at(rules_of, authenticator.service, authenticator.read_rules)
    say(verdict(authenticator.service, needs_shadow(rules), await looked_at(reads_shadow), own_account()))


def verdict(service: str, needs: bool | None, reads: bool, account: str) -> Finding:
    """Whether the passwords of all are checked; `needs` is None where some of them are in the file of passwords."""
    if needs is None and not reads:
        evidence = f"{account} cannot read /etc/shadow: of {service}'s users, those with a password there cannot log in"
        return warning("PAM", evidence, "SupplementaryGroups=shadow in the unit, or usermod -aG shadow " + account)
    return ok("PAM", f"the service {service} checks passwords")
