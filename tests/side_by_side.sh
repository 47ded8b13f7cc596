#!/usr/bin/env bash
# Two halves of the suite at once: what waits for batch systems, and everything else.
#
#   tests/side_by_side.sh COMMAND...    the command that runs pytest; what each half consists of follows it
#
# What the second half prints is shown when the first has ended. The exit code is that of whichever failed.
set -uo pipefail
cd "$(dirname "$0")/.."

# Which folders these are is a matter of time alone: both halves end at about the same moment.
waiting=(tests/contract tests/e2e tests/slurm)
others=("${waiting[@]/#/--ignore=}")

output=$(mktemp)
trap 'rm -f "$output"' EXIT
"$@" -o cache_dir=.pytest_cache/others "${others[@]}" >"$output" 2>&1 &
second=$!
first_code=0 second_code=0
"$@" "${waiting[@]}" || first_code=$?
wait "$second" || second_code=$?
cat "$output"
exit $((first_code ? first_code : second_code))
