"""A login by OpenID Connect: the way of a browser to the issuer and back, and who it was.

The code flow, with PKCE, a nonce, and the issuer's name on the way back (RFC 9207)
where it gives one, so that no other issuer's code is redeemed here. Who the
user is says the id token; claims that it lacks are asked for at the issuer's
user info endpoint, if it has one, and count when they are about the same subject.
"""

import base64
import time
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import quote_plus

from attrs import field, frozen

from gateway.auth.authenticator import LoginStep
from gateway.auth.oauth import authorization_url, new_secret, returned_code
from gateway.auth.oidc.claims import Expected, check_id_token, find_claim
from gateway.auth.oidc.discovery import Metadata
from gateway.auth.oidc.issuer import WHOM, Issuer, expected
from gateway.auth.oidc.jwt import read_token
from gateway.errors import BadGateway, Unauthorized
from gateway.user_text import one_line


@frozen
class Client:
    """The gateway, as the issuer knows it. Without a secret it is a public client."""

    id: str
    secret: str = field(repr=False)
    algorithms: Collection[str]
    clock_skew: float


async def begin(
    issuer: Issuer, client: Client, callback: str, scopes: Collection[str], more: Mapping[str, str]
) -> LoginStep:
    """Where the browser logs in. Raises `TryAgainLater` or `BadGateway`."""
    metadata = await issuer.metadata()
    if not metadata.authorization or not metadata.token:
        raise BadGateway(f"{WHOM} has no page to log in at, for this gateway's administrators to see to")
    remembered = {"state": new_secret(), "code_verifier": new_secret(), "nonce": new_secret()}
    url = authorization_url(
        metadata.authorization,
        client_id=client.id,
        redirect_uri=callback,
        remembered=remembered,
        scope=" ".join(scopes),
        nonce=remembered["nonce"],
        **more,
    )
    return LoginStep(url, remembered)


async def finish(
    issuer: Issuer,
    client: Client,
    callback: str,
    query: Mapping[str, str],
    remembered: Mapping[str, str],
    wanted: Collection[str],
) -> Mapping[str, Any]:
    """What the issuer says of the user with whom the browser is back, `wanted` claims if it can.

    Raises `Unauthorized` or `BadToken`, and `TryAgainLater` or `BadGateway`.
    """
    metadata = await issuer.metadata()
    code = returned_code(query, remembered, WHOM)
    sender = query.get("iss", "" if metadata.names_itself else issuer.url)
    if sender != issuer.url:
        raise Unauthorized(
            f"{one_line(sender, 100) or 'Somebody nameless'} has sent you back, and not {issuer.url}; log in again"
        )
    tokens = await _redeemed(issuer, metadata, client, code, callback, remembered)
    token = read_token(str(tokens.get("id_token", "")), client.algorithms)
    claims = await issuer.claims(token)
    for_us = Expected(issuer.url, frozenset((client.id,)), client.clock_skew)
    check_id_token(claims, for_us, time.time(), nonce=remembered.get("nonce", ""))
    if metadata.user_info and any(find_claim(claims, name) is None for name in wanted):
        more = await _user_info(issuer, metadata, claims, str(tokens.get("access_token", "")))
        claims = {**more, **{name: value for name, value in claims.items() if value is not None}}
    return claims


async def _redeemed(
    issuer: Issuer,
    metadata: Metadata,
    client: Client,
    code: str,
    callback: str,
    remembered: Mapping[str, str],
) -> Mapping[str, Any]:
    """The tokens for a code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": callback,
        "code_verifier": remembered.get("code_verifier", ""),
    }
    headers = {}
    if client.secret and metadata.takes_basic:
        # RFC 6749, 2.3.1: each part is encoded as in forms before they are joined.
        joined = f"{quote_plus(client.id)}:{quote_plus(client.secret)}"
        headers["Authorization"] = f"Basic {base64.b64encode(joined.encode()).decode()}"
    else:
        form["client_id"] = client.id
        if client.secret:
            form["client_secret"] = client.secret
    answer = await issuer.client.post_form(metadata.token, form, headers)
    if answer.status in (400, 401):
        error = answer.json().get("error")
        if error == "invalid_grant":
            raise Unauthorized("This login took too long, or was finished before; please log in again")
        reason = one_line(str(error), 60)
        raise BadGateway(
            f"{WHOM} does not take this gateway for a client ({reason}): the administrators can see to that"
        )
    return expected(answer, "who you are").json()


async def _user_info(
    issuer: Issuer, metadata: Metadata, claims: Mapping[str, Any], access_token: str
) -> Mapping[str, Any]:
    """More about the user of these claims."""
    answer = await issuer.client.get(metadata.user_info, {"Authorization": f"Bearer {access_token}"})
    more = expected(answer, "who you are").json()
    if not claims.get("sub") or more.get("sub") != claims["sub"]:
        raise BadGateway(f"{WHOM} has answered about another user")
    return more
