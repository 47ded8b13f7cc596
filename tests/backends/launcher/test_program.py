"""The launcher, as a function from a request to an answer, with batch commands of our own making."""

import errno
import io
import json
import os
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.launcher import client as impersonation
from gateway.backends.launcher import commands
from gateway.backends.launcher import program as launcher
from gateway.backends.launcher import settings as launcher_settings
from gateway.backends.pbs import launcher_rules as pbs_rules
from gateway.backends.slurm import launcher_rules as slurm_rules
from tests.support.launcher_daemon import answer_of_daemon

# A batch command that tells how it was called.
TELL = """#!{python}
import json, os, sys
print(json.dumps(dict(argv=sys.argv[1:], env=dict(os.environ), stdin=sys.stdin.read(), cwd=os.getcwd())))
print("and on stderr", file=sys.stderr)
sys.exit(int(os.environ.get("DASK_TEST_EXIT", "0")))
"""


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """A folder of batch commands that is searched, and believed to be root's; we count as an ordinary user."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "scancel", "qsub", "qdel"):
        (folder / name).write_text(TELL.format(python=sys.executable))
        (folder / name).chmod(0o755)
    for rules in (slurm_rules.RULES, pbs_rules.RULES):
        monkeypatch.setattr(rules, "path", f"/nowhere:{folder}")
    monkeypatch.setattr(commands, "unsafe", lambda path, program=False: "")
    monkeypatch.setattr(launcher, "is_root", lambda: False)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    user = SimpleNamespace(pw_dir=str(tmp_path / "home"), pw_name="alice", pw_shell="/bin/bash")
    monkeypatch.setattr(launcher.pwd, "getpwuid", lambda uid: user)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture(autouse=True, params=[launcher.answer, answer_of_daemon], ids=["program", "daemon"])
def answer(request, monkeypatch):
    """The launcher's answer to a request, by the program that sudo runs and by the daemon."""
    monkeypatch.setattr(WAY, "answer", request.param)
    return request.param


WAY = SimpleNamespace(answer=launcher.answer)
only_the_program = pytest.mark.parametrize("answer", [launcher.answer], ids=["program"], indirect=True)


def ask(**request):
    return WAY.answer(json.dumps(request).encode(), "/nowhere/launcher.conf")


def a_request(**changes):
    request = {
        "action": "submit",
        "cluster": "c1",
        "staging_directory": "{home}/.dask-gateway/",
        "rules": "slurm",
        "arguments": ["--parsable", "--time=5"],
        "script": "#!/bin/sh\n'ü'\n",
        "environment": {"DASK_GATEWAY_API_TOKEN": "t0p"},
        "log": "w1-%a.log",
    }
    return {**request, **changes}


def submit(**changes):
    return ask(**a_request(**changes))


def told(answer):
    assert answer["ok"], answer
    return json.loads(answer["stdout"])


# --- submit and cancel -----------------------------------------------------------------------------------------------


def test_submit_makes_the_directory_and_runs_the_command_in_it(batch, home):
    answer = submit()
    call = told(answer)
    directory = home / ".dask-gateway" / "c1"
    assert call["argv"] == ["--parsable", "--time=5", f"--output={directory}/w1-%a.log"]
    assert call["stdin"] == "#!/bin/sh\n'ü'\n"
    assert call["cwd"] == str(directory)
    env = {name: value for name, value in call["env"].items() if name not in ("LC_CTYPE", "PYTHONUTF8")}
    assert env == {
        "DASK_GATEWAY_API_TOKEN": "t0p",
        "PATH": slurm_rules.RULES.path,
        "HOME": str(home),
        "USER": "alice",
        "LOGNAME": "alice",
        "SHELL": "/bin/bash",
    }
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
    assert (answer["returncode"], answer["stderr"]) == (0, "and on stderr\n")


def test_a_second_submission_uses_the_directory_again(batch, home):
    told(submit())
    assert told(submit(log="w2-%a.log"))["argv"][-1].endswith("c1/w2-%a.log")


def test_exit_codes_are_passed_on(batch, home):
    assert submit(environment={"DASK_TEST_EXIT": "3"})["returncode"] == 3


