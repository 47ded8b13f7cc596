"""OpenID Connect: the issuer's own description of itself, and its keys."""

from gateway.auth.http_json import JsonClient, client_context
from gateway.auth.oidc.authenticator import OIDCAuthenticator
from gateway.auth.oidc.discovery import Metadata, discovery_url, read_metadata
from gateway.auth.oidc.issuer import WHOM, expected
from gateway.auth.oidc.signing_keys import SigningKeys
from gateway.config.load import Config
from gateway.doctor import clock
from gateway.doctor.finding import Finding, failed, ok
from gateway.doctor.site import Say, looked_at
from gateway.errors import GatewayError


async def examine(authenticator: OIDCAuthenticator, config: Config, say: Say, client: JsonClient | None = None) -> None:
    """Ask as the gateway would, by this `client` if there is one."""
    asks = client or JsonClient(WHOM, client_context(authenticator.tls_ca), proxy=authenticator.http_proxy)
    issuer = authenticator.issuer
    remedy = f"curl -sS {discovery_url(issuer)}; c.OIDCAuthenticator.issuer, tls_ca, http_proxy"
    try:
        answer = await asks.get(discovery_url(issuer))
        metadata = read_metadata(issuer, expected(answer, "what it is").json())
        keys = SigningKeys(expected(await asks.get(metadata.keys), "its keys").json())
    except GatewayError as error:
        say(failed("issuer", f"{issuer}: {error}", remedy))
    else:
        say(verdict(issuer, metadata, len(keys), wants_login=bool(authenticator.client_id)))
    finally:
        await asks.close()
    say(clock.verdict(await looked_at(clock.state)))


def verdict(issuer: str, metadata: Metadata, keys: int, *, wants_login: bool) -> Finding:
    """Whether tokens can be checked, and people log in where they should."""
    if not keys:
        return failed("issuer", f"{issuer} publishes no key that can be used", f"curl -sS {metadata.keys}")
    if wants_login and not (metadata.authorization and metadata.token):
        evidence = f"{issuer} names no place to log in at, and there is a client_id"
        return failed("issuer", evidence, "c.OIDCAuthenticator.issuer: is it the right one?")
    return ok("issuer", f"{issuer} describes itself, and has {keys} keys")
