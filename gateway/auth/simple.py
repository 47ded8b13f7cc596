"""HTTP Basic with one password for all, or none."""

import hashlib
from typing import TYPE_CHECKING, ClassVar

from gateway.auth.authenticator import Authenticator, Login
from gateway.auth.basic import basic_credentials
from gateway.auth.secret_compare import same_secret
from gateway.config.fields import configurable, setting
from gateway.errors import Unauthorized
from gateway.models import User

if TYPE_CHECKING:
    from quart import Request


@configurable
class SimpleAuthenticator(Authenticator):
    """HTTP Basic with one password for all, or none: for tests and trusted networks only."""

    schemes: ClassVar[tuple[str, ...]] = ("basic",)
    login: ClassVar[Login] = Login.FORM

    password: str | None = setting(
        default=None,
        secret=True,
        help="The password of all users. Unset or empty: whoever names themselves is believed.",
    )

    @property
    def believes_anybody(self) -> bool:
        """True without a password; a subclass that asks in a way of its own is taken at its word."""
        return not self.password and not self._asks_in_its_own_way

    @property
    def _asks_in_its_own_way(self) -> bool:
        return type(self).authenticate is not SimpleAuthenticator.authenticate

    @property
    def login_label(self) -> str:
        """None: there is one password, and nothing to choose."""
        return ""

    @property
    def fingerprint(self) -> str:
        """Another one for each password: sessions end when it changes."""
        return hashlib.sha256(f"dask-gateway {self.password}".encode()).hexdigest()[:16] if self.password else ""

    async def authenticate(self, request: "Request") -> User:
        """The user named in the Authorization header, when the password is right."""
        return self._user(request.headers.get("Authorization", ""))

    async def check_password(self, name: str, password: str) -> User:
        """The user of this name, when the password is right. Raises `Unauthorized`."""
        return self._checked(name, password)

    def user_of(self, authorization: str) -> User | None:
        """The same, unless a subclass has a say in it."""
        if self._asks_in_its_own_way or type(self).pre_response is not Authenticator.pre_response:
            return None
        return self._user(authorization)

    def _user(self, authorization: str) -> User:
        credentials = basic_credentials(authorization)
        if credentials is None:
            raise Unauthorized
        return self._checked(*credentials)

    def _checked(self, name: str, password: str) -> User:
        if self.password and not same_secret(password, self.password):
            raise Unauthorized("The password is wrong")
        self.account_name(name)  # or nobody
        return User(name)