@pytest.mark.parametrize(
    "script", ["#!/bin/sh\n\n true\n#SBATCH --uid=0\n#PBS -e x\n# a site's text", "#!/bin/sh\n", "#!/bin/sh"]
)
def test_comments_after_the_first_command_are_no_arguments(batch, home, script):
    assert told(submit(script=script))["stdin"] == script


def test_qsub_gets_the_log_its_way(batch, home):
    call = told(submit(rules="pbs", arguments=["-koed"], log="w1-^array_index^.log"))
    assert call["argv"] == ["-koed", f"-o{home}/.dask-gateway/c1/w1-^array_index^.log"]


def test_a_percent_sign_in_the_directory_is_no_pattern_of_sbatch(batch, home):
    call = told(submit(staging_directory="{home}/100%j/{username}"))
    assert call["argv"][-1] == f"--output={home}/100%%j/alice/c1/w1-%a.log"
    assert (home / "100%j" / "alice" / "c1").is_dir()


@pytest.mark.parametrize("noise", ["x" * 79, "\\x00" * 20, "\\xff" * 20])
def test_of_much_output_the_first_and_the_last_lines_are_passed_on(batch, home, noise):
    script = f"import os; os.write(%d, b'first\\n' + b'{noise}\\n' * 20000 + b'4711\\n')"
    (batch / "sbatch").write_text(f"#!{sys.executable}\n{script % 1}\n{script % 2}\n")
    answer = submit()
    for stream in ("stdout", "stderr"):
        assert answer[stream].startswith("first\n")
        assert answer[stream].endswith("\n4711\n")
        lines = set(answer[stream].splitlines())
        assert len(lines) == 3, "no line is cut"
    assert len(json.dumps(answer)) < impersonation.MAX_ANSWER


def test_cancel_needs_no_directory(batch, home):
    home.rmdir()
    call = told(ask(action="cancel", rules="slurm", arguments=["12", "30_[0-4]"]))
    assert call["argv"] == ["12", "30_[0-4]"]
    assert call["cwd"] == "/"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rules": "lsf"}, "knows no batch system 'lsf'"),
        ({"rules": "launcher"}, "knows no batch system 'launcher'"),
        ({"rules": 1}, "bad value of 'rules'"),
        ({"rules": "slurm.dialect"}, "only from an absolute path that ends in /launcher_rules.py"),
        ({"rules": "launcher_rules.py"}, "only from an absolute path"),
        ({"rules": "/tmp/other.py"}, "only from an absolute path"),
        ({"arguments": ["--wrap=id"]}, "does not pass the argument '--wrap=id'"),
        ({"arguments": ["--output=/home/alice/.bashrc"]}, "does not pass the argument"),
        ({"arguments": [1]}, "does not pass the argument"),
        ({"arguments": "--parsable"}, "no list of arguments"),
        ({"environment": {"LD_PRELOAD": "/tmp/x.so"}}, "does not pass the variable 'LD_PRELOAD'"),
        ({"environment": {"SLURM_CONF": "/tmp/x"}}, "does not pass the variable"),
        ({"environment": {"DASK_A": 1}}, "does not pass the variable"),
        ({"environment": {"DASK_A": "\0"}}, "does not pass the variable"),
        ({"environment": []}, "is no object"),
        ({"log": "../x.log"}, "bad value of 'log'"),
        ({"log": ".bashrc"}, "bad value of 'log'"),
        ({"log": "w1-%j.log"}, "bad value of 'log'"),
        ({"cluster": "../.ssh"}, "bad value of 'cluster'"),
        ({"cluster": ".ssh"}, "bad value of 'cluster'"),
        ({"cluster": ""}, "bad value of 'cluster'"),
        ({"cluster": "a\n"}, "bad value of 'cluster'"),
        ({"script": None}, "bad value of 'script'"),
        ({"script": "a\0b"}, "bad value of 'script'"),
        (
            {"script": "#!/bin/sh\n#SBATCH --export-file=/home/alice/x\ntrue\n"},
            "arguments of the batch system: '#SBATCH",
        ),
        ({"script": "#PBS -W stagein=loot@login:/home/alice/.ssh/id_rsa"}, "arguments of the batch system: '#PBS -W"),
        ({"script": "#!/bin/sh\n\n  # x\n:\n \t#PBS -e /home/alice/.bashrc\ntrue\n"}, "arguments of the batch system"),
        ({"script": "#!/bin/sh\n#BSUB -o x\n"}, "arguments of the batch system"),
        ({"script": "#!/bin/sh\n#DW stage_in source=/x\n"}, "arguments of the batch system"),
        ({"script": f"#!/bin/sh\n# {'x' * 5000}#PBS -e x\n"}, "arguments of the batch system"),
        ({"script": f"#!/bin/sh {'x' * 4096}#PBS -e x\ntrue\n"}, "arguments of the batch system"),
        ({"script": "#!/bin/sh\n#SLURM --error=/home/alice/.bashrc\ntrue\n"}, "arguments of the batch system: '#SLURM"),
        ({"script": "#!/bin/sh\n# an innocent comment\ntrue\n"}, "arguments of the batch system"),
        ({"script": "\n#FLUX: -x\ntrue\n"}, "arguments of the batch system"),
        ({"staging_directory": "relative"}, "must be an absolute path"),
        ({"staging_directory": "/a\nb"}, "must be an absolute path"),
        ({"staging_directory": "/a\\b"}, "must be an absolute path"),
        ({"seconds": -1}, "bad value of 'seconds'"),
        ({"seconds": True}, "bad value of 'seconds'"),
        ({"seconds": 1e9}, "bad value of 'seconds'"),
        ({"path": "/bin/bash"}, "only runs an absolute path that ends in /sbatch"),
        ({"path": "bin/sbatch"}, "only runs an absolute path"),
        ({"action": "run"}, "knows the actions submit, cancel, tail, clean"),
        ({"action": ["submit"]}, "knows the actions"),
    ],
)
def test_what_is_refused(batch, home, change, words):
    answer = submit(**change)
    assert answer["ok"] is False
    assert words in answer["error"]
    assert not list(home.glob(".dask-gateway/*/*.log"))


