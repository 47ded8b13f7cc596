#!/usr/bin/env bash
# The suite in three parts at once, for most of it waits: for batch systems, for programs that start.
#
#   tests/side_by_side.sh COMMAND...    the command that runs pytest; what each part consists of follows it
#
# What the other parts print is shown when the first has ended. The exit code is that of whichever failed.
set -uo pipefail
cd "$(dirname "$0")/.."

# What a host has once (marked `host`) is used by one part alone. The rest is a matter of time alone: all parts end
# at about the same moment.
once=(tests/e2e tests/contract tests/slurm)
programs=(tests/attacks tests/contract tests/e2e tests/systemd)
others=(--ignore=tests/slurm "${programs[@]/#/--ignore=}")

output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT
"$@" -o cache_dir=.pytest_cache/programs -m "not host and not soak" "${programs[@]}" >"$output/programs" 2>&1 &
second=$!
"$@" -o cache_dir=.pytest_cache/others -m "not host and not soak" "${others[@]}" >"$output/others" 2>&1 &
third=$!
codes=()
"$@" -m "host and not soak" "${once[@]}"; codes+=($?)
wait "$second"; codes+=($?)
cat "$output/programs"
wait "$third"; codes+=($?)
cat "$output/others"
for code in "${codes[@]}"; do
    [ "$code" = 0 ] || exit "$code"
done
