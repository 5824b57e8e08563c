#!/usr/bin/env bash
# Fetch a real Kafka into .cache/kafka for the tests. Where that cannot be, the tests that need it
# are skipped and say so; with CI=true it is an error instead.
set -euo pipefail
cd "$(dirname "$0")/../../.."
pom=tests/rig/kafka/pom.xml
target=.cache/kafka

if [ -e "$target/.done" ] && [ ! "$pom" -nt "$target/.done" ]; then exit 0; fi

give_up() {
  echo "no real Kafka for the tests: $1" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  echo "the tests that need it will be skipped" >&2
  exit 0
}

java_fits() {
  local version
  version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
  [ -n "$version" ] && [ "$version" -ge 17 ]
}

if ! java_fits || ! command -v mvn >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    give_up "it needs Java 17 or later and Maven (on Debian or Ubuntu: apt-get install maven openjdk-17-jre-headless)"
  fi
  echo "installing Java and Maven"
  apt-get update -qq || give_up "apt-get update failed"
  java=openjdk-17-jre-headless
  apt-cache show "$java" >/dev/null 2>&1 || java=default-jre-headless
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends maven "$java" >/dev/null ||
    give_up "apt-get could not install maven and $java"
  java_fits || give_up "the Java that was installed is older than 17"
fi

echo "fetching Kafka from Maven Central"
rm -rf "$target"
for attempt in 1 2 3; do
  if mvn -q -B -Dstyle.color=never -f "$pom" dependency:copy-dependencies -DoutputDirectory="$PWD/$target/libs"; then
    touch "$target/.done"
    exit 0
  fi
  echo "attempt $attempt of 3 failed" >&2
done
give_up "Maven could not fetch it"
