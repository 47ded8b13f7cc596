"""Job ids of PBS: `4711.pbs`, an array `4711[].pbs`, its elements `4711[3].pbs` (pure).

Ids always carry the server's name, however long; commands that print it whole
(qsub, qselect, JSON) are the only ones read. Indices of our arrays begin at 0.
"""

import re
from collections.abc import Collection, Iterator

from gateway.models import JobId

#: A server's name is no number: `123.45` is a balance.
_ID = re.compile(r"(\d{1,12})(\[\d{0,9}\])?\.((?![0-9.]+\Z)[A-Za-z0-9][A-Za-z0-9._-]{0,254})", re.ASCII)


def is_id(text: str) -> bool:
    """Is this the id of a job, an array or an element?"""
    return _ID.fullmatch(text) is not None


def submitted_id(stdout: str) -> str:
    """The id in what qsub printed: the one line that is nothing but an id. Raises ValueError.

    Sites' hooks and wrappers print banners, balances and ids of other jobs beside it. Of two lines that could be the id
    neither is believed.
    """
    lines = [line for line in map(str.strip, stdout.splitlines()) if line]
    found = {line for line in lines if is_id(line)}
    if len(found) != 1:
        many = "more than one line that could be a job id" if found else "no id"
        raise ValueError(f"PBS gave {many}: {' | '.join(lines)!r:.300}")
    return found.pop()


def ids_of(base: str, count: int) -> tuple[JobId, ...]:
    """The ids of a submission that qsub called `base`: the job itself, or the elements of the array.

    Raises ValueError when `base` is not what a submission of `count` jobs gets.
    """
    match = _ID.fullmatch(base)
    if match is None or match[2] != ("[]" if count > 1 else None):
        raise ValueError(f"PBS gave no id of {'an array' if count > 1 else 'a job'} but {base!r:.200}")
    if count == 1:
        return (JobId(base),)
    return tuple(JobId(f"{match[1]}[{index}].{match[3]}") for index in range(count))


def array_of(job: str) -> JobId | None:
    """The array that this is an element of; None for others."""
    match = _ID.fullmatch(job)
    if match is None or match[2] in (None, "[]"):
        return None
    return JobId(f"{match[1]}[].{match[3]}")


def index_of(element: str) -> int:
    """The index of an element."""
    return int(element[element.index("[") + 1 : element.index("]")])


def by_array(jobs: Collection[JobId]) -> tuple[list[JobId], dict[JobId, list[JobId]]]:
    """The plain jobs, and the elements of each array."""
    plain: list[JobId] = []
    arrays: dict[JobId, list[JobId]] = {}
    for job in sorted(jobs):
        array = array_of(job)
        (plain if array is None else arrays.setdefault(array, [])).append(job)
    return plain, arrays


def ranges(array: JobId, elements: Collection[JobId]) -> Iterator[str]:
    """Neighbouring elements as one word each: `4711[3-5].pbs`, `4711[9].pbs`."""
    runs: list[list[int]] = []
    for index in sorted(map(index_of, elements)):
        if runs and index <= runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    for first, last in runs:
        yield array.replace("[]", f"[{first}]" if first == last else f"[{first}-{last}]")
