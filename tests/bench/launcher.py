"""How long the launcher takes to start, bare and through sudo.

    python tests/bench/launcher.py

The batch command is left out: the request is refused, which takes as long.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

LAUNCHER = str(Path(sys.executable).parent / "dask-gateway-jobqueue-launcher")
WAYS = {
    "python -I -S -c ''": [sys.executable, "-I", "-S", "-c", ""],
    "launcher": [LAUNCHER],
    "sudo launcher": ["sudo", "-nH", LAUNCHER],
}


def main():
    for name, argv in WAYS.items():
        times = []
        for _ in range(30):
            start = time.perf_counter()
            subprocess.run(argv, input=b"{}", capture_output=True, check=False)
            times.append(1000 * (time.perf_counter() - start))
        print(f"{name:<20} median {statistics.median(times):5.1f} ms, best {min(times):5.1f} ms")


if __name__ == "__main__":
    main()
