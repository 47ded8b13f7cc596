#!/usr/bin/env bash
# `make test-lowest`: what the server depends on in the oldest versions that setup.cfg admits, each exactly, and the
# tests of what is built on them.
#
# Test tools are the newest that go with those; extras are not held to their oldest versions. ARGS go to pytest in place of the folders.
set -euo pipefail
cd "$(dirname "$0")/.."
export PIP_DISABLE_PIP_VERSION_CHECK=1
venv=build/lowest

if [ ! "$venv/.installed" -nt setup.cfg ]; then
    rm -rf "$venv"
    "${PYTHON:-/usr/bin/python3}" -m venv "$venv"
    sed -n '/^install_requires/,/^\[options.packages/p' setup.cfg | sed -n 's/^    \([A-Za-z].*\)>=/\1==/p' >"$venv/lowest"
    "$venv/bin/python" -m pip --quiet install --upgrade pip 'setuptools>=77'
    "$venv/bin/python" -m pip --quiet install --constraint "$venv/lowest" --editable '.[postgresql,pam]' \
        hypothesis pytest pytest-timeout pytest-trio traitlets trio-websocket trustme
    touch "$venv/.installed"
fi
"$venv/bin/python" -m pytest --quiet -p no:cacheprovider -m 'not root and not slurm and not systemd and not soak' \
    --deselect tests/server/test_cli.py::test_demo ${ARGS:-tests/server tests/store tests/web}