@only_the_program
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_any_request_gets_an_answer(value):
    answer = launcher.answer(json.dumps(value).encode())
    assert answer["ok"] is False
    assert answer["error"]


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_gets_an_answer(batch, answer, raw):
    assert answer(raw)["error"] == "the launcher's request is not JSON"


@pytest.mark.parametrize(
    "change", [{"script": "\ud800"}, {"environment": {"DASK_A": "\ud800"}}, {"staging_directory": "/\ud800"}]
)
def test_text_that_cannot_be_encoded_gets_an_answer(batch, home, change):
    assert submit(**change)["error"].startswith("the launcher failed: ")


def test_a_request_without_end_gets_an_answer(batch, answer):
    most = launcher.MAX_REQUEST
    assert f"more than {most} bytes" in answer(b" " * (most + 1))["error"]


def test_root_gets_nothing(batch, home, monkeypatch):
    monkeypatch.setattr(launcher, "is_root", lambda: True)
    assert submit()["error"] == "jobs are not run as root; log in to the gateway as somebody else"


def test_a_command_that_does_not_answer_is_ended_and_may_have_worked(batch, home):
    (batch / "sbatch").write_text("#!/bin/sh\n/bin/sleep 600 & wait\n")
    answer = submit(seconds=0.1)
    assert answer == {"ok": False, "error": "sbatch did not answer within 0.1 seconds", "lost": True}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EACCES, "Permission denied"),
    ],
)
def test_a_directory_that_cannot_be_made_is_named_with_the_reason(batch, home, monkeypatch, number, words):
    def fail(*args, **more):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", fail)
    answer = submit()
    assert answer["error"] == f"the directory {home}/.dask-gateway/c1 cannot be made: {words}"


def test_a_directory_without_its_marker_is_not_left_behind(batch, home, monkeypatch):
    def fail(directory, name):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(launcher.directories, "_mark", fail)
    assert submit()["error"].endswith("cannot be made: the disk is full")
    assert not (home / ".dask-gateway" / "c1").exists()


