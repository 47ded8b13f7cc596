#!/usr/bin/python3 -I
"""The batch system: toysub, toydel and toystat are copies of this file in a folder beside `spool`.

A job is a folder in the spool that belongs to its user; each of its elements
is a process of that user, and a file says how it ended.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SPOOL = HERE.parent / "spool"
MOST = 100


def toysub(arguments):
    options = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    queue, count = options.get("queue", "all"), int(options.get("count", "1"))
    if queue != "all":
        sys.exit(f"toysub: there is no queue {queue}")
    if count > MOST:
        sys.exit(f"toysub: {count} elements are more than {MOST}")
    script = sys.stdin.read()
    number = 1
    while True:
        try:
            (SPOOL / str(number)).mkdir()
            break
        except FileExistsError:
            number += 1
    job = SPOOL / str(number)
    (job / "script").write_text(script)
    (job / "script").chmod(0o700)
    for index in range(count):
        if os.fork() == 0:
            os.setsid()
            log = os.open(options["log"].replace("%i", str(index)), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for descriptor, file in ((0, os.open("/dev/null", os.O_RDONLY)), (1, log), (2, log)):
                os.dup2(file, descriptor)
            look_after(job, index)
    (job / "name").write_text(f"{options['name']} {count}")
    print(number)


def look_after(job, index):
    """Run an element to its end, together with what it leaves behind."""
    (job / f"{index}.pid").write_text(str(os.getpid()))
    code = subprocess.call([job / "script"], env={**os.environ, "TOY_JOB": job.name, "TOY_INDEX": str(index)})
    end(job, index, f"signal {-code}" if code < 0 else f"exit {code}")
    os.killpg(0, signal.SIGKILL)


def end(job, index, how):
    try:
        with open(job / f"{index}.end", "x") as file:
            file.write(how)
    except FileExistsError:
        pass


def toydel(arguments):
    for argument in arguments:
        number, _, index = argument.partition(".")
        job = SPOOL / number
        for pid in job.glob(f"{index or '*'}.pid"):
            end(job, pid.stem, "deleted")
            try:
                os.killpg(int(pid.read_text()), signal.SIGKILL)
            except ProcessLookupError:
                continue


def toystat(arguments):
    """`--limits`, or the elements of the jobs named (of all, if none is): id, user, name, state, how it ended."""
    if arguments == ["--limits"]:
        print(f"elements {MOST}")
        return
    wanted = {argument.partition(".")[0] for argument in arguments}
    for job in sorted(SPOOL.iterdir()):
        if not (job / "name").exists() or (wanted and job.name not in wanted):
            continue
        name, count = (job / "name").read_text().split()
        for index in range(int(count)):
            done, begun = job / f"{index}.end", job / f"{index}.pid"
            state = "ended" if done.exists() else "running" if begun.exists() else "waiting"
            how = done.read_text() if done.exists() else ""
            print(f"{job.name}.{index}|{job.owner()}|{name}|{state}|{how}")


if __name__ == "__main__":
    {"toysub": toysub, "toydel": toydel, "toystat": toystat}[os.path.basename(sys.argv[0])](sys.argv[1:])
