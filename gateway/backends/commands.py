"""Commands: which program a configured one means, and what one that has ended answered (pure).

The scripts `dask-scheduler` and `dask-worker` are gone since distributed
2026.6; `dask scheduler` and `dask worker` took their place. Configurations
written for the old names keep working: an old name that cannot be found falls
back to the new one beside it.
"""

from collections.abc import Callable, Mapping

from attrs import frozen

from gateway.user_text import one_line

#: Old script → the words that replace it.
FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "dask-scheduler": ("dask", "scheduler"),
    "dask-worker": ("dask", "worker"),
}


def with_fallback(command: tuple[str, ...], which: Callable[[str], str | None]) -> tuple[str, ...]:
    """The command to run: `command`, unless it starts with an old script that is not there.

    `which` says where a program is on the job's path, None when it is not
    (`shutil.which` with that path). A script given with its folder falls
    back to `dask` in the same folder.
    """
    folder, slash, name = command[0].rpartition("/")
    if name not in FALLBACKS or which(command[0]) is not None:
        return command
    program, *words = FALLBACKS[name]
    return (folder + slash + program, *words, *command[1:])


@frozen
class Answer:
    """How a command ended. Its text is decoded, bytes that are none are replaced."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def words(self) -> str:
        """What the command had to say about a failure, on one line, for users and logs."""
        return one_line(self.stderr) or one_line(self.stdout) or f"exit code {self.returncode}"
