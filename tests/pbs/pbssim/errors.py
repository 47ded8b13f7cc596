"""Refusals: what a command prints on stderr and the code it exits with.

The codes are PBS's error numbers modulo 256, as the recordings show them.
"""


class Refused(Exception):
    """The server refuses a request. `text` has `{id}` where PBS names the job."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.text = text
        self.code = code

    def about(self, job: str) -> "Refused":
        """The same refusal, naming this job."""
        return Refused(self.text.replace("{id}", job), self.code)


UNKNOWN_JOB = Refused("Unknown Job Id {id}", 153)
FINISHED = Refused("Job has finished {id}", 35)
FINISHED_STATUS = Refused("{id} Job has finished, use -x or -H to obtain historical job information", 35)
NO_HISTORY = Refused("PBS is not configured to maintain job history {id}", 0)
UNAUTHORIZED = Refused("Unauthorized Request  {id}", 159)
BAD_STATE = Refused("Request invalid for state of job {id}", 168)
FINISHED_SUBJOB = Refused("Request invalid for finished array subjob {id}", 55)
BAD_SUBJOB = Refused("Invalid request {id}", 156)
NOT_RERUNNABLE = Refused("job is not rerunnable {id}", 190)
ILLEGAL_ID = Refused("illegally formed job identifier: {id}", 1)
UNKNOWN_DESTINATION = Refused("Unknown queue destination {id}", 170)
QUEUE_DISABLED = Refused("Queue is not enabled", 173)
OVER_WALLTIME = Refused("Job violates queue and/or server resource limits", 188)
UNKNOWN_QUEUE = Refused("Unknown queue", 170)
BAD_UID = Refused("Bad UID for job execution", 175)
ARRAY_TOO_LARGE = Refused("Array job exceeds server or queue size limit", 3)


def bad_value(attribute: str) -> Refused:
    """A value that an attribute or a resource does not take."""
    return Refused(f"Illegal attribute or resource value {attribute}", 166)


def unknown_resource(name: str) -> Refused:
    """A resource that the site does not have."""
    return Refused(f"Unknown resource{name}", 187)
