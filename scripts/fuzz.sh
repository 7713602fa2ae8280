#!/usr/bin/env bash
# Runs every native fuzz target of the module for a time each:  scripts/fuzz.sh [20s]
# A target that is added is found by itself. A crash leaves its input under testdata/fuzz and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
found=0
while IFS=: read -r file target; do
  found=$((found + 1))
  echo "== ./$(dirname "$file") $target for $time"
  go test "./$(dirname "$file")" -run '^$' -fuzz "^$target\$" -fuzztime "$time" -timeout 30m
done < <(git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | sed 's/func //')
[ "$found" -gt 0 ] || { echo "no fuzz target found" >&2; exit 1; }
echo "fuzzed $found targets for $time each"