def test_a_path_that_is_changed_while_it_is_used_leads_nowhere_else(directory, home, monkeypatch):
    # Who can rename the staging directory points it at another folder of the user's once ours was found.
    (home / "work" / "c1").mkdir(parents=True)
    (home / "work" / "c1" / "thesis").write_text("x")
    parent, marked = directory.parent, launcher.directories._is_marked

    def swap(descriptor):
        if parent.is_dir() and not parent.is_symlink():
            parent.rename(home / "moved")
            parent.symlink_to(home / "work")
        return marked(descriptor)

    monkeypatch.setattr(launcher.directories, "_is_marked", swap)
    assert clean()["ok"]
    assert (home / "work" / "c1" / "thesis").exists()
    assert not (home / "moved" / "c1").exists()


def test_a_directory_that_takes_the_place_of_ours_keeps_its_files(directory, home, monkeypatch):
    # The same again, one level below: another folder gets the name of ours once ours was found to be ours.
    (directory / "w1-0.log").write_text("x")
    (home / "work").mkdir()
    (home / "work" / "thesis").write_text("x")
    marked = launcher.directories._is_marked

    def swap(descriptor):
        found = marked(descriptor)
        if (home / "work").exists():
            directory.rename(home / "moved")
            (home / "work").rename(directory)
        return found

    monkeypatch.setattr(launcher.directories, "_is_marked", swap)
    assert "Directory not empty" in clean()["error"]
    assert (directory / "thesis").exists()
    assert not list((home / "moved").iterdir())


def test_a_removal_that_fails_can_be_tried_again(directory, monkeypatch):
    (directory / "w1-0.log").write_text("x")
    assert clean(keep_logs=True)["ok"]

    def fail(name, dir_fd):
        assert name == "w1-0.log", "the markers go last"
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        assert clean()["error"].endswith("cannot be removed: 'w1-0.log': Permission denied")
    assert clean() == {"ok": True, "kept": 0}
    assert not directory.exists()


def test_a_directory_of_somebody_else_s_is_left_alone(batch, home):
    (home / ".dask-gateway" / "c1").mkdir(parents=True)
    assert "was not made by the gateway" in submit()["error"]


def test_other_errors_of_the_system_are_sentences(batch, home, monkeypatch):
    (batch / "sbatch").write_text("#!/no/such/interpreter\n")
    assert submit()["error"] == "the launcher failed: No such file or directory"


# --- a home that is not there -----------------------------------------------------------------------------------------


def test_a_home_that_does_not_exist_is_called_that(batch, home):
    home.rmdir()
    whose = f"the home directory {home} of user alice"
    assert submit()["error"] == f"{whose} does not exist on this host"
    assert not home.exists()
    home.write_text("")
    assert submit()["error"] == f"{whose} is no directory on this host"
    home.unlink()
    home.symlink_to(home)
    assert submit()["error"].startswith(f"{whose} cannot be reached on this host: ")


@pytest.mark.parametrize("number", [errno.EACCES, errno.ESTALE, errno.EIO, errno.ENOTCONN])
def test_a_home_that_cannot_be_reached_is_called_that(batch, home, monkeypatch, number):
    def stat_of(path, **options):
        if path == str(home):
            raise OSError(number, os.strerror(number))
        return os.lstat(path)

    with monkeypatch.context() as patch:
        patch.setattr(launcher.os, "stat", stat_of)
        error = submit()["error"]
    assert error == f"the home directory {home} of user alice cannot be reached on this host: {os.strerror(number)}"


def test_who_needs_no_home_does_without(batch, home, tmp_path):
    home.rmdir()
    assert submit(staging_directory=f"{tmp_path}/scratch/{{username}}")["ok"]


def test_looking_for_logs_and_cleaning_do_without_a_home(batch, home):
    home.rmdir()
    assert tail()["text"] == ""
    assert clean() == {"ok": True, "kept": 0}
    home.symlink_to(home)
    assert tail()["text"] == ""
    assert clean() == clean(keep_logs=True) == {"ok": True, "kept": 1}


# --- which commands ---------------------------------------------------------------------------------------------------


def test_a_command_that_is_nowhere(batch, home):
    (batch / "sbatch").unlink()
    assert "sbatch was not found in /nowhere:" in submit()["error"]


