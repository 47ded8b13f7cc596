"""What a site puts in the place of the gateway's own submit options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.backends.batch.submit_options import directives, late_directives, merged, site_options
from gateway.backends.pbs.arguments import GRAMMAR as QSUB
from gateway.backends.pbs.backend import PBSClusterConfig
from gateway.backends.slurm.arguments import GRAMMAR as SBATCH
from gateway.backends.slurm.backend import SlurmClusterConfig
from gateway.models import Role

OWN = ("--cpus-per-task=2", "--mem=2048M", "--partition=main")


def slurm(*own, role=Role.WORKER, **options):
    return SlurmClusterConfig(**options).submit_options(role, own or OWN)


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ([], OWN),
        (["--mem-per-cpu=256M"], ("--cpus-per-task=2", "--partition=main", "--mem-per-cpu=256M")),
        (["--mem-per-gpu=1G"], ("--cpus-per-task=2", "--partition=main", "--mem-per-gpu=1G")),
        (["--mem=0"], ("--cpus-per-task=2", "--partition=main", "--mem=0")),
        (["-p", "gpu", "-x", "n7"], ("--cpus-per-task=2", "--mem=2048M", "--partition=gpu", "--exclude=n7")),
        (["-pgpu"], ("--cpus-per-task=2", "--mem=2048M", "--partition=gpu")),
        (["--partition", "gpu"], ("--cpus-per-task=2", "--mem=2048M", "--partition=gpu")),
        (["--cpus-per-gpu=8"], ("--mem=2048M", "--partition=main", "--cpus-per-gpu=8")),
        (["--gres=gpu:1", "--gres=gpu:2"], (*OWN, "--gres=gpu:2")),
        (["--exclusive", "--no-kill"], (*OWN, "--exclusive", "--no-kill")),
        (["--exclusive=user"], (*OWN, "--exclusive=user")),
        (["-sO"], (*OWN, "--oversubscribe", "--overcommit")),
        (["--share"], (*OWN, "--oversubscribe")),
    ],
)
def test_an_option_of_the_site_replaces_ours_of_the_same_kind(extra, options):
    assert slurm(extra_args=extra) == options


def test_ours_can_be_left_out():
    assert slurm(directives_skip=["--mem"]) == ("--cpus-per-task=2", "--partition=main")
    assert slurm(directives_skip=["mem", "-c", "-p"]) == ()
    assert slurm(directives_skip=["--mem"], extra_args=["--mem-per-cpu=1G"])[-1] == "--mem-per-cpu=1G"


@pytest.mark.parametrize("name", ["--job-name", "--parsable", "--output", "-J", "--frobnicate", ""])
def test_what_the_gateway_needs_cannot_be_left_out(name):
    with pytest.raises(ValueError, match=r"directives_skip must be of .*--mem.* cannot be left out"):
        SlurmClusterConfig(directives_skip=[name])


def test_directives_at_the_top_of_a_setup_are_obeyed():
    setup = (
        "#!/bin/bash\n# modules\n\n#SBATCH --time=00:07:00\n#SBATCH -p short --comment='from setup' # why\nexport A=1\n"
    )
    options = slurm(worker_setup=setup)
    assert options == (
        "--cpus-per-task=2",
        "--mem=2048M",
        "--time=00:07:00",
        "--partition=short",
        "--comment=from setup",
    )
    assert slurm(worker_setup=setup, role=Role.SCHEDULER) == OWN
    assert slurm(worker_setup=setup, extra_args=["--partition=long"])[-1] == "--partition=long"


def test_extra_args_count_more_than_directives():
    options = slurm(worker_setup="#SBATCH --mem-per-gpu=1G\n", extra_args=["--mem-per-cpu=256M"])
    assert options == ("--cpus-per-task=2", "--partition=main", "--mem-per-cpu=256M")


@pytest.mark.parametrize(
    ("setup", "words"),
    [
        ("#SBATCH --output=/tmp/x\n", r"line 1 \(#SBATCH --output=/tmp/x\): .*'--output=/tmp/x' is not passed on"),
        ("export A=1".join(["# first\n#SBATCH --uid=0\n", ""]), "line 2 "),
        ("#SBATCH --array=0-3\n", r"what the gateway decides itself .*'--array=0-3'"),
        ("#SBATCH -M smp\n", "set cluster"),
        ("#SBATCH --requeue\n", "set requeue = True"),
        ("#SBATCH -t\n", "without its value"),
        ("#SBATCH hello\n", "must be options of sbatch"),
        ("#SBATCH --comment='open\n", "line 1 .*quotation"),
        ("#SBATCH --mem=1G\n#SBATCH --mem-per-cpu=1G\n", "both --mem and --mem-per-cpu"),
        ("#SBATCH --exclusive\n#SBATCH -s\n", "both --exclusive and --oversubscribe"),
    ],
)
def test_a_directive_that_cannot_be_passed_on_is_named_with_its_line(setup, words):
    for option in ("worker_setup", "scheduler_setup"):
        with pytest.raises(ValueError, match=f"{option} .*{words}"):
            SlurmClusterConfig(**{option: setup})


@pytest.mark.parametrize(
    "argument",
    ["--wrap=true", "--uid=0", "--output=/etc/passwd", "-D /", "--bbf=x", "--export-file=x", "--time=1\n2", "--wait"],
)
def test_arguments_that_the_launcher_would_refuse_are_refused_at_once(argument):
    with pytest.raises(ValueError, match=r"extra_args .*is not passed on"):
        SlurmClusterConfig(extra_args=argument.split(" "))


@pytest.mark.parametrize(
    "argument",
    ["--parsable", "--array=0-3", "--job-name=x", "-Jx", "--export=NONE", "--no-requeue", "--clusters=smp", "-Msmp"],
)
def test_what_the_gateway_decides_is_not_for_a_site_to_add(argument):
    with pytest.raises(ValueError, match="what the gateway decides itself"):
        SlurmClusterConfig(extra_args=["--exclusive", argument])


@pytest.mark.parametrize("words", [["main"], ["-"], ["--"], ["-y"], ["-c"], [""]])
def test_words_that_are_no_options(words):
    with pytest.raises(ValueError, match="option"):
        site_options(SBATCH, words)


OPTIONS = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["--constraint", "--gres", "--licenses", "-C", "-A", "-l", "-W", "-"]),
        st.text("=:a1,", max_size=4),
    ),
)


@given(st.lists(OPTIONS | st.text(max_size=12), max_size=5))
@pytest.mark.parametrize("grammar", [SBATCH, QSUB], ids=["sbatch", "qsub"])
def test_whatever_a_site_writes_is_an_error_or_passes_the_launcher(grammar, words):
    try:
        options = site_options(grammar, words)
    except ValueError:
        return
    assert all(grammar.rules.allows(grammar.command, option) for option in options)


def test_directives_below_a_command_are_warned_of():
    setup = "#SBATCH -t 5\nmodule load x\n#SBATCH --mem=4G\n#SBATCHER is no directive\n"
    assert [(found.line, found.late) for found in directives(setup, "#SBATCH")] == [(1, False), (3, True)]
    config = SlurmClusterConfig(worker_setup=setup)
    assert slurm(worker_setup=setup)[-1] == "--time=5"
    (warning,) = config.warnings()
    assert warning.startswith("SlurmClusterConfig.worker_setup has #SBATCH lines below its first command")
    assert "line 3 (#SBATCH --mem=4G)" in warning
    assert late_directives(SBATCH, "#SBATCH -t 5\n") == ""
    assert JobQueueClusterConfig(worker_setup=setup).warnings() == ()  # of no batch system in particular


# --- PBS -------------------------------------------------------------------------------------------------------------

CHUNKS = ("-lselect=1:ncpus=2:mem=2048mb", "-lwalltime=3600", "-lplace=free", "-qmain")


def pbs(**options):
    return PBSClusterConfig(**options).submit_options(Role.WORKER, CHUNKS)


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ([], CHUNKS),
        (["-lsoftware=1"], (*CHUNKS, "-lsoftware=1")),
        (["-l", "select=2:ncpus=1,walltime=60"], ("-lplace=free", "-qmain", "-lselect=2:ncpus=1", "-lwalltime=60")),
        (["-lnodes=1:ppn=4", "-lmem=8gb"], ("-lwalltime=3600", "-qmain", "-lnodes=1:ppn=4", "-lmem=8gb")),
        (["-q", "express", "-Wgroup_list=staff"], (*CHUNKS[:3], "-qexpress", "-Wgroup_list=staff")),
        (["-P", "x-1"], (*CHUNKS, "-Px-1")),
    ],
)
def test_the_same_on_pbs(extra, options):
    assert pbs(extra_args=extra) == options
    directive = "\n".join(f"#PBS {extra[start]}" for start in range(len(extra))) if len(extra) == 1 else ""
    if directive:
        assert pbs(worker_setup=f"{directive}\ntrue\n") == options


def test_ours_can_be_left_out_on_pbs():
    for name in ("-lselect", "select", "-l select", "lselect=1"):
        assert pbs(directives_skip=[name]) == CHUNKS[1:]
    assert pbs(directives_skip=["walltime", "-q", "-l place"]) == CHUNKS[:1]
    with pytest.raises(ValueError, match="cannot be left out"):
        PBSClusterConfig(directives_skip=["-N"])


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["-r", "n"], "set requeue"),
        (["-Wsandbox=PRIVATE"], "set use_stagein"),
        (["-N", "x"], "what the gateway decides itself"),
        (["-J0-3"], "what the gateway decides itself"),
        (["-o", "/tmp/x"], "is not passed on"),
        (["-V"], "is not passed on"),
        (["-Vh"], "is not passed on"),
        (["-Wgroup_list=a,stagein=x"], "is not passed on"),
        (["-q"], "without its value"),
        (["x"], "must be options of qsub"),
        (["-lselect=1", "-lncpus=2"], "both -lselect and -lncpus"),
        (["-lnodes=1", "-lplace=free"], "both -lnodes and -lplace"),
    ],
)
def test_what_cannot_be_passed_on_to_qsub(extra, words):
    with pytest.raises(ValueError, match=f"extra_args .*{words}"):
        PBSClusterConfig(extra_args=extra)


def test_no_own_option_is_left_out_unless_it_is_named():
    assert merged(SBATCH, (), OWN) == OWN
    assert merged(SBATCH, ("--time",), OWN) == OWN
