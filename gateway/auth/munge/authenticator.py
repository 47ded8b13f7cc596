"""MUNGE: users are whoever the machines of the cluster say they are.

`Authorization: munge <credential>`: a credential is made by the munged of the
user's machine, holds their uid, and is decoded by the munged of this one, which has the same key.
Every node of a cluster with Slurm has both. (dask_gateway_login.MungeAuth is the client's side.)

A credential holds for whom it is made as well, `dask-gateway https://host:port`: otherwise whoever receives one
could show it here. What stands in the Host header says nothing about that, so that the gateway has to know its URLs.
"""

import pwd
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from gateway.auth.authenticator import Authenticator
from gateway.auth.blocking import Blocking
from gateway.auth.munge.library import CredentialRefused, MungeTrouble, check_library, decode
from gateway.auth.origins import origin_of
from gateway.config.fields import configurable, setting
from gateway.errors import NoAccount, StartError, TryAgainLater, Unauthorized
from gateway.models import User
from gateway.user_text import one_line

if TYPE_CHECKING:
    from quart import Quart, Request

#: What a credential for a gateway holds before the gateway's URL.
_PURPOSE = "dask-gateway "
#: munge(7); its payload, a URL, is what makes it longer than a few hundred characters.
_CREDENTIAL = re.compile(r"MUNGE:[A-Za-z0-9+/=]{1,4000}:")


def _origins(urls: Sequence[str]) -> tuple[str, ...]:
    return tuple(origin_of(url) for url in urls)


def _check_socket(path: str) -> None:
    if path and (not path.startswith("/") or not path.isprintable() or len(path) > 107):  # unix(7)
        raise ValueError("must be the absolute path of a Unix socket")


@configurable
class MungeAuthenticator(Authenticator):
    """Users are whoever munged says they are, on all machines with its key: where Slurm is, MUNGE is."""

    schemes: ClassVar[tuple[str, ...]] = ("munge",)

    audience: tuple[str, ...] = setting(
        default=(),
        help="""The URLs under which users know the gateway (gateway.address in their configuration); a credential has
        to be for one of them. Empty: those of the names of this machine and of c.Proxy.host_names, at the public port.
        Has to be set behind another server.""",
        convert=_origins,
    )
    socket: str = setting(
        default="",
        help="The Unix socket of munged. Empty: where it is as a rule, /run/munge/munge.socket.2.",
        validator=_check_socket,
    )
    allow_root: bool = setting(default=False, help="Whether root, of all machines with the key, may use the gateway.")

    @property
    def challenge(self) -> str:
        """The scheme that dask_gateway_login.MungeAuth answers to."""
        return "Munge"

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """A library that is missing. A munged that is not there yet may come."""
        try:
            check_library()
        except MungeTrouble as error:
            yield "", f"MungeAuthenticator needs the library of MUNGE (package libmunge2, or munge-libs): {error}"

    async def setup(self, app: "Quart") -> None:
        """Learn under which URLs users know the gateway. Raises `StartError` when nothing says so."""
        self._audience = self.audience or _origins(app.config.get("OWN_URLS", ()))
        if not self._audience:
            raise StartError(
                "c.MungeAuthenticator.audience must be set, as the gateway does not know by itself under which URL"
                " users reach it: name what they have as gateway.address"
            )

    async def authenticate(self, request: "Request") -> User:
        """Whose credential it is. Raises `Unauthorized`, `NoAccount` and `TryAgainLater`."""
        credential = _credential_of(request.headers.get("Authorization", ""))
        try:
            return await self._munge.ask(self._user_of, credential)
        except NoAccount as error:
            self._refusals.warning("a user was refused", address=request.remote_addr, reason=str(error))
            raise
        except CredentialRefused as error:
            raise _refused(f"The MUNGE credential is refused, since {error}") from None
        except MungeTrouble as error:
            self._refusals.warning("MUNGE credentials cannot be decoded", reason=str(error))
            raise TryAgainLater(
                "The gateway cannot decode MUNGE credentials at the moment; its log says why"
            ) from error

    @cached_property
    def _munge(self) -> Blocking:
        return Blocking("MUNGE")

    def _user_of(self, credential: str) -> User:
        """Whose credential it is, blocking. Raises CredentialRefused, NoAccount, MungeTrouble."""
        decoded = decode(credential.encode(), self.socket)
        self._check_payload(decoded.payload)
        if decoded.uid == 0 and not self.allow_root:
            raise NoAccount("Root may not use this gateway (c.MungeAuthenticator.allow_root)")
        try:
            return User(pwd.getpwuid(decoded.uid).pw_name)
        except KeyError:
            raise NoAccount(f"There is no account with the uid {decoded.uid} on the gateway's machine") from None

    def _check_payload(self, payload: bytes) -> None:
        text = payload.decode("ascii", "replace")
        try:
            origin = origin_of(text.removeprefix(_PURPOSE))
        except ValueError:
            origin = ""
        if not origin or not text.startswith(_PURPOSE):
            raise CredentialRefused("it was not made for a Dask gateway")
        if origin not in self._audience:
            raise CredentialRefused(
                f"it is for {one_line(origin, 200)}, and this gateway is {' or '.join(self._audience[:3])}"
                " (c.MungeAuthenticator.audience)"
            )


def _credential_of(authorization: str) -> str:
    scheme, _, credential = authorization.partition(" ")
    if scheme.lower() != "munge":
        raise Unauthorized(challenge="Munge")
    if not _CREDENTIAL.fullmatch(credential.strip()):
        raise _refused("What the client sent with Authorization: munge is no credential of MUNGE")
    return credential.strip()


def _refused(reason: str) -> Unauthorized:
    """With the reason in the challenge as well, where the client can read it."""
    return Unauthorized(reason, challenge='Munge reason="{}"'.format(re.sub(r"[^ !#-\[\]-~]", "?", reason)))
