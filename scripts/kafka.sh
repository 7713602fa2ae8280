#!/usr/bin/env bash
# A real Kafka broker, for tests and for trying things, from the artifacts on Maven Central:
#
#   scripts/kafka.sh fetch        print the directory of its jars, fetched with Maven if they are not there
#   scripts/kafka.sh run [1|3]    run one node, or three, until interrupted; prints the addresses
#
# The jars are kept in .cache/kafka; the data of `run` is in a temporary directory and removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

pom=internal/kafkatest/pom.xml
version=$(sed -n 's|^  <version>\(.*\)</version>$|\1|p' "$pom")
root=$PWD/.cache/kafka
# The checksum is of the pom: another list of jars is another directory.
lib=$root/$version-$(cksum <"$pom" | cut -d' ' -f1)

fetch() {
  if [ ! -d "$lib" ]; then
    scripts/needs.sh maven
    echo "fetching Kafka $version from Maven Central into ${lib#"$PWD"/}" >&2
    mkdir -p "$root"
    tmp=$(mktemp -d "$root/fetch.XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    # Why three times: one lost connection among fifty downloads must not fail a whole CI run.
    for try in 1 2 3; do
      if mvn --batch-mode --quiet -Dstyle.color=never --file "$pom" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$tmp/lib" >&2; then
        break
      elif [ "$try" = 3 ]; then
        echo "cannot fetch Kafka $version" >&2
        echo "Hint: see Maven's message above; behind a proxy or a mirror, configure it in ~/.m2/settings.xml" >&2
        exit 1
      fi
    done
    # Why: the move makes the directory appear whole or not at all; another fetch may have been faster.
    [ -d "$lib" ] || mv "$tmp/lib" "$lib"
  fi
  echo "$lib"
}

case ${1:-} in
  fetch) fetch ;;
  run)
    scripts/needs.sh java
    lib=$(fetch)
    SLUICE_KAFKA_LIB=$lib exec "${GO:-go}" run ./internal/kafkatest/kafka -nodes "${2:-1}"
    ;;
  *)
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
