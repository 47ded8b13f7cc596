"""What a cluster's machine decides (values). Whoever performs an action answers it with an event of the machine."""

from math import inf

from attrs import define, frozen

from gateway.clusters.records import Write
from gateway.clusters.rows import Row
from gateway.clusters.silence import Silence
from gateway.models import SubmissionRecord


@define(eq=False)
class Submit:
    """Submit these jobs; or, if `look` is set, look for them under their name, since an answer may have been lost.

    Answered by `submitted` or `failed` of the submitter.
    It is due at the time `at`, then under way, and then late `at` another time. It is `adopted` when its intent was
    found at a restart.
    """

    intent: SubmissionRecord
    look: bool = False
    adopted: bool = False
    at: float = -inf
    under_way: bool = False


@frozen(eq=False)
class Cancel:
    """Cancel the jobs of these rows, which are called `what` at the beginning of a sentence.

    Answered by `cancelled`.
    """

    rows: tuple[Row, ...]
    what: str


@frozen(kw_only=True)
class Questions:
    """What has to be asked because of a scheduler's silence."""

    poll: bool = False
    """Have the batch system asked about our jobs at once."""
    settle: bool = False
    """Decide anew when the question to the batch system that is open has been answered."""
    ask: Silence | None = None
    """Ask the silent scheduler itself whether it is there. Answered by `asked`."""


@frozen(kw_only=True)
class Actions:
    """What to do now, and when to ask again if nothing happens before.

    Nothing stands beside `record`: it has to be durable before anything else may be done or shown.
    """

    record: Write | None = None
    """Write this to the store. Answered by `records.written`."""
    submit: Submit | None = None
    cancel: tuple[Cancel, ...] = ()
    explain: tuple[Row, ...] = ()
    """Ask the batch system why these jobs have ended, or do not report. Answered by `explained`."""
    questions: Questions = Questions()
    clean: bool = False
    """Remove what the cluster's jobs have left behind. Answered by `cleaned`."""
    route: tuple[str, str] | None = None
    """Lead users to these addresses of the scheduler and of its dashboard."""
    unroute: bool = False
    tell: tuple[str, ...] = ()
    """Sentences for the user."""
    wake_at: float = inf
