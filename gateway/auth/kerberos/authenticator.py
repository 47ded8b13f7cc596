"""Kerberos: users have a ticket for the gateway's service, and need no password.

`Authorization: Negotiate <token>` (RFC 4559) brings the ticket, and the answer
brings a token as well, by which the client knows that it speaks with the
gateway: the published client takes no answer without it, so errors carry it
too. One token is all that a request needs; a negotiation over several
requests is refused, as each is answered by itself.

A principal is whom the site's own rules say it is (auth_to_local.py). Those of
other realms are nobody, unless these rules know them.
"""

import re
from collections.abc import Iterator
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from gateway.auth.authenticator import Authenticator, Login
from gateway.auth.blocking import Blocking
from gateway.auth.kerberos.auth_to_local import account_of, default_realm
from gateway.auth.kerberos.header import CHALLENGE, challenge_with, token_of
from gateway.auth.kerberos.keytab_file import contents_of, problem_of
from gateway.auth.kerberos.refusals import KerberosTrouble
from gateway.config.fields import configurable, setting
from gateway.errors import NoAccount, TryAgainLater
from gateway.models import User
from gateway.user_text import one_line

if TYPE_CHECKING:
    from quart import Request, Response

_SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*(@[A-Za-z0-9._-]+)?")
_TYPE_AND_PATH = re.compile(r"([A-Z]+):(.*)", re.DOTALL)
_NEEDED = "KerberosAuthenticator needs the Python package gssapi: pip install 'dask-gateway-trio[kerberos]'"


def _check_service(name: str) -> None:
    if not _SERVICE.fullmatch(name):
        raise ValueError("must be a service like HTTP, or a service at a host like HTTP@gateway.example.org")


def _keytab_path(text: str) -> str:
    match = _TYPE_AND_PATH.fullmatch(text)
    path = match[2] if match and match[1] in ("FILE", "WRFILE") else text
    if not path or "\0" in path or _TYPE_AND_PATH.fullmatch(path):
        raise ValueError("must be the path of a file")
    return path


@configurable
class KerberosAuthenticator(Authenticator):
    """Users show a Kerberos ticket (Negotiate, SPNEGO). Needs the extra [kerberos] of this package."""

    schemes: ClassVar[tuple[str, ...]] = ("negotiate",)
    login: ClassVar[Login] = Login.CHALLENGE

    service_name: str = setting(
        default="HTTP",
        help="""The Kerberos service of the gateway. HTTP, as clients expect it: at all hosts for which the keytab has a
        key of that service. HTTP@gateway.example.org: at that host alone.""",
        validator=_check_service,
    )
    keytab: str = setting(
        default="dask_gateway.keytab",
        help="""The file with the keys of the service HTTP/<host of the gateway's URL>. Only root and the gateway's user
        may be able to change it, and not everybody may be able to read it. KRB5_KTNAME is not looked at.""",
        convert=_keytab_path,
    )
    realms: frozenset[str] = setting(
        default=frozenset(),
        help="""The realms whose principals may log in, if auth_to_local in krb5.conf gives them an account. Empty: all
        realms; where there are no such rules, the principals of the default realm alone have accounts.""",
    )

    @property
    def challenge(self) -> str:
        """What clients with a ticket answer to."""
        return CHALLENGE

    @property
    def login_label(self) -> str:
        """With its name as people know it."""
        return "with Kerberos"

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """A missing package, a keytab that cannot be used or that others could, a machine without a realm."""
        try:
            from gateway.auth.kerberos.acceptor import open_keys
        except ImportError as error:
            yield "", _NEEDED if error.name == "gssapi" else f"{_NEEDED} ({error})"
            return
        problem = problem_of(self.keytab)
        if not problem:
            try:
                open_keys(self.service_name, self.keytab)
            except KerberosTrouble as error:
                problem = f"must have a key of the service {self.service_name}: {contents_of(self.keytab)} ({error})"
        if problem:
            yield "keytab", problem
        try:
            default_realm()
        except KerberosTrouble as error:
            yield "", f"KerberosAuthenticator does not know whose accounts principals are, without krb5.conf: {error}"

    async def authenticate(self, request: "Request") -> tuple[User, str]:
        """Whose ticket it is, and the challenge that goes with the answer. Raises `Unauthorized`, `TryAgainLater`."""
        token = token_of(request.headers.get("Authorization", ""))
        try:
            return await self._kerberos.ask(self._accept, token)
        except NoAccount as error:
            self._refusals.warning("a principal was refused", address=request.remote_addr, reason=str(error))
            error.answer_through = partial(self.pre_response, context=error.challenge)
            raise
        except KerberosTrouble as error:
            self._refusals.warning("no Kerberos ticket can be accepted", reason=str(error), keytab=self.keytab)
            raise TryAgainLater("The gateway cannot accept Kerberos tickets at the moment; its log says why") from error

    async def pre_response(self, request: "Request", response: "Response", context: Any = None) -> None:
        """Let the client know that it speaks with the gateway."""
        if context and context != CHALLENGE:  # else the client has not asked for a token
            response.headers["WWW-Authenticate"] = context

    @cached_property
    def _kerberos(self) -> Blocking:
        return Blocking("Kerberos")

    def _accept(self, token: bytes) -> tuple[User, str]:
        """Whose ticket it is, and the challenge that goes with the answer; blocking.

        Raises Unauthorized, NoAccount with that challenge, and KerberosTrouble.
        """
        from gateway.auth.kerberos.acceptor import accept

        accepted = accept(token, self.service_name, self.keytab)
        reply = challenge_with(accepted.token)
        principal = one_line(accepted.principal, 200)
        realm = accepted.principal.rpartition("@")[2]
        if self.realms and realm not in self.realms:
            raise NoAccount(f"The principal {principal} is of a realm that may not use this gateway", challenge=reply)
        # What the library writes with a backslash has an @ or a / within its name: it could resemble another account.
        account = None if "\\" in accepted.principal else account_of(accepted.principal)
        if account is None:
            raise NoAccount(
                f"The Kerberos principal {principal} belongs to no account of this site (auth_to_local in the gateway's"
                " krb5.conf says which do)",
                challenge=reply,
            )
        return User(account), reply
