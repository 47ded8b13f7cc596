"""Whether jobs could run on the nodes that `pbsnodes -a -F dsv` lists (pure)."""

import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from gateway.doctor.finding import Finding, failed

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_WORD = 8  # bytes, in sizes like 4gw
#: States of nodes on which nothing starts; a node may be in several (pbs_node_attributes(7B)).
_OUT = frozenset(["down", "offline", "offline_by_mom", "stale", "state-unknown", "unresolvable", "maintenance"])


@frozen
class Host:
    """A host that runs jobs: what its vnodes have together, of which a job may take all; 0 for what is not known.

    Memory is in bytes. Vnodes on which nothing starts are left out; with no others it is not `usable`.
    """

    states: frozenset[str] = frozenset()
    usable: bool = False
    cpus: int = 0
    memory: int = 0


def hosts_of(text: str) -> tuple[Host, ...]:
    """The hosts of all vnodes, of which there is one a line."""
    found: dict[str, Host] = {}
    for line in text.splitlines():
        vnode = dict(field.partition("=")[::2] for field in line.split("|"))
        if "Name" in vnode and "state" in vnode:
            name = vnode.get("resources_available.host") or vnode["Name"]
            found[name] = _with(found.get(name, Host()), vnode)
    return tuple(found.values())


def _with(host: Host, vnode: Mapping[str, str]) -> Host:
    states = frozenset(vnode["state"].lower().split(","))
    if states & _OUT:
        return Host(host.states | states, host.usable, host.cpus, host.memory)
    cpus = vnode.get("resources_available.ncpus", "")
    return Host(
        host.states | states,
        True,
        host.cpus + (int(cpus) if cpus.isdecimal() else 0),
        host.memory + (size_in_bytes(vnode.get("resources_available.mem", "")) or 0),
    )


def size_in_bytes(size: str) -> int | None:
    """A size as PBS writes it, such as 4gb; None for what is none."""
    match = re.fullmatch(r"(\d+)([kmgtp]?)([bw]?)", size.lower())
    return int(match[1]) * _UNITS[match[2]] * (_WORD if match[3] == "w" else 1) if match else None


def host_verdicts(check: str, select: str, hosts: Sequence[Host]) -> Iterator[Finding]:
    """Whether the first chunk of a job fits on any host; where none are listed nothing is known."""
    usable = [host for host in hosts if host.usable]
    if hosts and not usable:
        states = ", ".join(sorted({state for host in hosts for state in host.states}))
        yield failed(check, f"no node can be used: {states}", "pbsnodes -l shows which; pbsnodes -r NODE")
    if usable:
        asked = dict(field.partition("=")[::2] for field in select.partition("+")[0].split(":") if "=" in field)
        yield from _memory(check, asked.get("mem", ""), usable)
        yield from _cores(check, asked.get("ncpus", ""), usable)


def _memory(check: str, wanted: str, usable: Sequence[Host]) -> Iterator[Finding]:
    size = size_in_bytes(wanted)
    if size is not None and all(0 < host.memory < size for host in usable):
        most = max(host.memory for host in usable) // 2**20
        evidence = f"it asks for mem={wanted}, and the largest node has {most}mb"
        yield failed(check, evidence, "c.ClusterConfig.worker_memory or scheduler_memory; pbsnodes -a")


def _cores(check: str, wanted: str, usable: Sequence[Host]) -> Iterator[Finding]:
    if wanted.isdecimal() and all(0 < host.cpus < int(wanted) for host in usable):
        evidence = f"it asks for {wanted} cores, and the largest node has {max(host.cpus for host in usable)}"
        yield failed(check, evidence, "c.ClusterConfig.worker_cores or scheduler_cores; pbsnodes -a")
