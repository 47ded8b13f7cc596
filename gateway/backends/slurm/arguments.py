"""How options of sbatch are written: short and long forms, values, and kinds (pure).

Facts from sbatch(1): a long option's value follows `=` or is the next word, a
short one's is attached or the next word; of two the last one counts.
"""

from collections.abc import Iterator, Sequence

from gateway.backends.batch.submit_options import Grammar
from gateway.backends.slurm.launcher_rules import RULES

#: Short options and the long ones that they stand for.
_LETTERS = """
A=account a=array B=extra-node-info b=begin C=constraint c=cpus-per-task D=chdir d=dependency e=error F=nodefile
G=gpus H=hold i=input J=job-name k=no-kill L=licenses M=clusters m=distribution N=nodes n=ntasks O=overcommit o=output
p=partition Q=quiet q=qos S=core-spec s=oversubscribe t=time V=version v=verbose W=wait w=nodelist x=exclude
"""
_SHORT = dict(pair.split("=") for pair in _LETTERS.split())

#: Long options that take no value, or only one behind `=`.
_FLAGS = """
contiguous exclusive get-user-env hold ignore-pbs nice no-kill no-requeue overcommit oversubscribe parsable propagate
quiet reboot requeue spread-job test-only use-min-nodes verbose version wait
"""
_WITHOUT_VALUE = frozenset(_FLAGS.split())

_SAME = {"share": "oversubscribe", "cluster": "clusters", "tasks": "ntasks", "workdir": "chdir"}

#: Of each line, one at a time.
_EXCLUSIVE = (
    ("mem", "mem-per-cpu", "mem-per-gpu"),
    ("cpus-per-task", "cpus-per-gpu"),
    ("exclusive", "oversubscribe"),
    ("core-spec", "thread-spec"),
    ("spread-job", "use-min-nodes"),
)


def _split(words: Sequence[str]) -> Iterator[str]:
    """Each option as one word in its long form. Raises ValueError for a word that is none."""
    waiting = list(reversed(words))
    while waiting:
        word = waiting.pop()
        if word.startswith("--") and word[2:].partition("=")[0]:
            yield _long_form(word, waiting)
        elif len(word) > 1 and word[0] == "-" and word[1] in _SHORT:
            yield _short_form(word, waiting)
        else:
            raise ValueError(f"must be options of sbatch such as --licenses=matlab ({word!r} is none)")


def _long_form(word: str, waiting: list[str]) -> str:
    """An option that begins with two dashes; its value may be the next word."""
    name, equals, value = word[2:].partition("=")
    name = _SAME.get(name, name)
    if not equals and name not in _WITHOUT_VALUE and waiting and not waiting[-1].startswith("-"):
        equals, value = "=", waiting.pop()
    return f"--{name}{equals}{value}"


def _short_form(word: str, waiting: list[str]) -> str:
    """An option of one letter; its value is attached, or the next word."""
    name, value = _SHORT[word[1]], word[2:]
    if name in _WITHOUT_VALUE:
        if value and name != "no-kill":
            waiting.append(f"-{value}")  # flags in one word, as in -Hv
        return f"--{name}"
    if not value:
        if not waiting:
            raise ValueError(f"must not end with an option without its value ({word!r})")
        value = waiting.pop()
    return f"--{name}={value.removeprefix('=').strip()}"


#: What the gateway gives by itself and a site may leave out.
_OWN = "propagate cpus-per-task mem partition qos account time gres constraint reservation nodes exclusive"


def _named(name: str) -> str:
    bare = name.strip().lstrip("-").partition("=")[0]
    return f"--{_SHORT.get(bare, _SAME.get(bare, bare))}"


GRAMMAR = Grammar(
    rules=RULES,
    mark="#SBATCH",
    split=lambda words: tuple(_split(words)),
    kind=lambda option: option.partition("=")[0],
    named=_named,
    exclusive={
        f"--{name}": frozenset(f"--{other}" for other in names if other != name)
        for names in _EXCLUSIVE
        for name in names
    },
    replaceable=frozenset(f"--{name}" for name in _OWN.split()),
    instead={
        "--requeue": "requeue = True",
        "--no-requeue": "requeue = False",
        "--export": "environment or pass_environment",
        "--clusters": "cluster",
    },
)
