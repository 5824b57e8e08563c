#!/usr/bin/env bash
# Fetch what the benchmarks compare with: `setup.sh streams` (needs a JDK of 17 or later and Maven), `setup.sh
# peers` (Quix Streams and Bytewax, in an environment of their own). Needs $VENV for its pip.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}

streams() {
  local source=bench/peers/streams target=.cache/streams
  if [ -e "$target/.done" ] && [ ! "$source/pom.xml" -nt "$target/.done" ] && [ ! "$source/W1.java" -nt "$target/.done" ]; then return; fi
  if ! command -v javac >/dev/null || ! command -v mvn >/dev/null; then
    echo "no Kafka Streams for the benchmarks: it needs a JDK of 17 or later and Maven" >&2
    exit 1
  fi
  echo "fetching and compiling Kafka Streams"
  rm -rf "$target"
  mvn -q -B -Dstyle.color=never -f "$source/pom.xml" dependency:copy-dependencies -DoutputDirectory="$PWD/$target/libs"
  javac -cp "$target/libs/*" -d "$target/classes" "$source/W1.java"
  touch "$target/.done"
}

peers() {
  local target=.cache/bench
  if [ -e "$target/.done" ] && [ ! requirements/bench.txt -nt "$target/.done" ]; then return; fi
  echo "installing requirements/bench.txt"
  rm -rf "$target"
  "$venv/bin/python" -m venv --without-pip "$target"
  "$venv/bin/python" -m pip --python "$target" --quiet --disable-pip-version-check install --require-hashes -r requirements/bench.txt
  touch "$target/.done"
}

for part in "$@"; do "$part"; done
