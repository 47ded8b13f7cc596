"""The batch system: its commands, what it says of itself, and whether the jobs of clusters could run there."""

import os
import shutil
from collections.abc import Mapping
from functools import partial

import trio

from gateway.backends.batch.dialect import Command, Dialect, StatusFailed
from gateway.backends.batch.options import JobQueueBackend
from gateway.backends.batch.poller import Queue
from gateway.backends.commands import Answer
from gateway.backends.launcher.client import own_account
from gateway.backends.launcher.commands import find_command
from gateway.backends.launcher.request import Refused
from gateway.backends.launcher.settings import SETTINGS, Settings
from gateway.backends.launcher.site_commands import site_settings
from gateway.backends.pbs.dialect import PBS
from gateway.backends.slurm.dialect import Slurm
from gateway.backends.slurm.submission import clusters_option
from gateway.config.cluster import ClusterConfig
from gateway.doctor import choices, pbs, pbs_nodes, slurm, slurm_jobs
from gateway.doctor.finding import Finding, failed, ok, skipped
from gateway.doctor.site import Say, Site, looked_at
from gateway.doctor.wishes import asked
from gateway.models import JobId, Role
from gateway.trusted_files import unsafe

#: What is said of a command that could not be run.
_NOT_RUN = -1


async def examine(site: Site, say: Say) -> None:
    """Look at the commands, then ask them."""
    backend = site.config.backend
    if not isinstance(backend, JobQueueBackend):
        say(skipped("batch system", f"{type(backend).__name__} starts jobs on this host"))
        return
    settings = await looked_at(site_settings)
    dialect = backend.dialect(settings)
    if dialect is None:
        say(skipped("batch system", f"{type(backend).__name__} does not say how it is asked (dialect())"))
        return
    await _commands(backend, dialect, settings, say)
    for path in {
        command[0] for command in (*dialect.status_commands({JobId("1"): own_account()}), dialect.limits_command())
    }:
        if why := await looked_at(_changeable, path, settings.environment.get("PATH", dialect.rules.path)):
            say(
                failed(
                    os.path.basename(path),
                    f"others could have the gateway run a program of theirs: {why}",
                    "chown root, chmod go-w",
                )
            )
    queue = Queue(dialect=dialect, command_timeout=backend.command_timeout, environment=settings.environment)
    if isinstance(dialect, Slurm):
        await _Slurm(site, backend, dialect, queue, say).examine()
    elif isinstance(dialect, PBS):
        await _examine_pbs(site, backend, dialect, queue, say)


async def _commands(backend: JobQueueBackend, dialect: Dialect, settings: Settings, say: Say) -> None:
    """The commands that the launcher runs for users: found, and such that root alone can change them."""
    for command, configured, option in (
        (dialect.rules.submit, backend.submit_command, "submit_command"),
        (dialect.rules.cancel, backend.cancel_command, "cancel_command"),
    ):
        try:
            path = await looked_at(find_command, dialect.rules, command, configured, settings)
        except Refused as refusal:
            remedy = f"c.{type(backend).__name__}.{option}; or [commands] in {SETTINGS}; chown root, chmod go-w"
            say(failed(command, str(refusal), remedy))
        else:
            say(ok(command, f"{path}, which root alone can change"))


def _changeable(program: str, path: str) -> str:
    """Why others could change a program that the gateway runs for itself; empty when they cannot, or there is none."""
    found = shutil.which(program, path=path)
    return unsafe(found, program=True, owners={0, os.geteuid()}) if found else ""


async def answer_of(queue: Queue, command: Command) -> Answer:
    """What a command answers; one that could not be run, or is late, has failed."""
    try:
        return await queue.answer(command)
    except StatusFailed as failure:
        return Answer(_NOT_RUN, "", str(failure))


