"""What a site lets users choose for their clusters, and the configuration that follows from a choice.

Fields, handlers and functions may be a site's own code: what it raises becomes
a sentence for its user, and a traceback in the log for its author.
"""

from collections.abc import Mapping
from typing import Any

import structlog

from gateway.config.backend import DBBackendBase
from gateway.config.cluster import ClusterConfig
from gateway.config.fields import SettingErrors, settings_of, with_overrides
from gateway.config.hooks import call_hook
from gateway.config.site_errors import as_gateway_error, told
from gateway.config.structure import shown
from gateway.config.user_options import Options, checked_configuration
from gateway.errors import GatewayError, InvalidRequest
from gateway.models import User

_log = structlog.get_logger()

#: How users are told that what the site's own code made of their options is no configuration.
_UNUSABLE = "These cluster options cannot be used"
#: How users are told of what the site's own code raises when a cluster is to be made.
_REFUSED = "The cluster was refused"


class ClusterOptions:
    """The options of `backend.cluster_options`, and `cluster_config`, some of whose values they replace."""

    def __init__(self, backend: DBBackendBase, cluster_config: ClusterConfig) -> None:
        self._backend = backend
        self._cluster_config = cluster_config

    async def of(self, user: User) -> Options:
        """What this user may set on a cluster.

        Raises `InvalidRequest` when the site's function of options fails, or returns something else.
        """
        options = self._backend.cluster_options
        if isinstance(options, Options):
            return options
        try:
            chosen = await call_hook("c.Backend.cluster_options", options, user)
        except (Exception, SystemExit) as error:
            raise _refusal(error, user, "the site's function of cluster options failed") from error
        if not isinstance(chosen, Options):
            function = f"{getattr(options, '__qualname__', type(options).__qualname__)}({user.name!r})"
            _log.error("the site's function of cluster options did not return Options", function=function)
            raise InvalidRequest(
                f"{_UNUSABLE}: the site's function {function} returned {shown(chosen)}, expected Options;"
                " please tell the administrators of this gateway"
            )
        return chosen

    @property
    def fixed(self) -> Options | None:
        """What everybody may set; None when that depends on who asks."""
        options = self._backend.cluster_options
        return options if isinstance(options, Options) else None

    def specification(self, options: Options, user: User) -> list[dict[str, Any]]:
        """Options as the client understands them. Raises `InvalidRequest` when the site's own code fails."""
        try:
            return options.get_specification()
        except Exception as error:
            raise _refusal(error, user, "the site's cluster options cannot be shown") from error

    async def configure(self, user: User, requested: object) -> tuple[Mapping[str, Any], ClusterConfig]:
        """What was asked for, complete, and the cluster's configuration that results.

        Raises `InvalidRequest` for what the options do not take, and what a site's own code raises for users to read.
        """
        options = await self.of(user)
        try:
            parsed = options.parse_options(requested)
        except (TypeError, ValueError) as error:  # the user's doing
            raise as_gateway_error(error) or InvalidRequest(f"Wrong options: {told(error)}") from error
        except Exception as error:
            raise _refusal(error, user, "the site's cluster options failed") from error
        try:
            overrides = checked_configuration(options.get_configuration(parsed, user))
        except (Exception, SystemExit) as error:
            raise _refusal(error, user, "the site's handler of cluster options failed") from error
        try:
            config = with_overrides(self._cluster_config, overrides)
        except SettingErrors as error:
            # Either the user's doing (a value out of bounds) or the site's (a handler's name for an option).
            _log.warning("the cluster options lead to a configuration that cannot be", user=user.name, exc_info=error)
            raise InvalidRequest(f"{_UNUSABLE}: {error}") from error
        return parsed, await self._before_create(user, config)

    async def _before_create(self, user: User, config: ClusterConfig) -> ClusterConfig:
        """What the site's function makes of a configuration."""
        hook = self._backend.before_create
        if hook is None:
            return config
        try:
            result = await call_hook("c.Backend.before_create", hook, user, config)
        except (Exception, SystemExit) as error:
            raise _refusal(error, user, "the site's before_create failed", begin=_REFUSED) from error
        if not isinstance(result, type(self._cluster_config)):
            wanted = f"the configuration, a {type(self._cluster_config).__name__}"
            _log.error("the site's before_create did not return the configuration", user=user.name)
            raise InvalidRequest(
                f"{_REFUSED}: the site's function before_create returned {shown(result)}, expected {wanted}; please"
                " tell the administrators of this gateway"
            )
        return result

    def restore(self, stored: Mapping[str, Any]) -> tuple[ClusterConfig, Mapping[str, str]]:
        """The configuration of a cluster of before a restart, and why some of its options now have the site's values.

        Options may have gone, come, or been given other limits since; none of that is worth a user's work.
        """
        known = {name: value for name, value in stored.items() if name in settings_of(type(self._cluster_config))}
        misfits: dict[str, str] = {}
        while True:
            try:
                return with_overrides(self._cluster_config, known), misfits
            except SettingErrors as errors:
                bad = {error.option: error.reason for error in errors.errors if error.option in known}
                misfits |= bad or dict.fromkeys(known, str(errors))  # which of several do not fit together?
                known = {name: value for name, value in known.items() if name not in misfits}


def _refusal(error: BaseException, user: User, event: str, begin: str = _UNUSABLE) -> GatewayError:
    """What a user is told when the site's own code has raised: its answer, or else its text."""
    answer = as_gateway_error(error)
    if answer is not None:
        return answer
    # Its author needs the traceback, its user the text.
    _log.error(event, user=user.name, exc_info=error)
    return InvalidRequest(f"{begin}: {told(error)}")
