"""Fail when too little is covered: 100 % of the branches of pure modules, 90 % of the whole.

`python -m tests.check_coverage` after `coverage run -m pytest`; the list in
test_import_graph.py says which modules are pure.
"""

import subprocess
import sys

from tests.test_import_graph import PURE_MODULES

WHOLE = 90


def main() -> int:
    """Combine what all processes have recorded, and judge it; returns the exit code."""
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "combine", "--quiet"], check=True)
    pure = ",".join(f"gateway/{name.replace('.', '/')}.py" for name in sorted(PURE_MODULES))
    print("==> coverage of the pure modules", flush=True)
    strict = subprocess.run([*coverage, "report", f"--include={pure}", "--fail-under=100"], check=False)
    print("==> coverage of the whole", flush=True)
    whole = subprocess.run([*coverage, "report", f"--fail-under={WHOLE}"], check=False)
    return strict.returncode or whole.returncode


if __name__ == "__main__":
    sys.exit(main())
