"""HTTP Basic with one password for all, or none."""

import base64
import binascii
from typing import TYPE_CHECKING

from gateway.auth.authenticator import Authenticator
from gateway.auth.secret_compare import same_secret
from gateway.config.fields import configurable, setting
from gateway.errors import Unauthorized
from gateway.models import User

if TYPE_CHECKING:
    from quart import Request

#: Characters of credentials that are looked at.
_LONGEST = 4000


@configurable
class SimpleAuthenticator(Authenticator):
    """HTTP Basic with one password for all, or none: for tests and trusted networks only."""

    password: str | None = setting(
        default=None,
        secret=True,
        help="The password of all users. Unset or empty: whoever names themselves is believed.",
    )

    @property
    def believes_anybody(self) -> bool:
        """True without a password; a subclass that asks in a way of its own is taken at its word."""
        return not self.password and type(self).authenticate is SimpleAuthenticator.authenticate

    async def authenticate(self, request: "Request") -> User:
        """The user named in the Authorization header, when the password is right."""
        return self._user(request.headers.get("Authorization", ""))

    def user_of(self, authorization: str) -> User | None:
        """The same, unless a subclass has a say in it."""
        own = (type(self).authenticate, type(self).pre_response)
        if own != (SimpleAuthenticator.authenticate, Authenticator.pre_response):
            return None
        return self._user(authorization)

    def _user(self, authorization: str) -> User:
        name, password = _basic_credentials(authorization)
        if self.password and not same_secret(password, self.password):
            raise Unauthorized
        self.account_name(name)  # or nobody
        return User(name)


def _basic_credentials(header: str) -> tuple[str, str]:
    """User and password out of an Authorization header (RFC 7617, UTF-8 or Latin-1). Raises `Unauthorized`."""
    kind, _, encoded = header.partition(" ")
    if kind.lower() != "basic" or len(encoded) > _LONGEST:
        raise Unauthorized
    try:
        credentials = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as error:  # no base64, no ASCII
        raise Unauthorized from error
    try:
        text = credentials.decode()
    except UnicodeDecodeError:  # the published client sends Latin-1, of which every byte is a character
        text = credentials.decode("latin-1")
    name, colon, password = text.partition(":")
    if not colon:
        raise Unauthorized
    return name, password
