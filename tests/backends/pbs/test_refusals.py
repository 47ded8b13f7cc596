"""Every message that qsub can end with, sorted by what it means; those that were seen, as they were seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.batch.dialect import Refusal
from gateway.backends.commands import Answer
from gateway.backends.pbs.refusals import advice, broke_off, classify

AUTH = (
    "pbs_iff: cannot connect to host\nauth: error returned: -1\nauth: Unable to authenticate connection (pbs:15001)\n"
)

#: What a real server and its clients printed: (exit code, stderr).
SEEN = {
    Refusal.AWAY: [
        (162, "Connection refused\nqsub: cannot connect to server pbs (errno=15010)\n"),
        (162, "Connection refused\nCouldn't connect to cluster: pbs\n"),
        (183, "Communication failure.\nqsub: cannot connect to server pbs (errno=15031)\n"),
        (183, "Communication failure.\nCouldn't connect to cluster: pbs\n"),
        (255, f"{AUTH}qsub: cannot connect to server pbs (errno=-1)\n"),
        (0, AUTH),  # qdel
        (0, f"pbs_iff: cannot connect to host\n{AUTH}"),
        (0, "auth: error returned: 15019\nauth: Unable to authenticate connection (pbs:15001)\n"),
        (171, "auth: error returned: 15019\nqsub: cannot connect to server pbs (errno=15019)\n"),
        (255, f"{AUTH}Unknown Host.\nqstat: cannot connect to server pbs (errno=15008)\n"),
        (160, "Unknown Host.\nqsub: cannot connect to server nosuch (errno=15008)\n"),
        (139, "Communication failure.\nqsub: cannot connect to server pbs (errno=15031)\n"),
        (162, "Connection refused\nqsub: cannot connect to server  (errno=15010)\n"),
    ],
    Refusal.LOST: [
        (183, "qsub: End of File\n"),
        (183, "qsub: Premature end of message\n"),
        (1, "qsub: End of File\nqsub: SIGPIPE received, job submission interrupted.: Success\n"),
        (1, "qsub: SIGPIPE received, job submission interrupted.: Broken pipe\n"),
        (183, "qdel: Premature end of message\n"),
        (183, "qselect: End of File\n"),
        (139, ""),
        (255, "Failed to recv data from background qsub\n"),
        (134, "munmap_chunk(): invalid pointer\n"),
        (134, "double free or corruption (fasttop)\n"),
        (-6, "munmap_chunk(): invalid pointer\n"),
        (-9, ""),
        (137, "qsub: Unknown queue\n"),  # killed, whatever it had printed
        (143, "Connection refused\n"),
    ],
    Refusal.FULL: [
        (38, "qsub: would exceed complex's per-user limit\n"),
        (38, "qsub: would exceed queue generic's per-user limit\n"),
        (38, "qsub: would exceed queue workq's per-group limit of jobs in 'Q' state\n"),
        (38, "qsub: Maximum number of jobs for user alice already in complex\n"),
        (38, "qsub: Maximum number of jobs already in complex\n"),
        (39, "qsub: would exceed per-user limit on resource ncpus in queue workq\n"),
        (198, "qsub: Maximum number of jobs already in queue\n"),
        (3, "qsub: Array job exceeds server or queue size limit\n"),
    ],
    Refusal.REFUSED: [
        (170, "qsub: Unknown queue\n"),
        (173, "qsub: Queue is not enabled\n"),
        (188, "qsub: Job violates queue and/or server resource limits\n"),
        (159, "qsub: Unauthorized Request \n"),
        (175, "qsub: Bad UID for job execution\n"),
        (166, "qsub: Illegal attribute or resource value select.mem\n"),
        (187, "qsub: Unknown resource Resource_List.nosuch\n"),
        (2, "qsub:  cannot submit non-rerunable Array Job\nusage: qsub [-a date_time]\n"),
        (1, "qsub:  cannot submit non-rerunable Array Job\nqsub: directive error: -r n \n"),
        (1, "qsub: cannot send environment with the job\n"),
        (1, "qsub: script file:: No such file or directory\n"),
        (159, "qdel: Unauthorized Request  1270.pbs\n"),
    ],
}

#: What the server answers, by its table of messages, and what qsub says itself: after "qsub: ".
ANSWERS = {
    Refusal.AWAY: [
        "Request not allowed: Server shutting down",
        "No free connections",
        "Server connection table full",
        "Resource temporarily unavailable",
        "Server@pbs: System error: No space left on device",
        "System error: Cannot allocate memory",
        "PBS server internal error",
        "Failed to save job/resv, refer server logs for details",
        "Failed to save job/resv, refer server logs for details: disk full",
        "Job with requested ID already exists",
        "Invalid credential",
        "Expired credential",
        "Floating License unavailable",
        "request rejected as filter hook 'check' got an alarm call. Please inform Admin",
        "out of memory",
        "unable to initialize security library.",
        "cannot get full local host name",
        "could not create/open tmp file /var/tmp/pbsscrptXXXXXX for script",
        "error writing copy of script, /var/tmp/pbsscrptabc",
        "copy of script to tmp failed on close: No space left on device",
        "cannot access script file",
    ],
    Refusal.LOST: [
        "Input value too large to convert to this type",
        "Tried to write floating point infinity",
        "Negative sign on an unsigned datum",
        "Input count or value has leading zero",
        "Non-digit found where a digit was expected",
        "Input string has an embedded ASCII NUL",
        "Premature end of message",
        "Unable to malloc enough space for string",
        "Supporting protocol failure",
        "Protocol failure in commit",
        "End of File",
        "Batch protocol error",
        "Error (15031) submitting job",
        "Error (-1) submitting job",
        "Error 15031",
    ],
    Refusal.FULL: [
        "Maximum number of jobs already in queue",
        "Maximum number of jobs already in queue workq",
        "Maximum number of jobs already in complex",
        "Maximum number of jobs for group staff already in queue workq",
        "Maximum number of jobs for project a b already in complex",
        "Maximum number of jobs for user alice already in queue workq",
        "Maximum number of jobs in 'Q' state already in queue workq",
        "Maximum number of jobs in 'Q' state already in complex",
        "Maximum number of jobs in 'Q' state for user alice already in queue workq",
        "Maximum number of jobs in 'Q' state for project p already in complex",
        "would exceed queue workq's per-group limit",
        "would exceed complex's per-project limit",
        "would exceed queue workq's per-user limit of jobs in 'Q' state",
        "would exceed limit on resource ncpus in queue workq",
        "would exceed limit on resource mem in complex",
        "would exceed per-group limit on resource mem in queue workq",
        "would exceed per-project limit on resource mem in complex for jobs in 'Q' state",
        "would exceed user alice's limit on resource ncpus in queue workq",
        "would exceed group staff's limit on resource ncpus in complex",
        "would exceed project p's limit on resource ncpus in queue workq for jobs in 'Q' state",
        "Array job exceeds server or queue size limit",
    ],
    Refusal.REFUSED: [
        "Undefined attribute  nosuch",
        "Cannot set attribute, read only or insufficient permission  Account_Name",
        "Invalid request",
        "Unknown request",
        "Unauthorized Request ",
        "Access from host not allowed, or unknown host",
        "Illegal attribute or resource value",
        "Unknown queue",
        "Queue is not enabled",
        "Access to queue is denied",
        "Bad UID for job execution",
        "Bad GID for job execution",
        "job has bad password",
        "Job routing over too many hops",
        "Queue name too long",
        "No support for requested service",
        "No server specified",
        "Unknown resource: nosuch",
        "Job violates queue and/or server resource limits",
        "No default queue specified",
        "Job rejected by all possible destinations",
        "Execution server rejected request",
        "Resource limit exceeds allowable",
        "Invalid Account",
        "Invalid Job Dependency",
        "Finished job did not satisfy dependency",
        "Duplicate entry in list ",
        "Reservation needs walltime",
        "job and reservation have conflicting specification",
        "Bad time specification(s)",
        "node(s) specification error",
        "PBS license is invalid",
        'Resource invalid in "select" specification: foo',
        '"-lresource=" cannot be used with "select" or "place", resource is: ncpus',
        "Cannot be used with select or place: nodes",
        'Cannot have "place" without "select"',
        "duplicated resource within a section of a select specification, resource is: mem",
        "Resource is not of type string or array_of_strings",
        "attribute value is out of range",
        "Invalid provisioning request in chunk(s)",
        'Cannot have "max_walltime" without "min_walltime"',
        '"min_walltime" can not be greater than "max_walltime"',
        '"min_walltime" and "max_walltime" are not valid resources for a job array',
        "soft_walltime is not supported with Shrink to Fit jobs",
        "Resource limits can not be set for the resource",
        "jobscript size exceeded the jobscript_max_size",
        "mom not accepting remote hook files or root job scripts",
        "hook error",
        "check: submission is closed until Monday",
        "request rejected as filter hook 'check' encountered an exception. Please inform Admin",
        "Invalid object name",
        "Attribute has to be set on an array job",
        "Job name is too long ",
        "illegal -l value",
        "illegal -J value",
        "illegally formed destination: a@b@c",
        "Failed to load configuration parameters!",
        "script not a file",
        "script contains cr, lf",
        "multiple max_run_subjobs values found",
        "cannot send environment with the job",
        "cannot stat current directory: : Permission denied",
        "the queue's own words",
    ],
}


def cases(table):
    return [pytest.param(case, refusal, id=f"{refusal}-{case}"[:80]) for refusal in table for case in table[refusal]]


@pytest.mark.parametrize(("case", "refusal"), cases(SEEN))
def test_what_was_seen(case, refusal):
    code, stderr = case
    assert classify(Answer(code, "", stderr)) is refusal


@pytest.mark.parametrize(("text", "refusal"), cases(ANSWERS))
def test_each_message_of_the_server_and_of_qsub(text, refusal):
    for noise in ("", "sudo: unable to resolve host login1\n", "a greeting of the site\n\n"):
        assert classify(Answer(1, "", f"{noise}qsub: {text}\n")) is refusal
    assert classify(Answer(1, "", f"qsub:  {text}\r\n")) is refusal


@pytest.mark.parametrize("text", ["Out of memory", "Failed to duplicate original -v value", "Communication failure."])
def test_messages_without_a_name(text):
    assert classify(Answer(183, "", f"{text}\n")) is Refusal.AWAY


@pytest.mark.parametrize(
    "text",
    [
        "submission is closed: Connection refused",
        "your group has no budget\nCommunication failure.\nAsk the helpdesk.",
        "license server: End of File",
        "cannot connect to server licenses",
        "would exceed the budget of your group",
        "Maximum number of jobs this year: 3",
        "auth: your project has expired",
    ],
)
def test_the_words_of_a_site_s_hook_are_final(text):
    assert classify(Answer(192, "", f"qsub: {text}\n")) is Refusal.REFUSED


@pytest.mark.parametrize("code", [183, 162, 255, 198])
def test_an_exit_code_alone_means_nothing(code):
    assert classify(Answer(code, "", "qsub: Unknown queue\n")) is Refusal.REFUSED
    assert classify(Answer(code, "", "")) is Refusal.LOST


@pytest.mark.parametrize(
    "text",
    [
        "Segmentation fault (core dumped)",
        "/opt/site/qsub: line 3:  1234 Aborted                 (core dumped) /opt/pbs/bin/qsub",
        "*** stack smashing detected ***: terminated",
        "free(): invalid pointer",
        "corrupted size vs. prev_size",
    ],
)
def test_a_crash_behind_a_site_s_own_script(text):
    assert classify(Answer(1, "", f"{text}\n")) is Refusal.LOST


def test_who_was_not_reached_has_submitted_nothing_in_any_order():
    lines = ["qsub: End of File", "qsub: cannot connect to server pbs (errno=15031)", "Communication failure."]
    for turn in range(3):
        assert classify(Answer(183, "", "\n".join(lines[turn:] + lines[:turn]))) is Refusal.AWAY


@pytest.mark.parametrize(
    ("stderr", "off"),
    [
        ("", False),
        (AUTH, True),
        ("Couldn't connect to cluster: pbs\n", True),
        ("qdel: Premature end of message\n", True),
        ("qdel: unsupported default_qdel_arguments '-Wforce'\n", False),
        ("a greeting of the site\n", False),
        ("qdel: Maximum number of jobs already in queue\n", False),
    ],
)
def test_a_command_that_broke_off(stderr, off):
    assert broke_off(Answer(0, "", stderr)) is off


@given(code=st.integers(-64, 255), stderr=st.text())
def test_any_answer_means_something(code, stderr):
    assert classify(Answer(code, "", stderr)) in Refusal


@pytest.mark.parametrize(
    ("stderr", "option"),
    [
        ("qsub: Unknown queue", "queue"),
        ("qsub: Queue is not enabled", "queue"),
        ("qsub: Job violates queue and/or server resource limits", "queue"),
        ("qsub: Illegal attribute or resource value for select", "worker_resource_list"),
        ("qsub: Unknown resource: -lngpus", "worker_resource_list"),
        ("qsub: Invalid project", "project"),
        ("qsub: Invalid account", "account"),
        ("qsub: Bad GID for job execution: not a member of the group", "-Wgroup_list"),
    ],
)
def test_the_option_that_helps_is_named(stderr, option):
    assert option in advice(Answer(1, "", stderr))


def test_no_option_is_named_where_none_is_known_to_help():
    assert advice(Answer(1, "", "qsub: the helpdesk says no")) == ""
