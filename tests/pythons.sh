#!/usr/bin/env bash
# `make test-pythons`: the demo and the unit tests on each version of Python that setup.cfg names.
#
# An interpreter is looked for on PATH (python3.12), then among pyenv's. Each has a virtual environment of
# its own in build/pythons, made anew when setup.cfg has changed. What needs root, a batch system
# or a browser is left to `make test`: it depends on the machine, not on Python, and other users could not read
# an interpreter below somebody's home. ARGS go to pytest. The exit code is 1 if anything failed, or if no
# interpreter was found; versions that are missing are said at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONWARNINGS=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

versions=$(sed -n 's/.*Python :: \(3\.[0-9]*\)$/\1/p' setup.cfg)
elsewhere=(contract e2e slurm pbs bench)

interpreter() {
    # What pyenv puts on PATH may be there without an interpreter behind it.
    if "python$1" -c '' 2>/dev/null; then
        command -v "python$1"
        return
    fi
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python 2>/dev/null | sort -V | tail -1
}

run() { # VERSION INTERPRETER
    local venv=build/pythons/$1
    if [ ! "$venv/.installed" -nt setup.cfg ]; then
        rm -rf "$venv"
        "$2" -m venv "$venv" &&
            "$venv/bin/python" -m pip --quiet install --upgrade pip 'setuptools>=77' &&
            "$venv/bin/python" -m pip --quiet install --editable '.[test]' &&
            touch "$venv/.installed" || return
    fi
    "$venv/bin/dask-gateway-server" demo &&
        env -u PYTHONWARNINGS "$venv/bin/python" -m pytest --quiet -p no:cacheprovider \
            -m 'not root and not slurm and not systemd and not soak' "${elsewhere[@]/#/--ignore=tests/}" ${ARGS:-}
}

passed='' failed='' missing=''
for version in $versions; do
    python=$(interpreter "$version")
    if [ -z "$python" ]; then
        missing+=" $version"
        continue
    fi
    echo "==> Python $version: $python"
    if run "$version" "$python"; then passed+=" $version"; else failed+=" $version"; fi
done
echo "==> passed:${passed:- none}; failed:${failed:- none}; not found here:${missing:- none}"
[ -n "$passed" ] && [ -z "$failed" ]
