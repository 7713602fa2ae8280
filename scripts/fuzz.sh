#!/usr/bin/env bash
# Runs every native fuzz target of the module for a time each:  scripts/fuzz.sh [20s [5s]]
# The first time is for the targets that read what a crash left or decide about it (the log, its snapshots and
# manifest, repairs, Resolve, the statement parser), the second, if given, for all others. A target that is added
# is found by itself. A crash leaves its input under testdata/fuzz and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
others=${2:-$time}
found=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# Go's fuzzer may take the end of -fuzztime for a failure (golang/go#75804). It has found nothing then: all that it says
# is this one line, and every input that fails is written down.
only_time_is_up() {
  [ "$(grep -A1 -- "^--- FAIL: $1 (" "$out" | tail -n +2)" = "    context deadline exceeded" ] &&
    ! grep -qE 'Failing input|panic:|fatal error:|_test\.go:' "$out" &&
    echo "$1: its time was up, and nothing was found"
}

while IFS=: read -r file target; do
  found=$((found + 1))
  dir=$(dirname "$file")
  case $dir in checkpointlog | planner/ddl) for=$time ;; *) for=$others ;; esac
  echo "== ./$dir $target for $for"
  # Why minimize so little: every input that reaches something new is minimized, by default for up to a minute,
  # and nothing else is tried meanwhile. In a short run that is all of the time.
  go test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$for" -fuzzminimizetime 20x -timeout 30m 2>&1 | tee "$out" || only_time_is_up "$target"
done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
[ "$found" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "fuzzed $found targets for $time ($others) each in ${SECONDS}s"
