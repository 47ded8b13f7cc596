"""What it means that a command of Slurm failed, and which option helps (pure).

sbatch ends with exit code 1 for everything, so its words decide. They are those
of Slurm's own table of errors (src/common/slurm_errno.c), of its reasons for
limits (src/common/job_state_reason.c), and of what it needs: munge, the
resolver, the network, a file system. The line "Batch job submission failed: ..."
is the verdict; other lines are remarks that sites' configurations and plugins
may print with each command, and count only when there is no such line.

Where in doubt whether the controller acted, the answer counts as lost: looking
for a job that is not there costs seconds, a second job costs the user's money.
"""

import re

from gateway.backends.batch.dialect import Refusal
from gateway.backends.commands import Answer

#: The controller was reached, or may have been, but what it answered was not heard.
_LOST = re.compile(
    r"Socket timed out|Zero Bytes were transmitted|Transport endpoint|Unexpected message received"
    r"|[Mm]essage (?:receive|send) failure|\((?:receive|send|shutdown) failure\)|Communication shutdown failure"
    r"|Connection reset|Broken pipe|timed out (?:reading|writing)|delayed socket error|Insane message length"
    r"|Read would block|closed all communications|closing all communications|SIGPIPE"
)
#: Nothing was submitted, for a reason that passes: Slurm itself, what signs and carries its messages, or the machine.
_AWAY = re.compile(
    r"Unable to contact slurm controller|Connection refused|No route to host|connect(?:ion)? failure|standby mode"
    r"|slurmctld.*(?:not responding|is down)|Network is (?:unreachable|down)|Host is (?:unreachable|down)"
    r"|[Cc]onnection timed out|Connection rejected|missing socket|Can't find an address"
    r"|can.?t be reached now|problem talking to the database"  # another cluster, of --clusters
    r"|[Tt]emporarily|[Rr]ate limit|\b[Rr]etry (?:later|momentarily)|[Tt]ry again later|try a different controller"
    r"|submissions (?:are )?disabled|presently disabled|[Nn]odes (?:are )?busy|ports are in use"
    r"|[Mm]unge|[Aa]uthentication|auth_g_|credential"
    r"|Unknown host|[Nn]ame or service not known|[Nn]ame resolution|Unable to resolve|[Cc]ould not resolve"
    r"|getaddrinfo|gethostby|res_nsearch|DNS|configuration source|fetch(?:_| remote |ing )?\s?config"
    r"|Unable to process (?:configuration|slurm\.conf) file|Invalid user for SlurmUser|getpwuid|getpwnam"
    r"|[Ff]ailed to (?:look ?up|resolve)|I/O error|Input/output error|Stale (?:NFS )?file handle"
    r"|No space left|Too many open files|[Cc]annot allocate memory|out of memory|\bfork\b|[Dd]evice or resource busy"
)
#: Limits on the number of jobs that a user, an account, a QOS or the whole system may have in the queue, or on arrays.
_FULL = re.compile(
    r"\w*Submit(?:Job)?s?(?:Per(?:User|Account))?(?:Limit|\b)|MaxSubmitJobs|MaxJobCount|MaxArraySize"
    r"|job queue (?:is )?full|Invalid job array specification"
    r"|(?i:job arrays?\b.*\b(?:not (?:allowed|permitted|supported|enabled)|disabled|too (?:large|big|many)))"
    r"|(?i:too many (?:queued |pending |submitted )?jobs|(?:job )?submi(?:t|ssion) limit (?:reached|exceeded))"
)
#: One sentence for all limits, of number and of size. Which one it was may stand in a line of its own.
_POLICY = re.compile(r"Job violates accounting/QOS policy")
_NAMED_LIMIT = re.compile(r"\b(?:QOS|Assoc|Max|Grp|Group)[A-Za-z]*(?:Limit|Per(?:User|Account|Job|Node))[A-Za-z]*\b")
_VERDICT = re.compile(r"(?:[Bb]atch job submission failed|[Aa]llocation failure|Unable to allocate resources): (.*)")

#: What the words of a refusal have to do with our options.
_ADVICE = (
    (r"partition", "partition"),
    (r"\baccount\b(?!ing)|account/partition", "account"),
    (r"\bqos\b", "qos"),
    (r"time limit|Limit.*Wall|WallDuration|time-min|deadline", "time, scheduler_time or worker_time"),
    (r"--mem|[Mm]emory|MemPer|Mem(?:Limit|\b)", "worker_memory or scheduler_memory, directives_skip = ['--mem'], or"
     " extra_args such as ['--mem-per-cpu=4G']"),
    (r"node configuration|[Cc][Pp][Uu]|[Pp]rocessors|TRES|Task count", "worker_cores, scheduler_cores, worker_memory or"
     " scheduler_memory"),
    (r"feature|constraint", "constraint"),
    (r"gres|GRES|[Gg]eneric resource", "gres"),
    (r"[Rr]eservation", "reservation"),
    (r"[Nn]ode count|nodes", "nodes"),
    (r"wckey|[Ll]icense|dependency|MCS|mcs", "extra_args"),
    (r"shared librar(?:y|ies)|SLURM_CONF|slurm\.conf", "the environment of batch commands (the launcher's settings)"),
)  # fmt: skip


def classify(answer: Answer) -> Refusal:
    """What it means that this command ended with an exit code other than 0."""
    if answer.returncode < 0 or 128 < answer.returncode <= 192:  # killed by a signal, or a shell says that it was
        return Refusal.LOST
    text = answer.stderr if answer.stderr.strip() else answer.stdout
    verdicts = _VERDICT.findall(text)
    verdict = verdicts[-1] if verdicts else text
    if _LOST.search(verdict):
        return Refusal.LOST
    if _POLICY.search(verdict):
        named = _NAMED_LIMIT.findall(text)
        return Refusal.FULL if not named or _FULL.search(" ".join(named)) else Refusal.REFUSED
    if _FULL.search(verdict):
        return Refusal.FULL
    if _AWAY.search(verdict):
        return Refusal.AWAY
    return Refusal.REFUSED


def advice(answer: Answer) -> str:
    """The options of the cluster's configuration that the refusal is about; empty when none is known to be."""
    text = answer.stderr if answer.stderr.strip() else answer.stdout
    verdicts = _VERDICT.findall(text)
    for words in (*verdicts[-1:], text):
        for pattern, options in _ADVICE:
            if re.search(pattern, words):
                return f"What helps may be {options}."
    return ""
