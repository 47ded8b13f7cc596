"""What the launcher passes on to sbatch and scancel (pure; standard library only).

Left out are options that name files (output, error, input, chdir, bbf,
export-file), users (uid, gid, get-user-env), other scripts (wrap), and those that
change what the answer means (wait, test-only).
"""

from gateway.backends.launcher.rules import JOB_NAME, TEXT, Rules

_CLUSTERS = r"--clusters=[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}"  # one, so that one id is the answer

_RESOURCES = """
account acctg-freq begin comment constraint contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task
deadline delay-boot dependency distribution exclusive extra-node-info gpu-bind gpu-freq gpus gpus-per-node
gpus-per-socket gpus-per-task gres gres-flags hint licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
mem-per-gpu mincpus network nice no-kill nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node
ntasks-per-socket overcommit oversubscribe partition power prefer priority profile propagate qos reboot reservation
signal sockets-per-node spread-job switches thread-spec threads-per-core time time-min tmp use-min-nodes wckey
"""

RULES = Rules(
    "slurm",
    submit="sbatch",
    cancel="scancel",
    submit_argument=rf"--parsable|--job-name={JOB_NAME}|--array=0-[0-9]{{1,7}}|--export=(ALL|NONE)|--open-mode=append"
    rf"|--(no-)?requeue|{_CLUSTERS}|--({'|'.join(_RESOURCES.split())})(={TEXT})?"
    r"|--(nodelist|exclude)=[^/\x00-\x1f\x7f]{1,4000}",  # with a slash it would be a file that holds the names
    cancel_argument=rf"{_CLUSTERS}|[0-9]{{1,10}}(_([0-9]{{1,10}}|\[[0-9][0-9,-]*\]))?",
    decided=r"--(parsable|job-name|array|export|open-mode|clusters|(no-)?requeue)(=|\Z)|-[JaM]",
    log_option="--output=",
    array_mark="%a",
    doubled="%",
    folders=("/opt/slurm/bin", "/usr/local/slurm/bin"),
)
