#!/usr/bin/env bash
# The demo behind `make demo`: real flights into an embedded PostgreSQL; the engine is killed half-way with
# SIGKILL, resumes, and the result is shown and proved. The state stays in .cache/demo, to be looked at.
set -euo pipefail
cd "$(dirname "$0")/.."
exec 2>&1 # one stream, in order
# The embedded PostgreSQL is what is shown, whatever the environment says.
unset SLUICE_POSTGRES SLUICE_STATE_DIR PGSERVICE PGOPTIONS
export PAGER=cat PSQL_PAGER=cat PSQLRC=/dev/null

sluice=bin/sluice
state=.cache/demo
kill_at=20 # of 45 batches

bold() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
query() { "$sluice" psql demo_flights --state-dir "$state" -- -q "$@" </dev/null; }
# batch is the last committed batch; nothing before there is a ledger.
batch() { query -Atc "SELECT batch FROM sluice.ledger" 2>/dev/null || true; }

engine=
stop_all() {
  if [ -n "$engine" ]; then kill -KILL "$engine" 2>/dev/null || true; fi
  # A killed engine leaves its PostgreSQL running; it is ours to end.
  if [ -f "$state/postgres/postmaster.pid" ]; then
    kill -INT "$(head -1 "$state/postgres/postmaster.pid")" 2>/dev/null || true
  fi
}
trap stop_all EXIT
trap 'exit 130' INT TERM

stop_all
for _ in $(seq 50); do # a server of an earlier demo takes a moment to end
  [ -f "$state/postgres/postmaster.pid" ] || break
  sleep 0.2
done
# As root the cluster may lie elsewhere, behind a link; see internal/pgcluster/owner.go.
if [ -L "$state/postgres" ]; then rm -rf "$(readlink "$state/postgres")"; fi
rm -rf "$state"
mkdir -p "$state"

bold "1. Run: 442,269 flights of January 2001 become five live tables"
echo "\$ sluice run queries/demo_flights.sql --until-end"
"$sluice" run queries/demo_flights.sql --until-end --state-dir "$state" >"$state/first-run.out" 2>&1 </dev/null &
engine=$!

at=
while kill -0 "$engine" 2>/dev/null; do
  at=$(batch)
  if [ "${at:-0}" -ge "$kill_at" ]; then break; fi
  sleep 0.1
done
if ! kill -KILL "$engine" 2>/dev/null; then
  cat "$state/first-run.out"
  echo "the engine ended before it could be killed" >&2
  exit 1
fi
wait "$engine" 2>/dev/null || true
engine=

bold "2. Killed with SIGKILL half-way; PostgreSQL is still there and shows a consistent prefix"
query -c "SELECT pipeline, epoch, batch, watermark AT TIME ZONE 'UTC' AS watermark, committed_at FROM sluice.ledger" \
  -c "SELECT flights, miles, round(mean_delay::numeric, 3) AS mean_delay, last_flight FROM totals"
"$sluice" verify demo_flights --state-dir "$state"

bold "3. Resume: the same command goes on where the ledger says"
echo "\$ sluice run queries/demo_flights.sql --until-end"
"$sluice" run queries/demo_flights.sql --until-end --state-dir "$state"

bold "4. The results, in PostgreSQL"
query \
  -c "SELECT day, flights, miles, round(mean_delay::numeric, 1) AS mean_delay, late, airports FROM daily_summary ORDER BY day DESC LIMIT 5" \
  -c "SELECT origin, destination, flights, round(mean_delay::numeric, 1) AS mean_delay, median_delay FROM busiest_routes ORDER BY flights DESC, origin LIMIT 5" \
  -c "SELECT airport, hour, departures, late, round(mean_delay::numeric, 1) AS mean_delay, worst_delay FROM airport_hourly ORDER BY departures DESC, airport, hour LIMIT 5" \
  -c "SELECT * FROM airport_peaks ORDER BY departures DESC LIMIT 5" \
  -c "SELECT epoch, count(*) AS batches, min(batch) AS first, max(batch) AS last, sum(rows_in) AS rows_in, sum(rows_out) AS rows_out FROM sluice.batches GROUP BY epoch ORDER BY epoch"

bold "5. The proof: each table equals plain DuckDB over exactly the input that the ledger names"
echo "\$ sluice verify demo_flights"
"$sluice" verify demo_flights --state-dir "$state"

bold "Look around with: bin/sluice psql demo_flights --state-dir $state"
