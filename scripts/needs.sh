#!/usr/bin/env bash
# Makes sure that the programs named are there, and installs Debian's packages for those that are not:
#
#   scripts/needs.sh compiler postgres java maven
#
# Nothing is run that is not needed: where the programs are found, apt is never called.
set -euo pipefail

have_compiler() { command -v "${CXX:-c++}" >/dev/null && command -v "${CC:-cc}" >/dev/null; }

# have_postgres looks where internal/pgcluster looks; the two must agree.
have_postgres() {
  local dir
  if command -v postgres >/dev/null && command -v initdb >/dev/null && command -v psql >/dev/null; then
    return 0
  fi
  for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql*/bin \
    /usr/local/opt/postgresql*/bin /Applications/Postgres.app/Contents/Versions/*/bin /usr/local/pgsql/bin /usr/bin; do
    if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && [ -x "$dir/psql" ]; then
      return 0
    fi
  done
  return 1
}

# have_java wants 17 or newer, which Kafka's broker needs.
have_java() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | sed -n 1p)
  [ "${version:-0}" -ge 17 ]
}

have_maven() { have_java && command -v mvn >/dev/null; }

# java_package prefers the version that the tests were written with: a distribution's default may be older.
java_package() {
  if apt-cache show openjdk-17-jre-headless >/dev/null 2>&1; then
    echo openjdk-17-jre-headless
  else
    echo default-jre-headless
  fi
}

packages=()
missing=()
for need in "$@"; do
  case $need in
    compiler) have_compiler || { packages+=(gcc g++ libc6-dev); missing+=("a C++ compiler (DuckDB is linked in)"); } ;;
    postgres) have_postgres || { packages+=(postgresql); missing+=("a PostgreSQL server"); } ;;
    java) have_java || { packages+=(java); missing+=("Java 17 or newer (for a Kafka broker)"); } ;;
    maven) have_maven || { packages+=(java maven); missing+=("Maven and Java 17 (to fetch a Kafka broker)"); } ;;
    *) echo "scripts/needs.sh: unknown need: $need" >&2; exit 2 ;;
  esac
done
[ ${#packages[@]} -gt 0 ] || exit 0

echo "not installed: $(IFS=';'; echo "${missing[*]}")" >&2
if ! command -v apt-get >/dev/null; then
  echo "Hint: install it with your system's package manager; with Homebrew: brew install postgresql@17 openjdk maven, with Xcode: xcode-select --install" >&2
  exit 1
fi
# java_names puts its package's name in place of java.
java_names() {
  local i
  for i in "${!packages[@]}"; do
    if [ "${packages[i]}" = java ]; then packages[i]=$(java_package); fi
  done
}

sudo=()
if [ "$(id -u)" != 0 ]; then
  # Why -n: a password prompt would hang where nobody is there to answer it.
  if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
    java_names
    echo "Hint: run this first, as root: apt-get install ${packages[*]}" >&2
    exit 1
  fi
  sudo=(sudo -n)
fi

apt_get() { ${sudo[@]+"${sudo[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >&2; }

apt_get update || echo "apt-get update failed; trying with the package lists that are there" >&2
java_names # only now: a fresh image has no lists to look in
echo "installing ${packages[*]}" >&2
apt_get install -y --no-install-recommends "${packages[@]}"

for need in "$@"; do
  if ! "have_$need"; then
    echo "installed ${packages[*]}, but still cannot find: $need" >&2
    exit 1
  fi
done
