"""Trees of folders that jobs could leave, and programs that deal with them as an ordinary user."""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import gateway


def make_chain(top, depth, *, mode=0o755):
    """Folders in folders, as deep as that: much longer than any path may be. The innermost holds a file."""
    descriptors = [os.open(top, os.O_RDONLY | os.O_DIRECTORY)]
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptors[-1])
        descriptors.append(os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=descriptors[-1]))
        if mode == 0o755:
            os.close(descriptors.pop(0))
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=descriptors[-1]))
    for descriptor in reversed(descriptors):
        if mode != 0o755 and descriptor != descriptors[0]:
            os.fchmod(descriptor, mode)
        os.close(descriptor)


def run_as_nobody(program, *, prepare=""):
    """What a program prints that runs as an ordinary user in a folder `top` of its own; `prepare` runs as root."""
    # Where that user can read it, whoever owns this checkout.
    place = Path(tempfile.mkdtemp(prefix="trees-", dir="/var/tmp"))
    try:
        place.chmod(0o755)
        shutil.copytree(Path(gateway.__file__).parent, place / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(__file__, place / "trees.py")
        top = place / "top"
        top.mkdir()
        top.chmod(0o777)
        exec(prepare, {"top": top})
        os.chown(top, 65534, 65534)
        head = f"import os, time; from pathlib import Path; top = Path({str(top)!r})\n"
        head += "from trees import make_chain; from gateway.backends.removal import empty\n"
        done = subprocess.run(
            (sys.executable, "-B", "-c", head + textwrap.dedent(program)),
            check=False,
            capture_output=True,
            text=True,
            cwd=place,
            user=65534,
            group=65534,
            extra_groups=(),
            env={"PYTHONPATH": str(place)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()
    finally:
        shutil.rmtree(place)
