"""Names and passwords of this machine's accounts, checked by PAM: HTTP Basic for programs, a form for browsers.

Whoever is let in is who the system says that they are: the account's own name,
as PAM and the database of accounts spell it, and not the spelling that was
typed, which a directory service may take in any case.
"""

import os
import pwd
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import structlog
import trio
from quart import has_request_context, request

from gateway.auth.authenticator import Authenticator, Login
from gateway.auth.basic import basic_credentials
from gateway.auth.pam.answers import WRONG, refusal
from gateway.auth.pam.conversation import load_pamela
from gateway.auth.pam.logins import PamLogins, log_in
from gateway.auth.pam.stack import NoSuchService, needs_shadow, rules_of, weakness
from gateway.config.fields import configurable, setting
from gateway.errors import StartError, TryAgainLater, Unauthorized
from gateway.models import User

if TYPE_CHECKING:
    from quart import Quart, Request

_log = structlog.get_logger()

#: Where PAM looks for the rules of a service, in this order.
FOLDERS = ("/etc/pam.d", "/usr/lib/pam.d")
_SHADOW = "/etc/shadow"

#: Bytes of a password; Linux-PAM takes no more (PAM_MAX_RESP_SIZE).
_LONGEST_PASSWORD = 511
_LONGEST_NAME = 256


def _check_service(name: str) -> None:
    if not name or name.startswith(".") or any(c not in "abcdefghijklmnopqrstuvwxyz0123456789._-" for c in name):
        raise ValueError("must be the name of a file in /etc/pam.d, in lower case")


@configurable
class PAMAuthenticator(Authenticator):
    """Names and passwords of this machine's accounts, by HTTP Basic and on the page /login."""

    schemes: ClassVar[tuple[str, ...]] = ("basic",)
    login: ClassVar[Login] = Login.FORM
    takes_account_passwords: ClassVar[bool] = True

    service: str = setting(
        default="dask-gateway",
        help="""The file in /etc/pam.d that says how passwords and accounts are checked. docs/authentication.md has one
        for Debian and one for RHEL.""",
        validator=_check_service,
    )
    allow_root: bool = setting(
        default=False, help="Whether root (any account with the number 0) may log in as well, if PAM lets it in."
    )

    @property
    def login_label(self) -> str:
        """What one logs in with."""
        return "with your account on this machine"

    def find_mistakes(self) -> Iterator[tuple[str, str]]:
        """A missing package, a service that is not there or lets anybody in, passwords that cannot be read."""
        try:
            load_pamela()
        except StartError as error:
            yield "", str(error)
        try:
            rules = rules_of(self.service, self.read_rules)
        except NoSuchService as missing:
            included = "" if missing.service == self.service else f" {self.service!r}, which includes"
            yield (
                "service",
                f"names{included} {missing.service!r}, for which there is no file in {FOLDERS[0]}: PAM would use the"
                " rules of the service 'other'. Make the file (docs/authentication.md has examples), or name another",
            )
            return
        except OSError as error:
            yield "service", f"names {self.service!r}, whose rules cannot be read: {error}"
            return
        if reason := weakness(rules, is_root=os.geteuid() == 0):
            yield "service", f"names {self.service!r}, which {reason}"
        if needs_shadow(rules) and not reads_shadow():
            yield (
                "service",
                f"names {self.service!r}, which checks passwords with pam_unix.so alone, and the gateway's account"
                f" {_own_name()} cannot read {_SHADOW}: it could check no password but its own. Add it to the group of"
                " that file (SupplementaryGroups=shadow in the systemd unit, on Debian), or use another module",
            )

    def read_rules(self, service: str) -> str | None:
        """The text of a service's file, None when there is none."""
        for folder in FOLDERS:
            try:
                with open(os.path.join(folder, service), encoding="utf-8", errors="replace") as file:
                    return file.read()
            except FileNotFoundError:
                continue
        return None

    async def setup(self, app: "Quart") -> None:
        """Load PAM. Raises StartError without it."""
        pamela = await trio.to_thread.run_sync(load_pamela)
        self._logins = PamLogins(partial(log_in, pamela, self.service, self.allow_root))
        try:
            others_as_well = needs_shadow(rules_of(self.service, self.read_rules)) is None
        except (NoSuchService, OSError):  # find_mistakes has told that
            return
        if others_as_well and not reads_shadow():
            _log.warning(
                "the gateway's account cannot check passwords in the file of passwords; users of other modules can log"
                " in, those whose password is there cannot",
                account=_own_name(),
                file=_SHADOW,
                service=self.service,
            )

    async def authenticate(self, request: "Request") -> User:
        """The user in the Authorization header, when PAM lets them in. Raises `Unauthorized` and `TryAgainLater`."""
        credentials = basic_credentials(request.headers.get("Authorization", ""))
        if credentials is None:
            raise Unauthorized
        return await self.check_password(*credentials)

    async def check_password(self, name: str, password: str) -> User:
        """The user with this name and password, when PAM lets them in. Raises `Unauthorized` and `TryAgainLater`."""
        if not password:  # some directory services let in whoever sends none
            raise Unauthorized("No password was given")
        if not name.isprintable() or not _fits(name, _LONGEST_NAME) or not _fits(password, _LONGEST_PASSWORD):
            raise Unauthorized(WRONG)
        host = request.remote_addr or "" if has_request_context() else ""
        answer = await self._logins.ask(name, password, host)
        error = refusal(answer, self.service)
        if error is None:
            return User(answer.account)
        if isinstance(error, TryAgainLater):
            self._refusals.warning("PAM cannot check a password", user=name, service=self.service, reason=str(error))
        raise error


def _fits(text: str, longest: int) -> bool:
    """Whether C takes this for what it is: within a text, it would take a zero for its end."""
    try:
        return "\0" not in text and len(text.encode()) <= longest
    except UnicodeEncodeError:  # half a character
        return False


def reads_shadow() -> bool:
    """Whether this account can read the file of passwords."""
    return os.access(_SHADOW, os.R_OK, effective_ids=True)


def _own_name() -> str:
    try:
        return repr(pwd.getpwuid(os.geteuid()).pw_name)
    except KeyError:
        return str(os.geteuid())
