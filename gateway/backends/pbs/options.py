"""Options of clusters on PBS. Everything here is a value; dialect.py makes arguments of qsub from it."""

import re
import string
from typing import ClassVar

from gateway.backends.batch.options import JobQueueClusterConfig
from gateway.backends.batch.submit_options import Grammar
from gateway.backends.pbs.arguments import GRAMMAR
from gateway.config.fields import configurable, setting


def _value(text: str) -> None:
    if text.startswith("-") or any(character < " " or character == "\x7f" for character in text):
        raise ValueError("must be one line without control characters, and not begin with a dash")


def _queue(text: str) -> None:
    _value(text)
    if "@" in text:
        raise ValueError("must be a queue of the default server, without @ and a server's name")


def _resource_list(template: str) -> None:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ValueError(f"is no template: {error}") from None
    if fields - {"cores", "memory"}:
        raise ValueError("must be a template whose only fields are {cores} and {memory}")
    if not re.fullmatch(r"[A-Za-z][^\x00-\x1f\x7f]*", template):
        raise ValueError("must be a list of resources like select=1:ncpus={cores}:mem={memory}")


@configurable
class PBSClusterConfig(JobQueueClusterConfig):
    """Options of clusters on PBS (OpenPBS, PBS Pro), besides those of all batch systems."""

    grammar: ClassVar[Grammar | None] = GRAMMAR

    queue: str = setting(
        default="", help="The queue of each job, which may be a reservation's; empty: PBS's default.", validator=_queue
    )
    scheduler_queue: str = setting(
        default="", help="The queue of the scheduler's job; empty: as queue.", validator=_queue
    )
    worker_queue: str = setting(default="", help="The queue of the workers' jobs; empty: as queue.", validator=_queue)
    account: str = setting(default="", help="The accounting string of each job.", validator=_value)
    scheduler_account: str = setting(
        default="", help="The accounting string of the scheduler's job; empty: as account.", validator=_value
    )
    worker_account: str = setting(
        default="", help="The accounting string of the workers' jobs; empty: as account.", validator=_value
    )
    project: str = setting(default="", help="The project of each job.", validator=_value)
    scheduler_project: str = setting(
        default="", help="The project of the scheduler's job; empty: as project.", validator=_value
    )
    worker_project: str = setting(
        default="", help="The project of the workers' jobs; empty: as project.", validator=_value
    )
    place: str = setting(
        default="",
        help="How each job is placed on nodes, like free, pack or excl; empty: PBS's default.",
        validator=_value,
    )
    scheduler_place: str = setting(
        default="", help="How the scheduler's job is placed; empty: as place.", validator=_value
    )
    worker_place: str = setting(default="", help="How the workers' jobs are placed; empty: as place.", validator=_value)
    worker_resource_list: str = setting(
        default="select=1:ncpus={cores}:mem={memory}",
        help="""The resources of each worker's job, a template with the fields {cores} and {memory}. More can be
        asked for in it, such as :ngpus=1.""",
        validator=_resource_list,
    )
    scheduler_resource_list: str = setting(
        default="select=1:ncpus={cores}:mem={memory}",
        help="The resources of the scheduler's job, a template with the fields {cores} and {memory}.",
        validator=_resource_list,
    )
    use_stagein: bool = setting(
        default=False,
        help="""For compute nodes that do not see the cluster's directory: jobs run in a private directory on their
        node (-Wsandbox=PRIVATE), and PBS copies their logs back when they end. Nothing has to be staged in, since
        certificates and token are in the job's script. False: logs are written where they can be read at once.""",
    )
    extra_args: tuple[str, ...] = setting(
        default=(),
        help="""Further options of qsub, as on its command line: ['-lsoftware=1', '-p', '10']. They replace the
        gateway's own of the same kind: with ['-lnodes=1:ppn=4'] no -lselect is given.""",
    )
