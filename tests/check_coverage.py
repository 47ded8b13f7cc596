"""Fail when too little is covered: 100 % of the branches of pure modules, 90 % of the whole.

`python -m tests.check_coverage` after `coverage run -m pytest`; the table of
modules in test_import_graph.py says which are pure.
"""

import subprocess
import sys
from pathlib import Path

from tests.test_import_graph import PLACE, PURE

WHOLE = 90


def pure_files() -> list[str]:
    """The files of the two lowest layers: no I/O, so nothing that a test could not reach."""
    names = [name.replace(".", "/") for name, layer in sorted(PLACE.items()) if layer <= PURE]
    return [f"{name}/__init__.py" if Path(name).is_dir() else f"{name}.py" for name in names]


def main() -> int:
    """Combine what all processes have recorded, and judge it; returns the exit code."""
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "combine", "--quiet"], check=True)
    pure = ",".join(pure_files())
    print("==> coverage of the pure modules", flush=True)
    strict = subprocess.run([*coverage, "report", f"--include={pure}", "--fail-under=100"], check=False)
    print("==> coverage of the whole", flush=True)
    whole = subprocess.run([*coverage, "report", f"--fail-under={WHOLE}"], check=False)
    return strict.returncode or whole.returncode


if __name__ == "__main__":
    sys.exit(main())
