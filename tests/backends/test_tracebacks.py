"""The cause of a failure, by the log of a job. tests/data/logs has real logs of workers and schedulers."""

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.tracebacks import MAX_LENGTH, STARTED, cause

LOGS = Path(__file__).parents[1] / "data" / "logs"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"
CAUSED = "\nThe above exception was the direct cause of the following exception:\n\n"


def raised(words, file="app.py", line=3, source="run()"):
    return f'Traceback (most recent call last):\n  File "/env/lib/{file}", line {line}, in f\n    {source}\n{words}\n'


NANNY = raised("RuntimeError: Nanny failed to start.", "distributed/core.py")
DISK = raised("OSError: [Errno 28] No space left on device", "disk.py")
ON_DISK = "OSError: [Errno 28] No space left on device (lib/disk.py, line 3)"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (
            "no_dev_shm",
            "FileNotFoundError: [Errno 2] No such file or directory (multiprocessing/synchronize.py, line 57); "
            "is /dev/shm there, and may it be written to?",
        ),
        ("read_only_directory", "OSError: [Errno 30] Read-only file system: '/scratch/x' (distributed/diskutils.py, "),
        ("no_preload", "ModuleNotFoundError: No module named 'nosuch_module' (importlib/__init__.py, line 126)"),
        ("port_in_use", "OSError: [Errno 98] Address already in use (tornado/netutil.py, line 181)"),
        ("wrong_certificate", "ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify"),
        ("wrong_certificate", "which led to distributed.comm.core.FatalCommClosedError: TLS certificate does not"),
        ("no_scheduler", "OSError: Timed out trying to connect to tls://10.0.0.7:1 after 4 s (comm/core.py, line"),
    ],
)
def test_real_logs_of_failures(log, words):
    assert words in cause((LOGS / f"{log}.txt").read_text())


@pytest.mark.parametrize("log", ["worker_ended", "worker_interrupted"])
def test_real_logs_of_jobs_that_were_ended(log):
    assert cause((LOGS / f"{log}.txt").read_text(), KILLED) == ""


@pytest.mark.parametrize("log", ["no_dev_shm", "read_only_directory"])
def test_a_log_of_which_only_the_end_was_read(log):
    text = (LOGS / f"{log}.txt").read_text()
    whole, errors = cause(text), text.index("Error: [Errno")
    assert cause(text[text.rindex("\n", 0, errors - 60) - 30 :]).partition(" (")[0] == whole.partition(" (")[0]


INTERLEAVED = DISK.replace(
    "    run()\n", "    run()\nslurmstepd: error: x\n2026-11-26 22:40:16 - nanny - INFO - Closing: x\n"
).replace("OSError", "WARNING: what\nWarning: that\nMemory: 3 GiB\nKilled\nOSError")
REMOTE = 'concurrent.futures.process._RemoteTraceback: \n"""\n'
SYNTAX = '  File "/a/b/c.py", line 1\n    def\n       ^\nSyntaxError: invalid syntax\n'

