"""Whether jobs could run in the partitions and on the nodes that Slurm's commands list (pure)."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from attrs import frozen

from gateway.backends.batch.option_values import walltime_seconds
from gateway.doctor.finding import Finding, failed, ok

_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
#: States of nodes on which nothing starts.
_OUT = ("down", "draining", "drained", "failing", "fail", "unknown")
_ABOUT_MEMORY = "c.ClusterConfig.worker_memory; RealMemory in slurm.conf; or directives_skip = ['--mem']"


@frozen
class Node:
    """A node as sinfo shows it, in one partition; memory is in MiB."""

    partition: str
    cpus: int
    memory: int
    state: str


def options(arguments: Sequence[str]) -> Mapping[str, str]:
    """Option → value of arguments like `--mem=4G`."""
    parts = (argument.removeprefix("--").partition("=") for argument in arguments if argument.startswith("--"))
    return {name: value for name, _, value in parts}


def partitions_of(text: str) -> Mapping[str, Mapping[str, str]]:
    """Partition → its fields, by `scontrol --oneliner show partition`."""
    found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
    return {fields["PartitionName"]: fields for fields in found if "PartitionName" in fields}


def nodes_of(text: str) -> tuple[Node, ...]:
    """By lines `PARTITION|CPUS|MEMORY|STATE` of sinfo."""
    lines = (line.split("|") for line in text.splitlines())
    return tuple(
        Node(words[0], int(words[1]), int(words[2].rstrip("+")), words[3].rstrip("*$~#!%@+^-"))
        for words in lines
        if len(words) == 4 and words[1].isdecimal() and words[2].rstrip("+").isdecimal()
    )


def mebibytes(size: str) -> float | None:
    """What `--mem` asks for; None for what is no size."""
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", size.upper())
    return float(match[1]) * _UNITS[match[2] or "M"] if match else None


def job_verdicts(
    role: str, asked: Mapping[str, str], partitions: Mapping[str, Mapping[str, str]], nodes: Collection[Node]
) -> Iterator[Finding]:
    """Whether jobs of a role could run at all: the partitions that they ask for, their time, cores and memory."""
    check = f"{role}'s job"
    named = [name for name in asked.get("partition", "").split(",") if name]
    if unknown := [name for name in named if name not in partitions]:
        evidence = f"there is no partition {', '.join(unknown)}; there are {', '.join(partitions) or 'none'}"
        yield failed(check, evidence, f"c.SlurmClusterConfig.{role}_partition, or partition")
        return
    chosen = named or _defaults(partitions)
    if not chosen:
        yield failed(check, "it names no partition, and Slurm has no default one", "c.SlurmClusterConfig.partition")
        return
    found = [*_states(check, chosen, partitions), *_times(check, asked.get("time", ""), chosen, partitions)]
    found += _sizes(check, asked, [node for node in nodes if node.partition in chosen], ", ".join(chosen))
    yield from found or [ok(check, f"partition {', '.join(chosen)} is up and takes it ({_shown(asked)})")]


def _defaults(partitions: Mapping[str, Mapping[str, str]]) -> list[str]:
    return [name for name, fields in partitions.items() if fields.get("Default") == "YES"]


def _shown(asked: Mapping[str, str]) -> str:
    names = ("cpus-per-task", "mem", "time", "qos", "account", "gres", "constraint", "reservation")
    return " ".join(f"--{name}={asked[name]}" for name in names if name in asked) or "no resources are asked for"


def _states(check: str, chosen: Sequence[str], partitions: Mapping[str, Mapping[str, str]]) -> Iterator[Finding]:
    states = {name: partitions[name].get("State", "UP") for name in chosen}
    if any(state == "UP" for state in states.values()):
        return
    shown = ", ".join(f"{name} is {state}" for name, state in states.items())
    yield failed(
        check,
        f"partition {shown}: jobs wait for ever or are refused",
        f"scontrol update PartitionName={chosen[0]} State=UP",
    )


def _times(
    check: str, limit: str, chosen: Sequence[str], partitions: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    if not limit:
        return
    longest = [partitions[name].get("MaxTime", "UNLIMITED") for name in chosen]
    try:
        if all(most != "UNLIMITED" and walltime_seconds(limit) > walltime_seconds(most) for most in longest):
            evidence = f"it asks for {limit}, and partition {', '.join(chosen)} allows {', '.join(longest)}"
            yield failed(check, evidence, "c.SlurmClusterConfig.time, or MaxTime of the partition")
    except ValueError:  # a value of a site's own, which sbatch may know better
        return


def _sizes(check: str, asked: Mapping[str, str], nodes: Sequence[Node], where: str) -> Iterator[Finding]:
    """Cores and memory, compared with the largest node; where no nodes are listed nothing is known."""
    usable = [node for node in nodes if node.state not in _OUT]
    if usable:
        yield from _memory(check, asked.get("mem", ""), max(node.memory for node in usable), where)
        yield from _cores(check, asked.get("cpus-per-task", ""), max(node.cpus for node in usable), where)
    elif nodes:
        evidence = f"no node of partition {where} can be used: {', '.join(sorted({node.state for node in nodes}))}"
        yield failed(check, evidence, "sinfo -R shows why; scontrol update NodeName=... State=RESUME")


def _memory(check: str, wanted: str, most: int, where: str) -> Iterator[Finding]:
    size = mebibytes(wanted)
    if size is not None and size > most:
        evidence = f"it asks for --mem={wanted}, and the largest node of {where} has {most}M"
        yield failed(check, evidence, _ABOUT_MEMORY)


def _cores(check: str, wanted: str, most: int, where: str) -> Iterator[Finding]:
    if wanted.isdecimal() and int(wanted) > most:
        evidence = f"it asks for {wanted} cores, and the largest node of {where} has {most}"
        yield failed(check, evidence, "c.ClusterConfig.worker_cores, or worker_processes")


def names_verdict(role: str, asked: Mapping[str, str], known: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    """Whether what a job names is known to accounting: option → the names there are."""
    for option, names in known.items():
        wanted = asked.get(option, "")
        if wanted and wanted not in names:
            evidence = f"there is no {option} {wanted}; there are {', '.join(sorted(names)[:10]) or 'none'}"
            yield failed(f"{role}'s job", evidence, f"c.SlurmClusterConfig.{option}, or {role}_{option}")
