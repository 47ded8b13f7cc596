"""Job ids of Slurm: `4711`, an array's element `4711_3`, and on another cluster `4711;smp` or `4711_3;smp` (pure).

The form is Slurm's own: `sbatch --parsable` prints the id, and behind a
semicolon the name of the cluster when one was asked for. Numbers of different
clusters may be the same, so the name is a part of the id wherever it is given.
"""

import re
from collections.abc import Collection, Iterator

from attrs import frozen

from gateway.models import JobId

#: The name of a cluster, as it may stand on a command line.
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)

_ID = re.compile(rf"([0-9]{{1,10}})(?:_([0-9]{{1,10}}))?(?:;({CLUSTER_NAME.pattern}))?", re.ASCII)


@frozen
class SlurmId:
    """The parts of an id. `index` is None for a plain job or a whole array; `cluster` is empty for the default one."""

    base: int
    index: int | None = None
    cluster: str = ""

    @property
    def bare(self) -> str:
        """The id as commands take it that were told the cluster by an option."""
        return f"{self.base}" if self.index is None else f"{self.base}_{self.index}"

    @property
    def text(self) -> JobId:
        """The id as we keep it."""
        return JobId(f"{self.bare};{self.cluster}" if self.cluster else self.bare)


def parse_id(text: str) -> SlurmId:
    """The parts of `text`. Raises ValueError for anything that is not an id and nothing else."""
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r:.100} is no job id of Slurm")
    base, index, cluster = match.groups()
    return SlurmId(int(base), None if index is None else int(index), cluster or "")


def submitted_id(stdout: str) -> SlurmId:
    """The id in what sbatch printed: the one line that is nothing but an id. Raises ValueError.

    Sites' wrappers and plugins print banners, balances and numbers of other jobs beside it. Of two lines that could
    be the id neither is believed.
    """
    lines = [line for line in map(str.strip, stdout.splitlines()) if line]
    found = {line for line in lines if _ID.fullmatch(line) and "_" not in line.partition(";")[0]}
    if len(found) != 1:
        many = "more than one line that could be a job id" if found else "no line that is a job id"
        raise ValueError(f"sbatch printed {many}: {' | '.join(lines)!r:.300}")
    return parse_id(found.pop())


def ids_of(base: SlurmId, count: int) -> tuple[JobId, ...]:
    """The ids of a submission: the plain id of one job, or the elements of the array."""
    if count == 1:
        return (base.text,)
    return tuple(SlurmId(base.base, index, base.cluster).text for index in range(count))


def array_of(job: JobId) -> JobId | None:
    """The array that this is an element of; None for others."""
    parts = parse_id(job)
    return None if parts.index is None else SlurmId(parts.base, None, parts.cluster).text


def ranges(indices: Collection[int]) -> str:
    """Numbers as Slurm writes them: 0-3,7,9-10."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(f"{first}" if first == last else f"{first}-{last}" for first, last in runs)


def parse_ranges(text: str) -> Iterator[range]:
    """The numbers in `0-3,7,9-13:2%4` as ranges; what does not read so is left out."""
    for part in text.partition("%")[0].split(","):
        if match := re.fullmatch(r"(\d{1,10})(?:-(\d{1,10})(?::(\d{1,10}))?)?", part, re.ASCII):
            first = int(match[1])
            yield range(first, int(match[2] or first) + 1, int(match[3] or 1) or 1)
