"""What the launcher passes on to a batch system's commands: names, variables, arguments on an allow-list (pure).

Every argument is one token: `--time=10`, `-lselect=1`. What says which
resources a job needs is allowed; what names files, users or other scripts is
not, since the launcher decides those itself. The dialects and the config
classes ask the same rules, so that a bad option of the site's configuration is
found when the gateway starts and not with the first job.

Each batch system has its rules in its own folder, in `launcher_rules.py`; what
holds for all of them is here. Standard library only, for the launcher.

A script can hold arguments as well, in comments before its first command: so a
script that has any comment there is not passed on.
"""

import re
from collections.abc import Sequence

#: Where batch commands are looked for, by the launcher as by the gateway's own questions; `Rules.folders` come after.
PATH = "/usr/local/bin:/usr/bin:/bin"

#: A cluster's directory has the cluster's name.
CLUSTER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: A log that may be read.
LOG = re.compile(r"[a-z0-9][a-z0-9-]{0,80}\.log")
#: Variables that may be in the batch command's environment. Others could change the command itself (SBATCH_*, LD_*).
VARIABLE = re.compile(r"DASK_[A-Z0-9_]{1,100}")

#: What sudo, Slurm and PBS take for a name: no leading dash (an option), no # (sudo's prefix of a number).
USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,255}\$?")

#: Characters of a shebang; Linux reads 255 of them.
LONGEST_SHEBANG = 255

#: For patterns of arguments: a value on one line, and the names of our jobs.
TEXT = r"[^\x00-\x1f\x7f]{0,4000}"
JOB_NAME = r"dask-gateway-[a-z0-9-]{1,90}"


class Rules:
    """What the launcher passes on to the two commands of a batch system."""

    def __init__(
        self,
        name: str,
        *,
        submit: str,
        cancel: str,
        submit_argument: str,
        cancel_argument: str,
        decided: str,
        log_option: str,
        array_mark: str,
        doubled: str = "",
        folders: Sequence[str] = (),
    ) -> None:
        """`name` is the folder of a batch system that comes with the gateway; of any other it is `__file__`.

        `submit` and `cancel` are the commands' base names, each argument of theirs has to match the whole of a
        pattern. `decided` matches the beginning of options that the gateway decides: it reads the answer by them,
        finds jobs by them, and ends them. `log_option` stands right before the path of a log, in which `array_mark`
        is where the batch system puts the index within an array, and the character `doubled` is written twice. The
        commands may be in `folders`.
        """
        self.name = name
        self.submit = submit
        self.cancel = cancel
        self.path = ":".join((PATH, *folders))
        #: A log that may be written.
        self.log = re.compile(rf"[a-z0-9][a-z0-9-]{{0,80}}({re.escape(array_mark)})?\.log")
        self._arguments = {submit: re.compile(submit_argument), cancel: re.compile(cancel_argument)}
        self._decided = re.compile(decided)
        self._log_option = log_option
        self._doubled = doubled

    def allows(self, command: str, argument: str) -> bool:
        """Does the launcher pass this argument to this command?"""
        return self._arguments[command].fullmatch(argument) is not None

    def decides(self, option: str) -> bool:
        """Is this an option that the gateway decides, so that a site must not add it? The last one would win."""
        return self._decided.match(option) is not None

    def log_argument(self, directory: str, log: str) -> str:
        """The argument of the submit command that says where the log goes."""
        shown = directory.replace(self._doubled, 2 * self._doubled) if self._doubled else directory
        return f"{self._log_option}{shown}/{log}"


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
