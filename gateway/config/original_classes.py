"""What a site's class may override in the original and not here: method or attribute → what to do instead.

The original calls these; this gateway does not, and what a site has written
into them (a limit, an extra option of a job) would vanish unseen. A class that
defines one is refused by `check-config` with the text below. Methods that the
original does not have are a site's own helpers; those that this gateway calls
as well (`Authenticator.authenticate`, `setup`, `cleanup`, `pre_response`,
`Backend.default_host`) work and are not listed.
"""

from collections.abc import Mapping

from gateway.config.carry import CARRIED

_REFUSE = (
    "to refuse a cluster, or to change what it gets, set c.Backend.before_create to a function of the user and the"
    " cluster's configuration (their user reads what it raises); c.ClusterConfig.cluster_max_workers, cluster_max_cores"
    " and cluster_max_memory limit each cluster, c.UserLimits, c.GroupLimits and c.TotalLimits all clusters"
)
_DRIVER = (
    "what starts, watches and ends jobs is a Driver here: override open_driver() (gateway/backends/base.py says what a"
    " driver does), or use the options of the backend"
)
_OPEN = "override open_driver(), an async context manager, and do this before and after `yield`"
_LOOPS = "the gateway watches clusters by itself, and its timeouts are options of c.DBBackendBase: leave this out"
_INSIDE = "the gateway does this by itself: leave this out"
_NO_ROUTES = "the proxy is a part of the gateway's process: set options of c.Proxy"
_TLS = "the gateway hands each job its certificate and key by itself: leave this out"
_ENVIRONMENT = (
    "set c.ClusterConfig.environment, or let the handler of the cluster options return `environment`; for batch jobs"
    " there are pass_environment, scheduler_setup and worker_setup as well"
)
_COMMAND = (
    "set scheduler_cmd, worker_cmd, and for batch jobs scheduler_extra_args and worker_extra_args, of c.ClusterConfig;"
    " or override scheduler_arguments() and worker_arguments() of the cluster's config class"
)
_SUBMIT = (
    "set options of the cluster's config class (partition, queue, account, qos, time, ...; extra_args for further"
    " arguments of the submit command, scheduler_setup and worker_setup for lines of the job's script, environment for"
    " variables); the handler of the cluster options may return any of them for one user, and the function"
    " c.JobQueueBackend.extra_directives adds arguments for each submission"
)
_DIRECTORY = "set c.LocalBackend.clusters_directory; the gateway makes and removes the directories below it"
_WRAPPER = (
    "name programs with submit_command, cancel_command and status_command; a wrapper of the site's own must print what"
    " the batch system's command prints"
)
_LAUNCHER = "commands run as the user through sudo and c.JobQueueBackend.dask_gateway_jobqueue_launcher"
_PROCESS = "LocalBackend starts each process under the account that account_of(username) returns: override that"
_STOP = "set c.LocalBackend.sigint_timeout, sigterm_timeout and sigkill_timeout"
_LIMITS = "set cluster_max_workers, cluster_max_cores and cluster_max_memory, or override the property max_workers"
_CHECKS = "write a method with another name and decorate it with @validate, or check in the options' handler"
_PROGRAM = "the server is started by `dask-gateway-server`, which has options and subcommands of its own"


def _option(name: str) -> str:
    return f'set c.<Class>.{name}, or decorate a method with @default("{name}")'


def _all(text: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, text)


