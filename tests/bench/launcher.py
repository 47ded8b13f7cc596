"""How long the launcher takes to answer: bare, through sudo, and through its daemon (as root).

    python -m tests.bench.launcher

The batch command is left out: the request is refused, which takes as long.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.support.launcher_daemon import open_daemon
from tests.support.users import ensure_dask, ensure_users

LAUNCHER = str(Path(sys.executable).parent / "dask-gateway-jobqueue-launcher")
WAYS = {
    "python -I -S -c ''": [sys.executable, "-I", "-S", "-c", ""],
    "launcher": [LAUNCHER],
    "sudo launcher": ["sudo", "-nH", LAUNCHER],
}


def run(argv: list[str]) -> object:
    return subprocess.run(argv, input=b"{}", capture_output=True, check=False)


def main() -> None:
    with ExitStack() as stack:
        asks: dict[str, Callable[[], object]] = {name: partial(run, argv) for name, argv in WAYS.items()}
        if os.geteuid() == 0:
            ensure_dask()
            ensure_users()
            daemon = stack.enter_context(open_daemon("gateway = dask\ngroups = dask_users"))
            asks["daemon"] = partial(daemon.ask, "alice")
        for name, ask in asks.items():
            times = []
            for _ in range(30):
                start = time.perf_counter()
                ask()
                times.append(1000 * (time.perf_counter() - start))
            print(f"{name:<20} median {statistics.median(times):5.1f} ms, best {min(times):5.1f} ms")


if __name__ == "__main__":
    main()
