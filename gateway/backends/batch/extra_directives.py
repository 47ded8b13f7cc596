"""Options of the submit command that a site's function adds for one submission (`c.JobQueueBackend.extra_directives`).

They take the place of others of their kind, those of `extra_args` included, and
pass the same allow-list, here and in the launcher: a function of the site can
say what jobs ask for, but not who runs them, and what.
"""

import structlog
from attrs import evolve

from gateway.backends.base import JobSpec
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.batch.submit_options import merged, site_options
from gateway.backends.batch.user_commands import config_of
from gateway.config.fields import with_overrides
from gateway.config.hooks import HookTooSlow, call_hook
from gateway.config.site_errors import told
from gateway.config.structure import shown
from gateway.errors import BackendUnavailable, JobRefused
from gateway.models import User

_log = structlog.get_logger()

_OPTION = "c.JobQueueBackend.extra_directives"


async def with_extra_directives(spec: JobSpec, backend: JobQueueBackend) -> JobSpec:
    """The submission with what the site's function adds to it.

    Raises `JobRefused` when the function raises or returns what cannot be passed on, and `BackendUnavailable` when it
    does not answer.
    """
    cluster, config = spec.cluster, config_of(spec.cluster)
    if backend.extra_directives is None:
        return spec
    user = User(cluster.username, cluster.groups)
    try:
        words = await call_hook(_OPTION, backend.extra_directives, user, config, spec.role)
    except HookTooSlow as error:
        raise BackendUnavailable(str(error)) from None
    except (Exception, SystemExit) as error:
        _log.error("the site's function of extra directives failed", cluster=cluster.name, exc_info=error)
        raise JobRefused(f"The site's function of extra directives failed: {told(error)}") from error
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise _unusable(f"must return a list of texts, not {shown(words)}")
    assert config.grammar is not None, "what has none cannot have this option"
    try:
        extra = merged(
            config.grammar, (), site_options(config.grammar, config.extra_args), site_options(config.grammar, words)
        )
        # Also what cannot stand together is found before anything is submitted.
        config = with_overrides(config, {"extra_args": extra})
    except ValueError as error:
        raise _unusable(str(error)) from error
    return evolve(spec, cluster=evolve(cluster, config=config))


def _unusable(reason: str) -> JobRefused:
    _log.error("the site's extra directives cannot be used", option=_OPTION, reason=reason)
    return JobRefused(f"The site's extra directives cannot be used: they {reason}. Please tell its administrators")
