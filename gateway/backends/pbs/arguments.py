"""How options of qsub are written: letters, values, and kinds (pure).

Facts from qsub(1B): each option is a letter whose value is attached or the next
word; `-l` and `-W` take lists, of which each name is an option of its own here.
Resources of a job stand either in a `select` or by themselves, never in both.
"""

import re
from collections.abc import Iterator, Sequence

from gateway.backends.batch.submit_options import Grammar
from gateway.backends.pbs.launcher_rules import RULES

_LETTERS = "aAcCeghIjJkKlLmMNopPqrRSuvVWXzfG"
_WITHOUT_VALUE = frozenset("fhIKVXzG")
#: Where the next name of a list begins: values may hold commas as well.
_NEXT = re.compile(r",(?=[A-Za-z][A-Za-z0-9_-]*=)")

_CHUNKS = frozenset(("-lselect", "-lplace"))
#: Resources that say what a job needs without a select; it cannot have both.
_RESOURCES = "ncpus mem vmem nodes nodect mpiprocs ompthreads ngpus arch host"
_OLD_STYLE = frozenset(f"-l{name}" for name in _RESOURCES.split())


def _kind(option: str) -> str:
    if option[:2] in ("-l", "-W"):
        return option.partition("=")[0]
    return option[:2]


def _split(words: Sequence[str]) -> Iterator[str]:
    """Each option as one word with its value attached. Raises ValueError for a word that is none."""
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        letter, value = word[1:2], word[2:]
        if word[:1] != "-" or not letter or letter not in _LETTERS:
            raise ValueError(f"must be options of qsub such as -lsoftware=1 ({word!r} is none)")
        if letter in _WITHOUT_VALUE:
            if value:
                waiting.append(f"-{value}")
            yield f"-{letter}"
            continue
        if not value:
            if not waiting:
                raise ValueError(f"must not end with an option without its value ({word!r})")
            value = waiting.pop()
        for part in _NEXT.split(value) if letter in "lW" else (value,):
            yield f"-{letter}{part.strip()}"


def _named(name: str) -> str:
    bare = "".join(name.strip().lstrip("-").partition("=")[0].split())
    return next((kind for kind in (f"-{bare}", f"-l{bare}") if kind in _REPLACEABLE), bare)


_REPLACEABLE = frozenset(("-lselect", "-lwalltime", "-lplace", "-q", "-A", "-P"))

GRAMMAR = Grammar(
    rules=RULES,
    mark="#PBS",
    split=lambda words: tuple(_split(words)),
    kind=_kind,
    named=_named,
    exclusive=dict.fromkeys(_CHUNKS, _OLD_STYLE) | dict.fromkeys(_OLD_STYLE, _CHUNKS),
    replaceable=_REPLACEABLE,
    instead={"-r": "requeue", "-Wsandbox": "use_stagein"},
)
