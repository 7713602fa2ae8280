#!/usr/bin/env bash
# Runs the demo's pipeline again and again for a time, killing the engine with SIGKILL at a random moment of
# each life, and proves the guarantee after every life and at the end of the input:
#
#   scripts/soak.sh [10m]
#
# SEED=n repeats the same moments. The state of a failed run is kept, and its place printed.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-10m} in
  *h) end=$((${1%h} * 3600)) ;;
  *m) end=$((${1%m} * 60)) ;;
  *) end=${1%s} ;;
esac
RANDOM=${SEED:=$(date +%s)}
echo "seed $SEED"
sluice=$PWD/bin/sluice
file=queries/demo_flights.sql

dir=
stop_postgres() {
  local pid
  pid=$(head -1 "$dir/postgres/postmaster.pid" 2>/dev/null) && kill -INT "$pid" 2>/dev/null || true
}
trap 'echo "failed; the state is kept in $dir; SEED=$SEED repeats the run" >&2; stop_postgres' ERR
trap 'stop_postgres; exit 130' INT TERM

rounds=0 kills=0
while [ "$SECONDS" -lt "$end" ]; do
  dir=$(mktemp -d "${TMPDIR:-/tmp}/sluice-soak-XXXXXX")
  chmod 755 "$dir" # as root, PostgreSQL runs as another user and must get in
  # The cluster is made before the first kill: it is the engine that is soaked here, not initdb.
  "$sluice" psql --state-dir "$dir" -- -qAtc "SELECT 1" >/dev/null </dev/null
  # Ten lives and a last one, so that a slow machine comes to an end too.
  for life in 1 2 3 4 5 6 7 8 9 10 last; do
    "$sluice" run "$file" --until-end --state-dir "$dir" >"$dir/run.out" 2>&1 &
    pid=$!
    if [ "$life" != last ]; then sleep "$((RANDOM % 4)).$((RANDOM % 10))"; fi
    if [ "$life" != last ] && kill -KILL "$pid" 2>/dev/null; then
      kills=$((kills + 1))
      wait "$pid" 2>/dev/null || true
      # Before its first batch a pipeline has nothing to verify.
      if [ -e "$dir/pipelines/demo_flights/run.json" ]; then
        "$sluice" verify demo_flights --state-dir "$dir" >"$dir/verify.out" 2>&1 || { cat "$dir/verify.out" >&2; false; }
      fi
    else
      wait "$pid" || { cat "$dir/run.out" >&2; false; }
      break
    fi
  done
  "$sluice" verify demo_flights --state-dir "$dir" >"$dir/verify.out" 2>&1 || { cat "$dir/verify.out" >&2; false; }
  rounds=$((rounds + 1))
  echo "round $rounds: $kills kills so far, the tables are right (${SECONDS}s)"
  rm -rf "$dir"
done
