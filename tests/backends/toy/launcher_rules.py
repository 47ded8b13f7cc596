"""What the launcher passes on to toysub and toydel."""

from gateway.backends.launcher.rules import JOB_NAME, TEXT, Rules

RULES = Rules(
    __file__,
    submit="toysub",
    cancel="toydel",
    submit_argument=rf"--name={JOB_NAME}|--count=[0-9]{{1,4}}|--queue={TEXT}|--time={TEXT}",
    cancel_argument=r"[0-9]{1,8}(\.[0-9]{1,4})?",
    decided=r"--(name|count)(=|\Z)",
    log_option="--log=",
    array_mark="%i",
)
