"""Job scripts, read by a real shell."""

import json
import shutil
import socket
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.backends.batch.script import PROFILE_HINT, JobScript, profile_hint, render_script
from gateway.backends.pbs.dialect import PBS
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.tracebacks import STARTED
from gateway.config.structure import Command, structure

BASH = shutil.which("bash")
# Prints arguments and environment of the job.
SHOW = (sys.executable, "-I", "-S", "-c", "import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))")
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=40)

pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


SLURM = Slurm().log_words


def run(script, **environment):
    text = render_script(script)
    assert text.startswith("#!/bin/bash\n")
    done = subprocess.run(
        [BASH, "--noprofile", "--norc", "-s"],
        input=text.encode(),
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": "/home/nobody", **environment},
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def a_script(**options):
    return JobScript(**{"job_variable": "JOB_ID", **options})


def show(**options):
    code, stdout, stderr = run(a_script(shebang="#!/bin/bash", command=(*SHOW, *options.pop("command", ())), **options))
    assert code == 0, stderr
    return json.loads(stdout)


@settings(max_examples=40)
@given(
    environment=st.dictionaries(st.sampled_from(["A", "B_2", "PATH2", "x-y", "UID", "a b", "é"]), TEXT),
    words=st.lists(TEXT),
)
@example(environment={"A": "'\"$HOME`id`\n\\", "x-y": "$(id)\n'"}, words=["", "'", "\n", "$HOME", "*", "-"])
def test_values_and_arguments_arrive_as_they_are(environment, words):
    words = [word for word in words if not word.startswith("~")]
    arguments, seen = show(environment=environment, command=words)
    assert arguments == words
    assert {name: seen[name] for name in environment} == environment


@settings(max_examples=20)
@given(value=TEXT, before=st.text("a/.-=~'\"", max_size=4), after=st.text("/.-='\"$", max_size=4))
@example(value="a b *;$(id)`id`", before="/", after="/x")
def test_variables_in_the_sites_commands_are_expanded_each_into_one_word(value, before, after):
    words = [f"{before}${{SITE}}{after}/", f"{before}$SITE/x", "$NOTHING/y"]
    command = structure([*SHOW, *words], Command)
    arguments, _ = show(environment={"SITE": value}, command=command[len(SHOW) :])
    homes = "/home/nobody" + before[1:] if before.startswith("~/") else before
    assert arguments == [f"{homes}{value}{after}/", f"{homes}{value}/x", "/y"]


def test_a_variable_alone_holds_any_number_of_arguments():
    command = structure([*SHOW, "$NONE", "--a", "$TWO", "${ONE}"], Command)[len(SHOW) :]
    assert show(environment={"TWO": "-b  c", "ONE": "$(id)", "NONE": ""}, command=command)[0] == [
        "--a",
        "-b",
        "c",
        "$(id)",
    ]


@pytest.mark.parametrize("there", ["dask-worker", "dask"])
def test_a_program_that_a_variable_leads_to(tmp_path, there):
    (tmp_path / there).write_text('#!/bin/sh\necho "${0##*/} $*"\n')
    (tmp_path / there).chmod(0o755)
    command = structure("$SITE/dask-worker tls://1:2", Command)
    script = a_script(shebang="#!/bin/bash", setup=f"SITE={tmp_path}", command=command)
    _, stdout, stderr = run(script)
    assert stdout == ("dask-worker tls://1:2\n" if there == "dask-worker" else "dask worker tls://1:2\n"), stderr


SETUPS = [
    "true",
    "true \\",
    "# only a comment",
    "cd /\n\n",
    "module() { echo; }\n",
    "export A=1\r\nexport B=2\r\n",
    "set -eu",
]


@pytest.mark.parametrize("setup", SETUPS)
def test_whatever_the_setup_ends_with_the_command_runs(setup):
    assert show(setup=setup, command=["x"])[0] == ["x"]


def test_the_setup_sees_the_environment_and_has_the_last_word():
    _, seen = show(setup="export A=${A}2 C=3", environment={"A": "1"})
    assert (seen["A"], seen["C"]) == ("12", "3")


def test_a_setup_may_end_the_job():
    code, stdout, stderr = run(a_script(shebang="#!/bin/bash", command=SHOW, setup="echo sorry >&2; exit 4"))
    assert (code, stdout, stderr) == (4, "", "sorry\n")


def test_comments_of_a_setup_are_no_directives():
    text = render_script(a_script(shebang="#!/bin/bash -l", command=("x",), setup="#SBATCH --uid=0"))
    before = text.partition("#SBATCH")[0].splitlines()
    assert before[0] == "#!/bin/bash -l"
    assert before[1] == "true"


def test_the_index_within_an_array_completes_the_name():
    script = a_script(shebang="#!/bin/bash", command=(*SHOW, "--name"), name="w3", index_variable="INDEX")
    _, stdout, _ = run(script, INDEX="17")
    assert json.loads(stdout)[0] == ["--name", "w3-17"]


def test_a_tilde_is_the_home_of_the_job_s_user(tmp_path):
    program = tmp_path / "bin" / "it's"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    script = a_script(shebang="#!/bin/bash", command=("~/bin/it's", "~", "~/a b", "~root", "a~"))
    assert run(script, HOME=str(tmp_path))[1] == f"{tmp_path} {tmp_path}/a b ~root a~\n"


@pytest.mark.parametrize(("there", "printed"), [(["dask"], "new scheduler -x"), (["dask", "dask-scheduler"], "old -x")])
@pytest.mark.parametrize("prefix", ["", "~/bin/"])
def test_an_old_script_that_is_gone_falls_back_to_the_new_one(tmp_path, there, printed, prefix):
    (tmp_path / "bin").mkdir()
    for name in there:
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\necho {'new' if name == 'dask' else 'old'} $*\n")
        program.chmod(0o755)
    script = a_script(shebang="#!/bin/bash", command=(f"{prefix}dask-scheduler", "-x"))
    path = f"{tmp_path}/bin:/usr/bin:/bin" if not prefix else "/usr/bin:/bin"
    assert run(script, PATH=path, HOME=str(tmp_path))[1] == printed + "\n"


def test_a_command_that_is_missing_is_named():
    code, _, stderr = run(a_script(shebang="#!/bin/bash", command=("no-such-command",)))
    assert code == 127
    assert "no-such-command" in stderr


def test_ports_are_free_ones_of_the_range():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first, last = (port, port + 6) if port < 65000 else (port - 6, port)
        arguments, _ = show(ports=(first, last))
    values = [int(value.rpartition(":")[2]) for value in arguments[1::2]]
    assert arguments[::2] == ["--port", "--dashboard-address", "--dg-api-address"]
    assert len(set(values)) == 3
    assert set(values) <= set(range(first, last + 1)) - {port}


def test_too_few_free_ports_end_the_job():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        script = a_script(shebang="#!/bin/bash", command=SHOW, ports=(port, port))
        code, _, stderr = run(script)
    assert code == 1
    assert f"from {port} to {port}" in stderr


def test_a_job_says_first_that_its_script_has_begun():
    code, stdout, _ = run(a_script(shebang="#!/bin/bash", command=("true",), setup="echo setup"), JOB_ID="7")
    assert (code, stdout) == (0, f"{STARTED}\nsetup\n")


@pytest.mark.parametrize("profile", ["exit 0", "exec true", "echo hello; exit 3", "logout"])
def test_a_profile_that_ends_the_shell_leaves_no_mark(tmp_path, profile):
    (tmp_path / ".bash_profile").write_text(profile)
    (tmp_path / "script").write_text(render_script(a_script(shebang=f"#!{BASH} -l", command=("true",))))
    (tmp_path / "script").chmod(0o755)
    done = subprocess.run(
        [tmp_path / "script"],
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "JOB_ID": "7"},
        timeout=100,
        check=False,
    )
    log = (done.stdout + done.stderr).decode()
    assert profile_hint(f"exit code {done.returncode}", log, SLURM) == PROFILE_HINT


