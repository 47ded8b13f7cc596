"""JupyterHub: its API, and the token by which it knows this service."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.addresses import Address, is_loopback
from gateway.auth.http_json import JsonClient, client_context
from gateway.auth.jupyterhub.authenticator import JupyterHubAuthenticator
from gateway.config.load import Config
from gateway.doctor.finding import Finding, failed, ok, skipped, warning
from gateway.doctor.site import Say
from gateway.errors import BadGateway, GatewayError


async def examine(
    authenticator: JupyterHubAuthenticator, config: Config, say: Say, client: JsonClient | None = None
) -> None:
    """Ask as the gateway would, by this `client` if there is one."""
    one = authenticator
    asks = client or JsonClient("JupyterHub", client_context(one.tls_ca, one.tls_cert, one.tls_key))
    url, token = one.jupyterhub_api_url.rstrip("/"), one.jupyterhub_api_token
    try:
        answer = await asks.get(f"{url}/")
        try:
            version = answer.json().get("version")
        except BadGateway:
            version = None
        say(api_verdict(url, answer.status, version))
        if answer.status == 200 and version and token:
            said = await asks.get(f"{url}/user", {"Authorization": f"token {token}"})
            say(token_verdict(said.status, said.json() if said.status == 200 else {}, one.jupyterhub_service_name))
        elif not token:
            say(skipped("Hub's token", "there is none: browsers cannot log in (jupyterhub_api_token)"))
    except GatewayError as error:
        remedy = f"curl -sS {url}/; c.JupyterHubAuthenticator.jupyterhub_api_url"
        say(failed("JupyterHub", f"{url}: {error}", remedy))
    finally:
        await asks.close()


def api_verdict(url: str, status: int, version: object) -> Finding:
    """Whether the API of a Hub answers there, where nobody listens in."""
    remedy = "c.JupyterHubAuthenticator.jupyterhub_api_url, which often ends in /hub/api"
    if status != 200 or not isinstance(version, str):
        return failed("JupyterHub", f"no API of a Hub answers at {url} (status {status})", remedy)
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(str(Address(parts.hostname or "", 80))):
        evidence = f"version {version} at {url}, over plain HTTP: users' tokens can be read on the network"
        return warning("JupyterHub", evidence, "name the Hub's https:// address, or a network of its own")
    return ok("JupyterHub", f"version {version} at {url}")


def token_verdict(status: int, model: Mapping[str, Any], service: str) -> Finding:
    """Whose the gateway's own token is, and what it may."""
    check, option = "Hub's token", "c.JupyterHubAuthenticator.jupyterhub_api_token"
    if status in (401, 403):
        evidence = (
            f"the Hub does not take it (status {status}): it was revoked, or has not even the scope to say whose it is"
        )
        return failed(check, evidence, f"{option} has to be the api_token of the service in jupyterhub_config.py")
    name = model.get("name") if model.get("kind") == "service" else None
    if not isinstance(name, str):
        evidence = "it belongs to no service, so that browsers cannot log in with it"
        return failed(check, evidence, f"{option}: the api_token of a service in jupyterhub_config.py")
    if service and name != service:
        evidence = (
            f"it is that of the service {name}, and c.JupyterHubAuthenticator.jupyterhub_service_name is {service}"
        )
        return failed(check, evidence, f"{option}, or jupyterhub_service_name = {name!r}")
    scopes = model.get("scopes")
    shown = ", ".join(map(str, scopes)) if isinstance(scopes, list) and scopes else "none"
    return ok(check, f"it is that of the service {name}, with the scopes {shown}")
