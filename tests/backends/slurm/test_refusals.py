"""What sbatch's words mean: away, lost, full, or refused for good."""

import pytest

from gateway.backends.batch.dialect import Refusal
from gateway.backends.commands import Answer
from gateway.backends.slurm.refusals import advice, classify

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"

AWAY = [
    f"{FAILED}Unable to contact slurm controller (connect failure)",
    f"{FAILED}Slurm backup controller in standby mode",
    f"{FAILED}Controller is in standby mode, try a different controller",
    f"{FAILED}Rate limit exceeded, please retry momentarily",
    f"{FAILED}Rate limit exceeded, please retry later",
    f"{FAILED}Unexpected missing socket error",
    f"{FAILED}Resource temporarily unavailable",
    "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
    f"{FAILED}Resource temporarily unavailable",
    "sbatch: error: 'smp' can't be reached now, or it is an invalid entry for --cluster. Use 'sacctmgr list clusters'"
    " to see available clusters.",
    "sbatch: error: There is a problem talking to the database: Connection refused. Only local cluster communication"
    " is available, remove --cluster from your command line or contact your admin to resolve the problem.",
    f"{FAILED}I/O error writing script/environment to file",
    f"{FAILED}System submissions disabled",
    f"{FAILED}Requested operation is presently disabled",
    f"{FAILED}Communication connection failure",
    f"{FAILED}Connection timed out establishing",
    f"{FAILED}No route to host",
    f"{FAILED}Can't find an address, check slurm.conf",
    f'sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2": No such file or directory\n'
    f"sbatch: error: slurm_send_node_msg: auth_g_create: REQUEST_SUBMIT_BATCH_JOB has authentication error\n"
    f"{FAILED}Protocol authentication error",
    "sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
    "sbatch: error: fetch_config: DNS SRV lookup failed\n"
    "sbatch: error: _establish_config_source: failed to fetch config\n"
    "sbatch: fatal: Could not establish a configuration source",
    "sbatch: error: Invalid user for SlurmUser slurm, ignored\nsbatch: fatal: Unable to process configuration file",
    "sbatch: error: get_addr_info: getaddrinfo() failed: Temporary failure in name resolution",
    'sbatch: error: Unable to resolve "ctl1": Host name lookup failure',
    "sbatch: error: s_p_parse_file: unable to read /etc/slurm/slurm.conf: Stale file handle\n"
    "sbatch: fatal: Unable to process slurm.conf file",
    "/usr/bin/sbatch: fork: retry: Resource temporarily unavailable",
    "bash: /opt/slurm/bin/sbatch: Input/output error",
]
LOST = [
    f"{FAILED}Socket timed out on send/recv operation",
    f"{FAILED}Zero Bytes were transmitted or received",
    f"{FAILED}Unable to contact slurm controller (receive failure)",
    f"{FAILED}Transport endpoint is not connected",
    f"{FAILED}Unexpected message received",
    f"{FAILED}Message receive failure",
    f"{FAILED}Connection reset by peer",
    f"{FAILED}Connection timed out reading",
    "sbatch: error: Broken pipe",
]
FULL = [
    f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}",
    f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}",
    f"sbatch: error: AssocGrpSubmitJobsLimit\n{POLICY}",
    f"sbatch: error: QOSGrpSubmitJobsLimit\n{POLICY}",
    f"sbatch: error: MaxSubmitJobsPerAccount\n{POLICY}",
    POLICY,
    f"sbatch: error: Ignoring obsolete FastSchedule=1 option. Please remove from your configuration.\n{POLICY}",
    f"{FAILED}Invalid job array specification",
    f"{FAILED}MaxJobCount limit reached",
    f"sbatch: error: Slurm job queue full, sleeping and retrying\n{FAILED}MaxJobCount limit reached",
    "sbatch: error: job arrays are not allowed in this partition",
    "sbatch: error: You have too many pending jobs in this partition",
]
REFUSED = [
    "sbatch: error: invalid partition specified: nosuch\n" + FAILED + "Invalid partition name specified",
    f"{FAILED}Invalid account or account/partition combination specified",
    f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)",
    f"{FAILED}Requested node configuration is not available",
    f"{FAILED}User's group not permitted to use this partition",
    f"{FAILED}Access/permission denied",
    f"{FAILED}Unspecified error",
    f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}",
    f"sbatch: error: AssocMaxCpuPerJobLimit\n{POLICY}",
    f"sbatch: error: QOSMaxMemoryPerJob\n{POLICY}",
    "sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.",
    "sbatch: error: Invalid user for SlurmUser slurm, ignored\n" + FAILED + "Invalid qos specification",
    "sbatch: error: Munge is old on this node\n" + FAILED + "Invalid generic resource (gres) specification",
    "sbatch: error: Please say what your job is about with --comment",
    "sbatch: unrecognized option '--frobnicate'",
    "",
]


@pytest.mark.parametrize(
    ("stderr", "meaning"),
    [
        (stderr, meaning)
        for meaning, texts in (
            (Refusal.AWAY, AWAY),
            (Refusal.LOST, LOST),
            (Refusal.FULL, FULL),
            (Refusal.REFUSED, REFUSED),
        )
        for stderr in texts
    ],
)
@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_words_and_their_meaning(stderr, meaning, stream):
    answer = Answer(1, "", stderr) if stream == "stderr" else Answer(1, stderr, "\n")
    assert classify(answer) is meaning


@pytest.mark.parametrize("code", [-9, 130, 137, 139])
def test_a_command_that_was_killed_may_have_done_its_work(code):
    assert classify(Answer(code, "", "sbatch: error: invalid partition specified: x")) is Refusal.LOST


@pytest.mark.parametrize(
    ("stderr", "option"),
    [
        (f"{FAILED}Invalid partition name specified", "partition"),
        (f"{FAILED}Invalid account or account/partition combination specified", "partition"),
        (f"{FAILED}Invalid qos specification", "qos"),
        (f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)", "worker_time"),
        (f"{FAILED}Memory required by task is not available", "directives_skip"),
        (
            "sbatch: error: Memory specification can not be satisfied\n" + FAILED + "Unspecified error",
            "directives_skip",
        ),
        ("sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.", "--mem-per-cpu"),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}", "time"),
        (f"{FAILED}Requested node configuration is not available", "worker_cores"),
        (f"{FAILED}Invalid feature specification", "constraint"),
        (f"{FAILED}Invalid generic resource (gres) specification", "gres"),
        (f"{FAILED}Requested reservation is invalid", "reservation"),
        (f"{FAILED}Invalid license specification", "extra_args"),
    ],
)
def test_the_option_that_helps_is_named(stderr, option):
    assert option in advice(Answer(1, "", stderr))


def test_no_option_is_named_where_none_is_known_to_help():
    assert advice(Answer(1, "the site says no", "")) == ""
