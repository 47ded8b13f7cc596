#!/usr/bin/env bash
# `make test-pythons`: the unit tests and the demo on every Python that setup.cfg names, as far as it is found.
#
#   tests/packaging/pythons.sh [INTERPRETER...]    these, instead of python3.11, python3.12, ... on the PATH or of pyenv
#
# Each has a virtual environment of its own in build/pythons. What needs other users, servers or batch systems is
# left to `make test`: an interpreter may be below a home that others cannot read. LOWEST=1 installs the lowest
# versions of what the gateway needs instead of the newest.
set -uo pipefail
cd "$(dirname "$0")/../.."

units=(tests -p no:cacheprovider -m "not root and not slurm and not systemd and not soak")
for folder in attacks contract e2e packaging pbs slurm; do units+=("--ignore=tests/$folder"); done

# A name on the PATH may be a shim of pyenv's that leads nowhere, so each is tried.
found() {
    local python
    for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*"/bin/python$1"; do
        "$python" -c '' 2>/dev/null && { command -v "$python"; return; }
    done
    return 1
}

declare -A results
try_on() {
    local python=$1 version=$2 venv=build/pythons/$2${LOWEST:+-lowest}
    local pip=("$venv/bin/python" -m pip --quiet --disable-pip-version-check)
    echo "==> Python $version${LOWEST:+, lowest versions}: installing into $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv" && "${pip[@]}" install --upgrade pip 'setuptools>=77' || return
    "$venv/bin/python" -m tests.packaging.lowest >"$venv/lowest.txt" || return
    "${pip[@]}" install ${LOWEST:+--constraint "$venv/lowest.txt"} --editable '.[test]' || return
    "$venv/bin/dask-gateway-server" demo || return
    "$venv/bin/python" -m pytest --quiet "${units[@]}" ${ARGS:-}
}

pythons=("$@")
if [ ${#pythons[@]} = 0 ]; then
    for version in $(sed -n 's/^ *Programming Language :: Python :: \(3\.[0-9]*\)$/\1/p' setup.cfg); do
        if python=$(found "$version"); then pythons+=("$python"); else results[$version]=missing; fi
    done
fi
code=0
for python in "${pythons[@]}"; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 2
    if try_on "$python" "$version"; then results[$version]=passed; else results[$version]=FAILED code=1; fi
done
for version in $(printf '%s\n' "${!results[@]}" | sort -V); do echo "==> Python $version: ${results[$version]}"; done
[[ " ${results[*]} " == *" passed "* ]] && exit $code
exit 1
