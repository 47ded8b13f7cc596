"""What the launcher passes on to qsub and qdel (pure; standard library only)."""

from gateway.backends.launcher.rules import JOB_NAME, TEXT, Rules

# No value of -W may hold a comma: qsub reads a further attribute after it, such as stagein.
_WORD = r"[^,\x00-\x1f\x7f]{1,255}"

RULES = Rules(
    "pbs",
    submit="qsub",
    cancel="qdel",
    submit_argument=rf"-f|-N{JOB_NAME}|-J0-[0-9]{{1,7}}(:[0-9]+)?|-koed|-j(oe|eo|n)|-r[yn]|-S/bin/(ba)?sh"
    rf"|-[APlmMp][^\x00-\x1f\x7f-]{TEXT}|-W(group_list|umask|sandbox)={_WORD}"
    r"|-q[^@\x00-\x1f\x7f-][^@\x00-\x1f\x7f]{0,255}",  # after an @ would stand another server
    cancel_argument=r"[0-9]{1,12}(\[([0-9][0-9,-]*)?\])?(\.[A-Za-z0-9._-]{1,255})?",
    decided=r"-[fNJkjr]|-Wsandbox=",
    log_option="-o",
    array_mark="^array_index^",
    folders=("/opt/pbs/bin",),
)
