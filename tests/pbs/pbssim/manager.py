"""What `qmgr -c "print server"` prints: the settings that exist here, among those that a real server has."""

from pbssim.settings import Settings

_QUEUE = """\
#
# Create and define queue {name}
#
create queue {name}
set queue {name} queue_type = Execution
set queue {name} enabled = True
set queue {name} started = {started}
"""
_SERVER = """\
#
# Set server attributes.
#
set server scheduling = True
{operators}set server default_queue = {default}
set server log_events = 2047
set server mailer = /usr/sbin/sendmail
set server mail_from = adm
set server query_other_jobs = {query_other_jobs}
set server resources_default.ncpus = 1
set server default_chunk.ncpus = 1
set server scheduler_iteration = 600
set server flatuid = True
set server resv_enable = True
set server node_fail_requeue = 310
set server max_array_size = {max_array_size}
set server resend_term_delay = 5
set server pbs_license_min = 0
set server pbs_license_max = 2147483647
set server pbs_license_linger_time = 31536000
set server eligible_time_enable = False
set server job_history_enable = {history}
set server max_concurrent_provision = 5
set server clear_topjob_estimates_enable = False
set server max_job_sequence_id = 9999999
"""


def print_server(settings: Settings) -> str:
    """All settings, as commands of qmgr."""
    queues = "".join(_QUEUE.format(name=name, started=started) for name, started in settings.queues.items())
    operators = [f"{name}@*" for name in settings.operators if name != "root"]
    lines = [f"set server operators {'+' if number else ''}= {name}\n" for number, name in enumerate(operators)]
    return f"#\n# Create queues and set their attributes.\n#\n{queues}" + _SERVER.format(
        operators="".join(lines),
        default=next(iter(settings.queues)),
        query_other_jobs=settings.query_other_jobs,
        max_array_size=settings.max_array_size,
        history=settings.history,
    )
