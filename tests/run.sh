#!/usr/bin/env bash
# `make test`: everything that the tests need, then all of them.
#
# As an ordinary user only the virtual environment is made; tests that need
# root, a real Slurm, systemd, PostgreSQL, Chromium, Kerberos or MUNGE say so and
# are skipped, and so are those that need JupyterHub where there is no npm. As root
# on Debian or Ubuntu what is missing of those is installed with apt first;
# SLURM=0 declines Slurm, and the machine with a systemd that tests boot. Jobs
# then run as other users, who must be able to read this checkout: one in a
# private folder is tested in a public copy. What is written for Node is
# installed into .node with npm, where there is one; Debian's Prometheus is
# unpacked into .prometheus, since installed it would be a service.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${PYTHON:=python3}" "${VENV:=.venv}" "${MAKE:=make}"

say() { echo "==> $*"; }

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    need=()
    want() { command -v "$1" >/dev/null || need+=("$2"); }
    want sudo sudo
    want ip iproute2
    want chromium chromium
    want chromedriver chromium-driver
    # Kerberos: servers and programs for the tests, and what the Python packages are built with.
    want krb5kdc krb5-kdc
    want kadmin.local krb5-admin-server
    want kinit krb5-user
    want krb5-config libkrb5-dev
    want gcc gcc
    want curl curl
    want faketime faketime
    headers=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -e "$headers/Python.h" ] || need+=(python3-dev)
    want munged munge
    want node nodejs
    want npm npm
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || need+=(postgresql)
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || need+=(python3-venv)
    if [ "${SLURM:-1}" != 0 ]; then
        want slurmctld slurmctld
        want slurmd slurmd
        want sbatch slurm-client
        # Tests that boot a machine of their own, with a Slurm on it.
        want systemd-nspawn systemd-container
        [ -x /usr/lib/systemd/systemd ] || need+=(systemd)
    fi
    if [ ${#need[@]} -gt 0 ]; then
        say "installing ${need[*]} (SLURM=0 declines Slurm)"
        export DEBIAN_FRONTEND=noninteractive
        apt-get -q -o DPkg::Lock::Timeout=600 update >/dev/null
        apt-get -q -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${need[@]}" >/dev/null
    fi
    if [ "${SLURM:-1}" = 0 ]; then say "SLURM=0: the tests on a real Slurm are skipped"; fi
    if ! setpriv --reuid=nobody --regid=nogroup --clear-groups test -r "$PWD/setup.cfg"; then
        copy=$(mktemp -d /var/tmp/dask-gateway-trio.XXXXXX)
        trap 'rm -rf "$copy"' EXIT
        say "other users cannot read $PWD; testing a copy in $copy"
        chmod 755 "$copy"
        tar --exclude="./$VENV" --exclude=./.jupyterhub -cf - . | tar -xf - -C "$copy" --no-same-owner
        cd "$copy"
    fi
    # Clones made under a strict umask are as private as a private folder.
    chmod -R go+rX gateway dask_gateway_login tests setup.cfg pyproject.toml README.md
    umask 022
elif [ "$(id -u)" != 0 ]; then
    say "not root: tests with other users' jobs, Slurm and PostgreSQL servers are skipped"
    command -v krb5-config >/dev/null || say "no krb5-config (libkrb5-dev): the tests of Kerberos are skipped"
fi

if ! { command -v promtool && command -v prometheus; } >/dev/null && [ ! -e .prometheus/.installed ]; then
    if ! command -v apt-get >/dev/null; then
        say "no Prometheus: the tests of alerts and the dashboard are skipped"
    elif ! "$MAKE" --no-print-directory .prometheus/.installed; then
        # As root everything is tested; the lists of packages may be missing or old.
        if [ "$(id -u)" = 0 ]; then
            apt-get -q -o DPkg::Lock::Timeout=600 update >/dev/null
            "$MAKE" --no-print-directory .prometheus/.installed
        else
            say "Prometheus cannot be had: the tests of alerts and the dashboard are skipped"
        fi
    fi
fi

if ! command -v npm >/dev/null; then
    say "no npm: the tests with a real JupyterHub (it comes with its proxy from there) or OpenID provider are skipped"
else
    if ! "$MAKE" --no-print-directory .jupyterhub/.installed PYTHON="$PYTHON"; then
        say "JupyterHub cannot be installed: the tests with a real one are skipped"
        [ "$(id -u)" != 0 ]
    fi
    if [ ! -d .node/node_modules/oidc-provider ]; then
        say "installing oidc-provider into .node"
        if ! npm install --prefix .node --no-audit --no-fund --loglevel=error oidc-provider@9.13 >/dev/null; then
            say "npm cannot install it: the tests with a real OpenID provider are skipped"
            [ "$(id -u)" != 0 ] # as root everything is tested
        fi
    fi
fi

"$MAKE" --no-print-directory check PYTHON="$PYTHON" VENV="$VENV"
say "half a minute of fuzzing"
"$MAKE" --no-print-directory fuzz FOR=30 PYTHON="$PYTHON" VENV="$VENV"