def test_a_command_that_others_could_change(batch, home, monkeypatch):
    monkeypatch.setattr(commands, "unsafe", lambda path, program: "/tmp can be changed by others than root")
    answer = submit(path=str(batch / "sbatch"))
    assert answer["error"] == f"{batch}/sbatch is not run as a user: /tmp can be changed by others than root"


# --- rules that do not come with the gateway --------------------------------------------------------------------------

RULES_OF_ROOT = """
from gateway.backends.launcher.rules import Rules
RULES = Rules(
    __file__,
    submit="site-submit",
    cancel="site-cancel",
    submit_argument="--time=[0-9]+",
    cancel_argument="[0-9]+",
    decided="--name",
    log_option="-l",
    array_mark="%",
)
"""


@pytest.fixture
def rules(tmp_path):
    """The file of a batch system of a site's own."""
    return tmp_path / "launcher_rules.py"


def submit_by(rules, path=None):
    return submit(rules=str(rules), arguments=["--time=5"], log="w1-%.log", **({"path": str(path)} if path else {}))


def test_rules_that_root_has_put_there(batch, home, rules):
    rules.write_text(RULES_OF_ROOT)
    command = (batch / "sbatch").rename(batch / "site-submit")
    assert told(submit_by(rules, command))["argv"] == ["--time=5", f"-l{home}/.dask-gateway/c1/w1-%.log"]
    assert "does not pass" in submit(rules=str(rules), path=str(command), arguments=["--parsable"])["error"]
    assert "was not found in /usr/local/bin:/usr/bin:/bin;" in submit_by(rules)["error"]


def test_rules_that_others_could_change_are_not_obeyed(batch, home, rules, monkeypatch):
    rules.write_text("import os\nos.mkdir('/nowhere/at/all')\n")
    monkeypatch.setattr(commands, "unsafe", lambda path: "/tmp can be changed by others than root")
    assert (
        submit_by(rules)["error"]
        == f"the launcher's rules {rules} are not obeyed: /tmp can be changed by others than root"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: FileNotFoundError"),
        ("RULES = (", "cannot be read: SyntaxError"),
        ("1 / 0", "cannot be read: ZeroDivisionError"),
        ("", "cannot be read: KeyError: 'RULES'"),
        ("RULES = 1", "are no Rules"),
    ],
)
def test_rules_that_are_none(batch, home, rules, content, words):
    if content is not None:
        rules.write_text(content)
    assert words in submit_by(rules)["error"]


# --- root's settings --------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The launcher's settings, believed to be root's."""
    monkeypatch.setattr(launcher_settings, "unsafe", lambda path: "")
    return tmp_path / "launcher.conf"


def submit_with(settings, **changes):
    return WAY.answer(json.dumps(a_request(**changes)).encode(), str(settings))


def test_variables_that_root_has_set_reach_the_command(batch, home, settings):
    settings.write_text("[environment]\nSLURM_CONF = /opt/slurm.conf\nDASK_GATEWAY_API_TOKEN = no\nHOME=/x\n")
    environment = told(submit_with(settings))["env"]
    assert environment["SLURM_CONF"] == "/opt/slurm.conf"
    assert environment["HOME"] == "/x"
    assert environment["DASK_GATEWAY_API_TOKEN"] == "t0p"  # the request's own are what the job needs
    assert "SLURM_CONF" not in told(submit())["env"]
    refused = submit_with(settings, environment={"SLURM_CONF": "/tmp/evil"})
    assert "does not pass the variable 'SLURM_CONF'" in refused["error"]


def test_a_wrapper_with_a_name_of_its_own_has_to_be_listed_by_root(batch, home, settings):
    wrapper = batch / "submit-with-defaults"
    (batch / "sbatch").rename(wrapper)
    assert (
        f"absolute path that ends in /sbatch, or one that {launcher.SETTINGS} lists"
        in submit(path=str(wrapper))["error"]
    )
    settings.write_text(f"[commands]\nsbatch = {wrapper}\n")
    assert told(submit_with(settings, path=str(wrapper)))["argv"][0] == "--parsable"
    assert told(submit_with(settings))["argv"][0] == "--parsable"  # and is what is meant by no path
    other = submit_with(settings, path=str(batch / "qdel"))
    assert "only runs an absolute path" in other["error"]
    assert "only runs an absolute path" in submit_with(settings, rules="pbs", path=str(wrapper))["error"]


