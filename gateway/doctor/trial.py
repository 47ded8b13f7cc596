"""What became of a job that was submitted, judged (pure)."""

from gateway.backends.commands import Answer
from gateway.doctor.finding import Finding, failed, ok, warning

#: Seconds until the queue shows a new job, above which it is slow.
SLOW = 5.0
#: Looks after which a job that is there has been shown.
MANY = 4


def answer_verdict(check: str, command: str, answer: Answer) -> Finding:
    """Whether a submission's answer is nothing but an id."""
    noise = [line for line in answer.stdout.splitlines()[1:] if line.strip()]
    said = " ".join((*noise, *answer.stderr.split()))
    if said:
        evidence = f"{command} prints more than an id: {said}"
        return warning(check, evidence, f"see which wrapper or plugin of {command} says that, and to whom it is of use")
    return ok(check, f"{command} answers {answer.stdout.strip()}")


def name_verdict(command: str, job: str, name: str, expected: str) -> Finding:
    """Whether the id that was answered is that of our job; the name is empty when nobody knows the job."""
    check = "job's name"
    if name == expected:
        return ok(check, f"job {job} bears it: {name}")
    if not name:
        evidence = f"the batch system does not know the job {job} that {command} has answered"
        return failed(check, evidence, f"run {command} by hand, and compare what it prints with the queue")
    evidence = f"{command} has answered {job}, and that is the job {name}, not {expected}"
    return failed(check, evidence, f"{command} is a wrapper that prints something else first: let it print the id")


def freshness_verdict(seconds: float | None, waited: float, looks: int, *, has_run: bool) -> Finding:
    """How long it took until the queue showed the job; None: it has not, in so many `looks` while we `waited`."""
    check = "queue"
    remedy = "is there a cache before the status command? c.JobQueueBackend.status_command names the real one"
    if seconds is not None and seconds > SLOW:
        return warning(check, f"a new job is shown after {seconds:.0f} s", remedy)
    if seconds is not None:
        return ok(check, f"a new job is shown after {seconds:.1f} s")
    if has_run and looks < MANY:
        return ok(check, "the job had ended before it was looked for")
    return failed(check, f"a new job is not shown within {waited:.0f} s{', and has run' if has_run else ''}", remedy)
