"""What the launcher passes on to a batch command: names, variables, and one allow-list of arguments a command (pure).

Every argument is one token: `--time=10` for Slurm, `-lselect=1` for PBS. What
says which resources a job needs is allowed; what names files, users or other
scripts is not, since the launcher decides those itself. The dialects and the
config classes ask the same rules, so that a bad option of the site's
configuration is found when the gateway starts and not with the first job.

A script can hold arguments as well, in comments before its first command: so a
script that has any comment there is not passed on.
"""

import re

#: Where batch commands are looked for, by the launcher as by the gateway's own questions.
PATH = "/usr/local/bin:/usr/bin:/bin:/opt/slurm/bin:/usr/local/slurm/bin:/opt/pbs/bin"

#: A cluster's directory has the cluster's name.
CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: A log that may be read.
LOG = re.compile(r"[a-z0-9][a-z0-9-]{0,80}\.log")
#: A log that may be written; the batch system fills in the index within an array.
LOG_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,80}(%a|\^array_index\^)?\.log")
#: Variables that may be in the batch command's environment. Others could change the command itself (SBATCH_*, LD_*).
VARIABLE = re.compile(r"DASK_[A-Z0-9_]{1,100}")

#: Characters of a shebang; Linux reads 255 of them.
LONGEST_SHEBANG = 255

_TEXT = r"[^\x00-\x1f\x7f]{0,4000}"
_NAME = r"dask-gateway-[a-z0-9-]{1,90}"
_CLUSTERS = r"--clusters=[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"  # one, so that one id is the answer

# No value of -W may hold a comma: qsub reads a further attribute after it, such as stagein.
_WORD = r"[^,\x00-\x1f\x7f]{1,255}"

# Left out are options that name files (output, error, input, chdir, bbf, export-file), users (uid, gid, get-user-env),
# other scripts (wrap), and those that change what the answer means (wait, test-only, clusters).
_SBATCH = """
account acctg-freq begin comment constraint contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task
deadline delay-boot dependency distribution exclusive extra-node-info gpu-bind gpu-freq gpus gpus-per-node
gpus-per-socket gpus-per-task gres gres-flags hint licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
mem-per-gpu mincpus network nice no-kill nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
ntasks-per-socket overcommit oversubscribe partition power prefer priority profile propagate qos reboot reservation
signal sockets-per-node spread-job switches thread-spec threads-per-core time time-min tmp use-min-nodes wckey
"""

#: The batch commands that exist for the launcher, and what one argument of each must match.
ARGUMENTS = {
    "sbatch": re.compile(
        rf"--parsable|--job-name={_NAME}|--array=0-[0-9]{{1,7}}|--export=(ALL|NONE)|--open-mode=append"
        rf"|--(no-)?requeue|{_CLUSTERS}|--({'|'.join(_SBATCH.split())})(={_TEXT})?"
        r"|--(nodelist|exclude)=[^/\x00-\x1f\x7f]{1,4000}"  # with a slash it would be a file that holds the names
    ),
    "scancel": re.compile(rf"{_CLUSTERS}|[0-9]{{1,10}}(_([0-9]{{1,10}}|\[[0-9][0-9,-]*\]))?"),
    "qsub": re.compile(
        rf"-f|-N{_NAME}|-J0-[0-9]{{1,7}}(:[0-9]+)?|-koed|-j(oe|eo|n)|-r[yn]|-S/bin/(ba)?sh"
        rf"|-[APlmMp][^\x00-\x1f\x7f-]{_TEXT}|-W(group_list|umask|sandbox)={_WORD}"
        r"|-q[^@\x00-\x1f\x7f-][^@\x00-\x1f\x7f]{0,255}"  # after an @ would stand another server
    ),
    "qdel": re.compile(r"[0-9]{1,12}(\[([0-9][0-9,-]*)?\])?(\.[A-Za-z0-9._-]{1,255})?"),
}


def allows(command: str, argument: str) -> bool:
    """Does the launcher pass this argument to this batch command?"""
    return ARGUMENTS[command].fullmatch(argument) is not None


#: Options that the gateway decides: it reads the answer by them, finds jobs by them, and ends them.
_DECIDED = {
    "sbatch": re.compile(
        r"(--(parsable|job-name|array|export|open-mode|clusters|(no-)?requeue)(=|\Z)|-[JaM]).*", re.DOTALL
    ),
    "qsub": re.compile(r"(-[fNJkjr]|-Wsandbox=).*", re.DOTALL),
}


def decides(command: str, argument: str) -> bool:
    """Is this an option that the gateway decides, so that a site must not add it? The last one would win."""
    return _DECIDED[command].match(argument) is not None


def directive(script: str) -> str:
    """The line where a script could hold arguments for the batch system; empty if it cannot hold any.

    Batch systems and their plugins read arguments from comments before the first command, each with marks of its own.
    So there must be no such comment at all: the first line that is not empty, after the shebang, has to be a command.
    It counts as one only if all batch systems see one: OpenPBS does not where a colon stands first. A long shebang is
    none either, since a long line may be read in pieces.
    """
    first, _, rest = script.partition("\n")
    if first.startswith("#!") and len(first) > LONGEST_SHEBANG:
        return first
    lines = rest.split("\n") if first.startswith("#!") else [first, *rest.split("\n")]
    line = next((line for line in lines if line.strip()), "")
    return line if line.strip()[:1] in ("#", ":") else ""