def test_a_path_for_commands_that_root_has_set(batch, home, settings, tmp_path):
    (tmp_path / "site").mkdir()
    (batch / "sbatch").rename(tmp_path / "site" / "sbatch")
    settings.write_text(f"[environment]\nPATH = {tmp_path}/site:/usr/bin\n")
    assert told(submit_with(settings))["env"]["PATH"] == f"{tmp_path}/site:/usr/bin"


def test_settings_that_cannot_be_obeyed_submit_nothing(batch, home, settings):
    settings.write_text("[environment]\nSLURM CONF = /x\n")
    answer = submit_with(settings)
    assert (answer["ok"], answer["lost"]) == (False, False)
    assert "launcher.conf:2: 'SLURM CONF' is no name" in answer["error"]


# --- logs and directories ---------------------------------------------------------------------------------------------


def tail(**changes):
    request = {"action": "tail", "cluster": "c1", "staging_directory": "{home}/.dask-gateway", "log": "w1-0.log"}
    return ask(**{**request, **changes})


@pytest.fixture
def directory(batch, home):
    told(submit())
    return home / ".dask-gateway" / "c1"


def test_the_tail_of_a_log(directory):
    (directory / "w1-0.log").write_bytes(b"x" * 100 + b"\xffend\n")
    assert tail(size=6)["text"] == "x\ufffdend\n"
    assert tail()["path"] == str(directory / "w1-0.log")


def test_a_part_of_a_log(directory):
    (directory / "w1-0.log").write_bytes(b"one\ntwo\nthr")
    part = tail(start=4, whole_lines=True)
    assert (part["text"], part["start"], part["end"]) == ("two\n", 4, 8)
    assert (tail(start=4)["text"], tail(start=None)["text"]) == ("two\nthr", "one\ntwo\nthr")
    assert (tail(start=100)["text"], tail(start=100)["start"]) == ("one\ntwo\nthr", 0)


@pytest.mark.parametrize("start", [-1, "0", True, 1e300, [0]])
def test_a_start_that_is_no_place_in_a_file(directory, start):
    assert tail(start=start)["error"].startswith("the launcher was given a bad value of 'start'")


def test_a_log_that_is_missing_is_empty(directory):
    assert (tail()["text"], tail()["found"]) == ("", False)
    (directory / "w1-0.log").touch()
    assert (tail()["text"], tail()["found"]) == ("", True)
    (directory / "w1-0.log").unlink()
    assert tail(cluster="c2")["text"] == ""


@pytest.mark.parametrize("log", ["../../.ssh/id_rsa", ".dask-gateway", "id_rsa", "w1-%a.log", "a/b.log"])
def test_no_other_file_is_read(directory, log):
    assert "bad value" in tail(log=log)["error"]


def test_a_link_is_not_followed(directory, tmp_path):
    (tmp_path / "secret").write_text("s3cret")
    (directory / "w1-0.log").symlink_to(tmp_path / "secret")
    assert tail()["text"] == ""


def test_a_pipe_does_not_hang_the_launcher(directory):
    os.mkfifo(directory / "w1-0.log")
    assert tail()["text"] == ""


def test_a_directory_that_is_not_ours_is_not_read(home, batch):
    elsewhere = home / ".dask-gateway" / "documents"
    elsewhere.mkdir(parents=True)
    (elsewhere / "w1-0.log").write_text("private")
    assert tail(cluster="documents")["text"] == ""


def clean(**changes):
    return ask(**{"action": "clean", "cluster": "c1", "staging_directory": "{home}/.dask-gateway", **changes})


def test_clean_removes_the_directory(directory):
    (directory / "w1-0.log").write_text("x")
    (directory / "left").mkdir()
    assert clean()["ok"]
    assert not directory.exists()
    assert clean()["ok"]


def test_clean_may_keep_logs(directory):
    (directory / "w1-0.log").write_text("x")
    assert clean(keep_logs=True) == {"ok": True, "kept": 1}
    assert clean(keep_logs=True) == {"ok": True, "kept": 1}
    assert (directory / "w1-0.log").exists()
    assert clean() == {"ok": True, "kept": 0}
    assert clean(keep_logs=True) == {"ok": True, "kept": 0}