#: Class here (a subclass is meant as well) → name in the original → what to do instead.
REPLACED: Mapping[str, Mapping[str, str]] = {
    "Backend": {
        **_all(_REFUSE, "start_cluster", "process_cluster_options"),
        "get_cluster_options": "set c.Backend.cluster_options to a function of the user, which may be async",
        **_all(_OPEN, "setup", "cleanup"),
        **_all(
            _INSIDE,
            "stop_cluster",
            "get_cluster",
            "list_clusters",
            "on_cluster_heartbeat",
            "forward_message_to_scheduler",
            "scheduler_api_retries",
            "gateway_address",
        ),
        "_gateway_address_default": "set c.DaskGateway.address",
    },
    "DBBackendBase": {
        **_all(_OPEN, "do_setup", "do_cleanup"),
        **_all(
            _DRIVER,
            "do_start_cluster",
            "do_stop_cluster",
            "do_check_clusters",
            "do_start_worker",
            "do_stop_worker",
            "do_check_workers",
        ),
        **_all(_ENVIRONMENT, "get_env", "get_scheduler_env", "get_worker_env"),
        **_all(_COMMAND, "get_scheduler_command", "get_worker_command"),
        "worker_nthreads_memory_limit_args": "set c.ClusterConfig.worker_threads and worker_memory; or override"
        " worker_arguments() of the cluster's config class, whose arguments come last and win",
        "get_tls_paths": _TLS,
        "supports_bulk_shutdown": "workers are ended with their cluster in as few commands as possible: leave this out",
        **_all(
            _LOOPS,
            "check_timeouts_loop",
            "check_clusters_loop",
            "check_workers_loop",
            "cleanup_db_loop",
            "reconciler_loop",
            "reconcile_cluster",
            "reconcile_worker",
            "is_cluster_ready_to_close",
            "_check_timeouts",
            "_check_cluster_proxied",
            "_check_cluster_scale",
            "_cluster_to_submitted",
            "_cluster_to_closing",
            "_cluster_to_stopped",
            "_cluster_to_running",
            "_worker_to_submitted",
            "_worker_to_stopped",
        ),
        **{
            method: _option(option)
            for method, option in {
                "_db_encrypt_keys_default": "db_encrypt_keys",
                "_db_encrypt_keys_validate": "db_encrypt_keys",
                "_stop_clusters_on_shutdown_validate": "stop_clusters_on_shutdown",
                "_default_cluster_heartbeat_timeout": "cluster_heartbeat_timeout",
                "_default_check_timeouts_period": "check_timeouts_period",
                "_api_url_default": "api_url",
            }.items()
        },
    },
    "JobQueueBackend": {
        "get_submit_cmd_env_stdin": _SUBMIT,
        **_all(_WRAPPER, "get_stop_cmd_env", "get_status_cmd_env", "parse_job_id", "parse_job_states"),
        "get_staging_directory": "set c.JobQueueClusterConfig.staging_directory, with the fields {home} and {username}",
        **_all(_LAUNCHER, "do_as_user", "start_job", "stop_job"),
        **_all(_DRIVER, "check_jobs", "_do_check"),
        **{f"_default_{option}": _option(option) for option in ("submit_command", "cancel_command", "status_command")},
        "_default_launcher_path": _option("dask_gateway_jobqueue_launcher"),
    },
    "PBSBackend": {"_default_gateway_hostname": _option("gateway_hostname")},
    "LocalBackend": {
        **_all(_PROCESS, "make_preexec_fn", "set_file_permissions", "start_process"),
        **_all(
            _DIRECTORY,
            "setup_working_directory",
            "cleanup_working_directory",
            "get_certs_directory",
            "get_logs_directory",
        ),
        "_get_tls_paths": _TLS,
        "stop_process": _STOP,
        "_check_status": _DRIVER,
    },
    "ClusterConfig": {
        "to_dict": _INSIDE,
        "_worker_limit_from_resources": _LIMITS,
        **_all(
            _CHECKS,
            "_check_scheduler_memory",
            "_check_scheduler_cores",
            "_validate_worker_threads",
            "_validate_scheduler_memory",
            "_validate_scheduler_cores",
            "_validate_cluster_max_memory",
            "_validate_cluster_max_cores",
            "_validate_cluster_max_workers",
        ),
        "_default_worker_threads": _option("worker_threads"),
        **_all(_LIMITS, "_default_cluster_max_workers", "_observe_cluster_max_workers"),
    },
    "Authenticator": {
        "authenticate_and_handle": "requests pass through authenticate(request) and pre_response(request, response,"
        " context): override these",
        **_all(
            "users are kept in cookies, for c.Authenticator.cache_max_age seconds; give an attribute of your own"
            " another name",
            "cache",
            "_default_cache",
        ),
        "_default_cookie_name": _option("cookie_name"),
        "raise_auth_error": "raise unauthorized(...) in authenticate()",
    },
    "Proxy": _all(
        _NO_ROUTES,
        "get_start_command",
        "get_start_env",
        "start_proxy_process",
        "monitor_proxy_process",
        "setup",
        "cleanup",
        "add_route",
        "remove_route",
        "routes_handler",
        "gateway_address",
        "_api_token_default",
        "_append_event",
        "_default_tcp_address",
        "_events_after",
        "_gateway_address_default",
        "_gateway_url_default",
        "_get_id",
        "_on_shutdown",
        "_validate_addresses",
        "_validate_prefix",
    ),
    "DaskGateway": _all(
        _PROGRAM,
        "aliases",
        "classes",
        "cleanup",
        "flags",
        "handle_shutdown_signal",
        "health",
        "initialize",
        "load_config_file",
        "main",
        "raise_config_file_errors",
        "setup",
        "start",
        "subcommands",
        "version_info",
        "_default_address",
        "_default_backend_class",
        "_validate_address",
    ),
}


def replacements(cls: type) -> list[tuple[type, str, str]]:
    """What a class overrides in vain: the class in whose body it stands, its name, and what to do instead.

    All parents count, plain ones too, and what has been put onto one of the gateway's own classes from outside.
    """
    names: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if _is_ours(base):
            names |= REPLACED.get(base.__name__, {})
            if base.__name__ == "Backend":  # whatever the batch system: nobody has a helper of such a name
                names |= REPLACED["JobQueueBackend"]
    found = []
    seen: set[str] = set()
    for base in cls.__mro__:
        carried = vars(base).get(CARRIED, ())
        for name in vars(base):
            if name in names and name not in seen and name not in carried:
                seen.add(name)
                found.append((base, name, names[name]))
    return found


def _is_ours(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "gateway"