class _Slurm:
    """One look at Slurm."""

    def __init__(self, site: Site, backend: JobQueueBackend, dialect: Slurm, queue: Queue, say: Say) -> None:
        self._site = site
        self._backend = backend
        self._dialect = dialect
        self._queue = queue
        self._say = say
        self._asked: dict[str, tuple[str, str]] = {}

    async def examine(self) -> None:
        """The controller, squeue, the limits, then the partitions of each role."""
        ping = await self._ask("scontrol", "ping")
        self._say(slurm.ping_verdict(ping))
        if not ping.stdout.strip() and ping.returncode == _NOT_RUN:
            return
        squeue = await self._ask("squeue", "--noheader", f"--user={own_account()}", "--format=%i")
        self._say(slurm.noise_verdict("squeue", squeue))
        settings = slurm.settings_of((await self._ask("scontrol", "show", "config")).stdout)
        has_accounting = settings.get("AccountingStorageType", "").endswith("slurmdbd")
        level = await self._rows("user", own_account(), "AdminLevel") if has_accounting else ""
        needs = slurm.Needs(
            account=own_account(),
            arrays=self._backend.worker_job_arrays,
            group=self._backend.max_workers_per_submit,
            eager_period=self._backend.eager_poll_period,
        )
        for finding in slurm.config_verdicts(settings, needs, level.strip().split("\n")[0].strip("| ")):
            self._say(finding)
        known = await self._known_names() if has_accounting else {}
        await choices.examine(self._site, partial(self._judge, known), self._say)
        if has_accounting and self._site.submit_as:
            rows = await self._rows("assoc", self._site.submit_as, "Account,MaxSubmitJobs,MaxJobs")
            self._say(slurm.association_verdict(self._site.submit_as, rows))

    async def _judge(self, known: Mapping[str, frozenset[str]], config: ClusterConfig, role: Role) -> list[Finding]:
        """Whether jobs of a role could run, with this configuration."""
        wanted = slurm_jobs.options(asked(self._dialect, config, role))
        partitions, nodes = await self._lists(wanted.get("clusters", ""))
        return [
            *slurm_jobs.job_verdicts(role, wanted, slurm_jobs.partitions_of(partitions), slurm_jobs.nodes_of(nodes)),
            *slurm_jobs.names_verdict(role, wanted, known),
        ]

    async def _lists(self, cluster: str) -> tuple[str, str]:
        """The partitions and the nodes of a cluster, asked for once."""
        if cluster not in self._asked:
            where = clusters_option(cluster)
            partitions = await self._ask("scontrol", *where, "--oneliner", "--all", "show", "partition")
            nodes = await self._ask("sinfo", *where, "--noheader", "--all", "--Node", "--format=%R|%c|%m|%T")
            self._asked[cluster] = partitions.stdout, nodes.stdout
        return self._asked[cluster]

    async def _known_names(self) -> Mapping[str, frozenset[str]]:
        answers = {name: await self._rows(name, "", "Name") for name in ("qos", "account")}
        return {name: frozenset(text.split()) for name, text in answers.items() if text.strip()}

    async def _rows(self, what: str, user: str, columns: str) -> str:
        """Rows of the accounting database; empty when it does not answer."""
        selection = (f"user={user}",) if what == "assoc" else (user,) if user else ()
        answer = await self._ask("sacctmgr", "--noheader", "--parsable2", "show", what, *selection, f"format={columns}")
        return answer.stdout if answer.returncode == 0 else ""

    async def _ask(self, program: str, *arguments: str) -> Answer:
        return await answer_of(self._queue, (self._dialect.program(program), *arguments))


async def _examine_pbs(site: Site, backend: JobQueueBackend, dialect: PBS, queue: Queue, say: Say) -> None:
    """The server, qselect, the limits, then the queues of each role and the nodes."""
    answer = await answer_of(queue, dialect.limits_command())
    if answer.returncode != 0:
        evidence = f"the server does not answer: {answer.words}"
        say(failed("PBS's server", evidence, "qstat -B, here; systemctl status pbs, on the server's host"))
        return
    server = pbs.server_of(answer.stdout)
    say(ok("PBS's server", f"it answers, and has the queues {', '.join(server.queues)}"))
    selected = await answer_of(queue, (dialect.program("qselect"), "-u", own_account()))
    say(slurm.noise_verdict("qselect", selected))
    for finding in pbs.server_verdicts(
        server,
        account=dialect.account,
        is_us=dialect.is_us,
        arrays=backend.worker_job_arrays,
        group=backend.max_workers_per_submit,
    ):
        say(finding)
    nodes = await answer_of(queue, (dialect.program("pbsnodes"), "-a", "-F", "dsv"))
    hosts = pbs_nodes.hosts_of(nodes.stdout)

    async def judge(config: ClusterConfig, role: Role) -> list[Finding]:
        await trio.lowlevel.checkpoint()
        return list(pbs.job_verdicts(role, pbs.options(asked(dialect, config, role)), server, hosts))

    await choices.examine(site, judge, say)
