#!/usr/bin/env bash
# End the Slurm that start.sh started: its jobs, its daemons, its traces but
# the users. Only processes are ended whose pid start.sh's daemons wrote down,
# and only while that pid still is the program it was.
set -euo pipefail

conf=/etc/slurm/slurm.conf
run=/run/dask-gateway-slurm
ours='# dask-gateway test Slurm: rewritten by tests/slurm/start.sh'

[ "$(id -u)" = 0 ] || { echo "stop.sh: needs root" >&2; exit 1; }
grep -qxF "$ours" "$conf" 2>/dev/null || { echo "stop.sh: no Slurm of start.sh's here"; exit 0; }

end() { # pid-file program
    local pid; pid=$(cat "$1" 2>/dev/null) || return 0
    is() { [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ]; }
    if is "$2"; then
        kill -CONT "$pid"
        kill "$pid"
        for _ in $(seq 100); do is "$2" || break; sleep 0.1; done
        if is "$2"; then kill -KILL "$pid"; fi
    fi
    rm -f "$1"
}

timeout 15 scancel --state=PENDING --quiet 2>/dev/null || true
for user in dask alice bob; do timeout 15 scancel --quiet --user="$user" 2>/dev/null || true; done
for _ in $(seq 20); do
    [ -z "$(timeout 15 squeue -h 2>/dev/null)" ] && break
    sleep 0.5
done

for file in "$run"/slurmd.*.pid; do end "$file" slurmd; done
end "$run/slurmctld.pid" slurmctld
end "$run/munge/munged.pid" munged
rm -rf "$run" /var/lib/dask-gateway-slurm /var/log/dask-gateway-slurm "$conf"
[ ! -e "$conf.aside" ] || mv "$conf.aside" "$conf"
echo "Slurm is down"