@pytest.mark.parametrize(
    "end",
    [
        "COMPLETED, exit code 0, on node n1",
        "COMPLETED",
        "FAILED (NonZeroExitCode), exit code 3, on node n1",
        "FAILED, exit code 3",
        "exit code 0, on node n1",
        "exit code 1",
    ],
)
def test_an_end_without_a_beginning_hints_at_the_profile(end):
    assert profile_hint(end, "", SLURM) == profile_hint(end, "Welcome!\n", SLURM) == PROFILE_HINT
    assert profile_hint(end, f"Welcome!\n{STARTED}\n", SLURM) == ""
    assert profile_hint(end, "slurmstepd: error: execve(): bad interpreter(/no/such)", SLURM) == ""


def test_what_a_batch_system_says_of_its_own_is_its_own():
    assert profile_hint("exit code 1", "", PBS().log_words) == PROFILE_HINT
    assert profile_hint("exit code 1", "pbs_mom: no such file", PBS().log_words) == ""
    assert profile_hint("FAILED, exit code 3", "", PBS().log_words) == ""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "RUNNING",
        "TIMEOUT (TimeLimit), exit code 0",
        "CANCELLED, exit code 0",
        "deleted by alice@edge, exit code 271",
        "exit code 143 (killed by signal 15 (SIGTERM))",
        "exit code 127 (a command was not found: is the environment activated?)",
        "killed by signal 9 (SIGKILL)",
        "FAILED (RaisedSignal:53), exit code 1",
        "ended; PBS does not say how",
    ],
)
def test_other_ends_do_not(end):
    assert profile_hint(end, "", SLURM) == ""
