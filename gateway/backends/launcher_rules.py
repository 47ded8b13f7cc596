"""What the launcher passes on to a batch command: names, variables, and one allow-list of arguments a command (pure).

Every argument is one token: `--time=10` for Slurm, `-lselect=1` for PBS. What
says which resources a job needs is allowed; what names files, users or other
scripts is not, since the launcher decides those itself. The dialects and the
config classes ask the same rules, so that a bad option of the site's
configuration is found when the gateway starts and not with the first job.

A script can hold arguments as well, in comments before its first command: there
is no list of those to allow, so a script that has any is not passed on.
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

#: How comments begin that batch systems and their burst buffers read as arguments.
_DIRECTIVE = re.compile(r"#(?:SBATCH|PBS|BSUB|BB|DW)")

_TEXT = r"[^\x00-\x1f\x7f]{0,4000}"
_NAME = r"dask-gateway-[a-z0-9-]{1,90}"

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
        rf"|--(no-)?requeue|--({'|'.join(_SBATCH.split())})(={_TEXT})?"
        r"|--(nodelist|exclude)=[^/\x00-\x1f\x7f]{1,4000}"  # with a slash it would be a file that holds the names
    ),
    "scancel": re.compile(r"[0-9]{1,10}(_([0-9]{1,10}|\[[0-9][0-9,-]*\]))?"),
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
    "sbatch": re.compile(r"(--(parsable|job-name|array|export|open-mode|(no-)?requeue)(=|\Z)|-[Ja]).*", re.DOTALL),
    "qsub": re.compile(r"(-[fNJkjr]|-Wsandbox=).*", re.DOTALL),
}


def decides(command: str, argument: str) -> bool:
    """Is this an option that the gateway decides, so that a site must not add it? The last one would win."""
    return _DECIDED[command].match(argument) is not None


def directive(script: str) -> str:
    """A line with arguments for the batch system, which reads them up to the first command; empty if there is none.

    A line counts as a command only if all batch systems see one: OpenPBS does not where a colon stands first. Within
    a comment it does not matter where the mark stands, since a long line may be read in pieces.
    """
    for line in script.split("\n"):
        if _DIRECTIVE.search(line):
            return line
        if line.strip() and line.strip()[0] not in "#:":
            break
    return ""