def test_clean_removes_kept_logs_whose_time_is_up_and_nothing_else(directory, home):
    parent = directory.parent
    for name in ("old", "young", "at-work"):
        told(submit(cluster=name))
        (parent / name / "w1-0.log").write_text("x")
    assert clean(cluster="old", keep_logs=True)["ok"]
    assert clean(cluster="young", keep_logs=True)["ok"]
    (parent / "foreign").mkdir()
    (parent / "foreign" / ".ended").write_text("")
    (parent / "file").write_text("x")
    long_ago = time.time() - 8 * 86400
    for path in [*(parent / "old").iterdir(), *(parent / "at-work").iterdir(), parent / "foreign" / ".ended"]:
        os.utime(path, (long_ago, long_ago))
    assert clean(keep_logs=True, retention=7 * 86400) == {"ok": True, "kept": 2}
    assert sorted(path.name for path in parent.iterdir()) == ["at-work", "c1", "file", "foreign", "young"]


def test_clean_follows_no_link_and_touches_nothing_foreign(directory, home, tmp_path):
    elsewhere = tmp_path / "documents"
    elsewhere.mkdir()
    (elsewhere / "thesis").write_text("x")
    (directory.parent / "documents").symlink_to(elsewhere)
    assert clean(cluster="documents")["ok"]
    assert (elsewhere / "thesis").exists()
    (home / "work").mkdir()
    assert clean(cluster="work", staging_directory="{home}")["ok"]
    assert (home / "work").exists()


def test_clean_tells_why_it_cannot(directory, monkeypatch):
    def fail(path, cluster, deadline):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(launcher.directories, "remove", fail)
    assert clean()["error"].endswith("cannot be removed: Permission denied")


def test_what_could_not_be_removed_goes_when_its_time_is_up(directory):
    (directory / "w1-0.log").write_text("x")
    assert clean(seconds=0)["error"].endswith("cannot be removed: there was no time for the rest")
    assert clean(cluster="c2", keep_logs=True) == {"ok": True, "kept": 1}
    assert clean(cluster="c2", keep_logs=True, retention=0) == {"ok": True, "kept": 0}
    assert not directory.exists()


def test_a_directory_that_cannot_be_removed_keeps_no_other(directory, monkeypatch):
    submit(cluster="c2")
    submit(cluster="c3")
    for cluster in ("c1", "c2", "c3"):
        assert clean(cluster=cluster, keep_logs=True)["ok"]
    remove = launcher.directories._remove

    def fail(parent, name, deadline):
        if name == "c2":
            raise PermissionError(errno.EACCES, "Permission denied")
        if name == "c3":
            raise FileNotFoundError
        return remove(parent, name, deadline)

    monkeypatch.setattr(launcher.directories, "_remove", fail)
    assert clean(cluster="other", retention=0) == {"ok": True, "kept": 1}
    assert not directory.exists()


# --- as a program -----------------------------------------------------------------------------------------------------


@only_the_program
def test_main_reads_one_request_and_writes_one_answer(batch, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"{}")))
    assert launcher.main() == 0
    assert json.loads(capsys.readouterr().out)["ok"] is False


@only_the_program
@pytest.mark.parametrize("program", ["program", "daemon"])
def test_the_program_needs_nothing_but_the_standard_library(program):
    done = subprocess.run(
        [sys.executable, "-I", "-S", launcher.__file__.replace("program.py", "rules.py")], check=False
    )
    assert done.returncode == 0
    program = (
        f"import sys; sys.path.insert(0, sys.argv[1]); import gateway.backends.launcher.{program};"
        " import gateway.backends.slurm.launcher_rules, gateway.backends.pbs.launcher_rules;"
        " print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names - {'__main__', 'gateway'})"
    )
    root = launcher.__file__.removesuffix("/gateway/backends/launcher/program.py")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program, root], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


@only_the_program
def test_the_real_user_decides_who_is_root():
    assert launcher.is_root() is (0 in (os.getuid(), os.geteuid()))