CASES = {
    "one error": (raised("KeyError: 'x'"), "KeyError: 'x' (lib/app.py, line 3)"),
    "no text": (raised("AssertionError"), "AssertionError (lib/app.py, line 3)"),
    "a class of a package": (raised("zmq.error.Again: try it"), "zmq.error.Again: try it (lib/app.py, line 3)"),
    "the first of a chain": (DISK + CAUSED + NANNY, ON_DISK),
    "the first in whose handling others came": (DISK + CONTEXT + NANNY, ON_DISK),
    "and what came of it": (
        DISK + CAUSED + raised("app.Sorry: no cache"),
        f"{ON_DISK}, which led to app.Sorry: no cache (lib/app.py, line 3)",
    ),
    "a look-up that was answered by another error": (
        raised("KeyError: 'home'") + CONTEXT + DISK + CAUSED + raised("app.Sorry: x") + CAUSED + NANNY,
        f"KeyError: 'home' (lib/app.py, line 3), which led to {ON_DISK}, which led to app.Sorry: x"
        " (lib/app.py, line 3)",
    ),
    "a look-up that is the cause": (raised("KeyError: 'x'") + CAUSED + NANNY, "KeyError: 'x' (lib/app.py, line 3)"),
    "a look-up before nothing but a wrapper": (
        raised("KeyError: 'x'") + CONTEXT + NANNY,
        "KeyError: 'x' (lib/app.py, line 3)",
    ),
    "the last one quotes the first": (
        raised("OSError: gone") + CAUSED + raised("app.CommError: in <x>: OSError: gone"),
        "app.CommError: in <x>: OSError: gone (lib/app.py, line 3)",
    ),
    "the last of several chains": (raised("TypeError: old") + "later\n" + DISK + CAUSED + NANNY, ON_DISK),
    "an earlier chain, when the last tells nothing": (DISK + "Closing Nanny\n" + NANNY, ON_DISK),
    "a wrapper alone": (NANNY, ""),
    "a logged one": ("2026-11-26 22:40:16,964 - distributed.nanny - ERROR - Failed to start process\n" + DISK, ON_DISK),
    "a header behind the log's words": ("12:00:01 - nanny - ERROR - " + DISK, ON_DISK),
    "a prefix before each line": (textwrap.indent(DISK + CAUSED + NANNY, "node7: ", lambda line: True), ON_DISK),
    "other prefixes later": (textwrap.indent(raised("TypeError: x"), "0: ") + textwrap.indent(DISK, "1: "), ON_DISK),
    "indented": (textwrap.indent(DISK, "    "), ON_DISK),
    "lines of others in between": (INTERLEAVED, ON_DISK),
    "a line between the error and its link": (DISK + "node: hello\n" + CAUSED + NANNY, ON_DISK),
    "the header was cut off": (DISK.partition("\n")[2] + CAUSED + NANNY, ON_DISK),
    "all but the link was cut off": (
        CAUSED + raised("ValueError: bad") + CAUSED + NANNY,
        "ValueError: bad (lib/app.py, line 3)",
    ),
    "cut off at the end": (DISK + raised("TypeError: x").rpartition("TypeError")[0], ON_DISK),
    "another process": (
        REMOTE + DISK + '"""\n' + CAUSED + raised("OSError: [Errno 28]"),
        f"{ON_DISK}, which led to OSError: [Errno 28] (lib/app.py, line 3)",
    ),
    "a syntax error": (
        "Traceback (most recent call last):\n" + SYNTAX,
        "SyntaxError: invalid syntax (b/c.py, line 1)",
    ),
    "asyncio": (
        "asyncio - ERROR - Task exception was never retrieved\nfuture: <Task finished name='x' exception=OSError(28)>\n"
        + DISK,
        ON_DISK,
    ),
    "tornado": ("tornado.application - ERROR - Exception in callback functools.partial(<f>)\n" + DISK, ON_DISK),
    "ended by a user": (raised("KeyboardInterrupt"), ""),
    "cancelled": (
        raised("asyncio.exceptions.CancelledError") + CONTEXT + raised("TimeoutError"),
        "TimeoutError (lib/app.py, line 3)",
    ),
    "a peer that went": (raised("distributed.comm.core.CommClosedError: in <TCP>: Stream is closed"), ""),
    "after a signal": ("2026 - distributed._signals - INFO - Received signal SIGTERM (15)\n" + DISK, ""),
    "before a signal": (DISK + "2026 - distributed._signals - INFO - Received signal SIGTERM (15)\n" + NANNY, ON_DISK),
    "after Slurm's cancel": ("slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2026-11-26 ***\n" + DISK, ""),
    "after PBS's kill": ("=>> PBS: job killed: walltime 61 exceeded limit 60\n" + DISK, ""),
    "begun again after a cancel": (f"slurmstepd: error: *** JOB 12 CANCELLED ***\n{STARTED}\n{DISK}", ON_DISK),
    "no traceback": ("bash: line 3: dask: command not found\n", ""),
    "nothing": ("", ""),
}


#: As batch systems show that they ended a job.
KILLED = r"slurmstepd: error: .*(?:CANCELLED|oom.kill)|=>> PBS: job killed"


@pytest.mark.parametrize("name", CASES)
def test_the_cause(name):
    text, words = CASES[name]
    assert cause(text, KILLED) == words


def group_of(*errors):
    import traceback

    def nest(error):
        try:
            raise error
        except Exception as caught:
            return caught

    return "".join(traceback.format_exception(nest(ExceptionGroup("two things", [nest(error) for error in errors]))))


def test_of_a_group_the_first_member_is_told():
    text = group_of(OSError(28, "No space left on device"), TypeError("x"))
    assert cause(text).startswith("OSError: [Errno 28] No space left on device (backends/test_tracebacks.py, line ")
    assert cause(text + CAUSED + NANNY) == cause(text)
    nested = group_of(ExceptionGroup("deeper", [ValueError("first")]), TypeError("x"))
    assert cause(nested) == "ValueError: first"  # which was never raised, so that it has no place


def test_a_long_text_is_cut():
    sentence = cause(raised("OSError: " + "x" * 10_000))
    assert len(sentence) == MAX_LENGTH
    assert sentence.endswith("…")


@given(st.lists(st.sampled_from([*DISK.split("\n"), *CAUSED.split("\n"), *CONTEXT.split("\n"), *NANNY.split("\n")])))
def test_any_order_of_lines_is_one_bounded_line(lines):
    sentence = cause("\n".join(lines))
    assert len(sentence) <= MAX_LENGTH
    assert "\n" not in sentence
