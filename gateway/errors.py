"""What can go wrong, said for people.

Every error that a user, a job or an administrator may meet is a subclass of
`GatewayError`. Its text is a whole sentence that names the thing concerned
and, where there is one, the next step; its `status` is the HTTP status under
which the API hands that sentence to the client (docs/architecture.md says
which status the published client turns into which exception).
Anything that is not a `GatewayError` is a bug and reaches users as a bare 500.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar


class GatewayError(Exception):
    """Base of all errors with a sentence for people."""

    #: The HTTP status of the answer that carries this error.
    status: ClassVar[int] = 500
    #: What is called with the request and the answer that carries this error: whoever knows the user by now, and has
    #: more to say to their client.
    answer_through: Callable[[Any, Any], Any] | None = None

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Extra headers of the HTTP answer."""
        return ()


class ConfigError(GatewayError):
    """The configuration has mistakes; the text lists all of them, one a line."""


class StartError(GatewayError):
    """The server cannot start: a port in use, a database that is locked, ..."""


class InvalidRequest(GatewayError):
    """The request's body, query or field is not what the route takes."""

    status = 422


class PublicException(InvalidRequest):
    """For a site's own options functions and handlers to raise: their user reads the text (the original's name)."""


class BadRequest(GatewayError):
    """The request is not even well-formed (bad JSON, a body that is no object)."""

    status = 400


class MethodNotAllowed(GatewayError):
    """The route does not take this method, only `allowed`."""

    status = 405

    def __init__(self, message: str, *, allowed: str) -> None:
        super().__init__(message)
        self.allowed = allowed

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """RFC 9110, 15.5.6: the answer names the methods that are taken."""
        return (("Allow", self.allowed),)


class RequestTooSlow(GatewayError):
    """The request's body does not arrive."""

    status = 408


class TooLarge(GatewayError):
    """The request's body is larger than any honest one."""

    status = 413


class NotJson(GatewayError):
    """A change whose body is not declared as JSON, as any page could make a browser send it."""

    status = 415


class Misdirected(GatewayError):
    """The request was meant for a server of another name."""

    status = 421


class Unauthorized(GatewayError):
    """Nobody has been identified; the text says why.

    `challenge` is what WWW-Authenticate says, `others` what it says besides; empty: nothing.
    """

    status = 401

    def __init__(
        self, message: str = "Authentication required", *, challenge: str = "Basic", others: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.challenge = challenge
        self.others = tuple(others)

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The challenges: the published client only authenticates when it sees one, and only sees the first."""
        return tuple(("WWW-Authenticate", challenge) for challenge in (self.challenge, *self.others) if challenge)


class NoAccount(Unauthorized):
    """Somebody has been identified, under a name that is no account's; the text says why.

    Users are told by a 422: of a 401 the published client shows no text, and other credentials would not help.
    """


class Forbidden(GatewayError):
    """The user is known, the cluster belongs to somebody else; or the request comes from somebody else's page."""

    status = 403


class NotFound(GatewayError):
    """No such cluster."""

    status = 404


class TooManyFailures(GatewayError):
    """Logins have failed too often; `seconds` is how long no other is tried."""

    status = 429

    def __init__(self, message: str, *, seconds: int) -> None:
        super().__init__(message)
        self.seconds = seconds

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """RFC 6585, section 4: when to try again."""
        return (("Retry-After", str(self.seconds)),)


class Conflict(GatewayError):
    """The cluster is not in a state that allows this; the published client shows the text."""

    status = 409


class NotShared(Conflict):
    """The cluster is shared with the user, but not for this; the published client would not show the text of a 403."""


class ClusterFailed(Conflict):
    """The cluster waited for has failed; the text is the reason."""


class TryAgainLater(GatewayError):
    """A limit is reached or a part is down; the same request may work later."""

    status = 503


class BadGateway(GatewayError):
    """A server that this one had to ask answers what is no answer."""

    status = 502


class JobError(GatewayError):
    """Base of what a driver may raise. See `gateway.backends.base.Driver`."""


class JobRefused(JobError):
    """The batch system said no, in the words of the text. No job exists."""


class QueueFull(JobError):
    """A limit on the number of jobs is reached: nothing was submitted, fewer jobs may fit now, and more later."""


class BackendUnavailable(JobError):
    """The batch system does not answer. No job was submitted; nothing is known to be gone."""


class AnswerLost(JobError):
    """A submission's answer was lost (timeout, broken pipe): the job may or may not exist."""


def innermost(error: BaseException) -> BaseException:
    """The error itself, or the first one inside a group, however deep."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint for people, " (did you mean 'x'?)"; nothing when there are no names."""
    matches = difflib.get_close_matches(name, list(names), n=1, cutoff=0)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
