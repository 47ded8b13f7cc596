#!/usr/bin/env bash
# One real Slurm on this machine, for tests and for readers who want to see
# jobs run. Takes Debian's (or Ubuntu's) packages, needs root, and may be run
# again at any time: what is up stays up. stop.sh beside it ends everything.
#
# Afterwards there are
#   users       dask (the gateway's account), alice and bob (group dask_users)
#   nodes       n1 ... n4, each claiming 16 CPUs and 64 GiB of this machine
#   partitions  main (the default), short (time limit one minute),
#               parked (down: jobs are accepted and wait for ever)
# and no accounting database. Ports listen on the address of this host's name
# alone (127.0.0.1, as a rule).
#
# A Slurm that already answers here is used as it is. A configuration of
# another single-machine Slurm (its controller is 127.0.0.1) is put aside and
# brought back by stop.sh; any other configuration is left alone, with an error.
#
#   NODES=4 CPUS=16 MEMORY=65536 (MiB)   size of the virtual cluster
#   MIN_JOB_AGE=5                        seconds until a finished job may be forgotten
set -euo pipefail

: "${NODES:=4}" "${CPUS:=16}" "${MEMORY:=65536}" "${MIN_JOB_AGE:=5}"
conf=/etc/slurm/slurm.conf
run=/run/dask-gateway-slurm
state=/var/lib/dask-gateway-slurm
logs=/var/log/dask-gateway-slurm
ours='# dask-gateway test Slurm: rewritten by tests/slurm/start.sh'

fail() { echo "start.sh: $*" >&2; exit 1; }
runs() { # pid-file program: does the file name a live process of that program?
    local pid; pid=$(cat "$1" 2>/dev/null) && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ]
}

[ "$(id -u)" = 0 ] || fail "needs root: it creates users and starts daemons"

packages=()
for pair in slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge sudo:sudo; do
    command -v "${pair%%:*}" >/dev/null || packages+=("${pair##*:}")
done
if [ "${#packages[@]}" -gt 0 ]; then
    command -v apt-get >/dev/null || fail "needs apt-get to install: ${packages[*]}"
    echo "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    "${apt[@]}" update >/dev/null
    "${apt[@]}" install -y --no-install-recommends "${packages[@]}" >/dev/null
fi

getent group dask_users >/dev/null || groupadd dask_users
for user in dask alice bob; do
    id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
    chmod go-rwx "/home/$user"
    [ "$user" = dask ] || usermod --append --groups dask_users "$user"
done

if [ -e "$conf" ] && ! grep -qxF "$ours" "$conf"; then
    if timeout 15 sinfo -h >/dev/null 2>&1; then
        echo "a Slurm already answers here; it is used as it is"
        exit 0
    fi
    grep -qE '^SlurmctldHost=.*(127\.0\.0\.1|localhost)' "$conf" || fail "$conf belongs to another Slurm; not touched"
    mv "$conf" "$conf.aside"
fi

install -d -m 755 "$run" /etc/slurm
install -d -m 755 -o slurm -g slurm "$state" "$state/controller" "$logs"
for n in $(seq "$NODES"); do install -d -m 755 "$state/n$n"; done

# munge signs every request; a daemon that a service manager started will do.
if [ ! -s /etc/munge/munge.key ]; then
    install -m 400 -o munge -g munge /dev/null /etc/munge/munge.key
    head -c 128 /dev/urandom >/etc/munge/munge.key
fi
if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
    install -d -m 755 -o munge -g munge /run/munge "$run/munge"
    chown munge:munge /etc/munge
    setpriv --reuid munge --regid munge --init-groups munged --pid-file="$run/munge/munged.pid"
fi

host=$(hostname -s)
address=$(getent ahostsv4 "$host" | awk 'NR == 1 { print $1 }')
{
    echo "$ours"
    cat <<CONF
ClusterName=dask-gateway-test
SlurmctldHost=$host(${address:-127.0.0.1})
# Listen on the address that the host's name has, not on all.
${address:+CommunicationParameters=NoInAddrAny,NoCtldInAddrAny}
SlurmUser=slurm
AuthType=auth/munge
# A job that is requeued waits for this long (in seconds) before it may run again; 120 without this line.
AuthInfo=cred_expire=20
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/%n
SlurmctldPidFile=$run/slurmctld.pid
SlurmdPidFile=$run/slurmd.%n.pid
SlurmctldLogFile=$logs/slurmctld.log
SlurmdLogFile=$logs/slurmd.%n.log
# Several slurmd share the machine, each claiming more than its part of it.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=256
# Nothing here needs control groups: processes are found by their parents, memory is sampled.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=5
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
# A test does not want to wait: jobs end, nodes return and answers expire soon.
MinJobAge=$MIN_JOB_AGE
KillWait=2
MessageTimeout=10
SlurmdTimeout=60
ReturnToService=2
SchedulerParameters=bf_interval=5,sched_interval=5
CONF
    for n in $(seq "$NODES"); do
        echo "NodeName=n$n NodeHostname=$host NodeAddr=${address:-127.0.0.1} Port=$((6900 + n)) CPUs=$CPUS RealMemory=$MEMORY State=UNKNOWN"
    done
    echo 'PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP'
    echo 'PartitionName=short Nodes=ALL DefaultTime=1 MaxTime=1 State=UP'
    echo 'PartitionName=parked Nodes=ALL MaxTime=INFINITE State=DOWN'
} >"$conf.new"
if cmp -s "$conf.new" "$conf"; then rm "$conf.new"; else mv "$conf.new" "$conf"; changed=yes; fi

if ! runs "$run/slurmctld.pid" slurmctld; then
    # The controller drops its privileges before it writes its pid into root's folder.
    install -m 644 -o slurm -g slurm /dev/null "$run/slurmctld.pid"
    setsid slurmctld -i </dev/null >>"$logs/slurmctld.out" 2>&1
elif [ "${changed:-no}" = yes ]; then
    scontrol reconfigure
fi
for n in $(seq "$NODES"); do
    runs "$run/slurmd.n$n.pid" slurmd || setsid slurmd -N "n$n" </dev/null >>"$logs/slurmd.n$n.out" 2>&1
done

for _ in $(seq 120); do
    usable=$(timeout 15 sinfo -h -N -p main -o %t 2>/dev/null | grep -cxE 'idle|mix|alloc|comp' || true)
    if [ "$usable" = "$NODES" ]; then echo "Slurm is up: $NODES nodes of $CPUS CPUs"; exit 0; fi
    sleep 0.5
done
fail "the nodes did not come up within a minute; see $logs"
