#!/usr/bin/env bash
# Fetches the whole flights data set (3 million rows, 13 MB Parquet) into .cache/ and prints its path.
# Only the benchmark needs it; tests and the demo use the slice beside this script.
set -euo pipefail

package=vega-datasets@3.2.1
sha256=dbeb920c90f59b6ccaff823dcc3d08f25a97fa1ce128d93f40be4e931f5900b0

root=$(cd "$(dirname "$0")/.." && pwd)
out=$root/.cache/flights-3m.parquet

good() { [ -f "$1" ] && echo "$sha256  $1" | sha256sum --check --status; }

if ! good "$out"; then
  if ! command -v npm >/dev/null; then
    echo "cannot fetch $package: npm is not installed" >&2
    echo "Hint: install it (Debian, Ubuntu: apt-get install npm), or put the package's data/flights-3m.parquet at $out" >&2
    exit 1
  fi
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  echo "fetching $package" >&2
  (cd "$tmp" && npm pack --silent "$package" >/dev/null && tar -xzf vega-datasets-*.tgz package/data/flights-3m.parquet)
  if ! good "$tmp/package/data/flights-3m.parquet"; then
    echo "the flights-3m.parquet of $package does not have the SHA-256 $sha256" >&2
    exit 1
  fi
  mkdir -p "$root/.cache"
  # Why: the move within one file system makes the file appear whole or not at all.
  cp "$tmp/package/data/flights-3m.parquet" "$out.tmp"
  mv "$out.tmp" "$out"
fi
echo "$out"
