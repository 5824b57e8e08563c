#!/usr/bin/env bash
# Install atheris, beside what the product needs, into .cache/fuzz. It needs $VENV for its pip.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
target=.cache/fuzz
if [ -e "$target/.done" ] && [ ! requirements/fuzz.txt -nt "$target/.done" ] && [ ! requirements/runtime.txt -nt "$target/.done" ]; then exit 0; fi
echo "installing requirements/fuzz.txt"
rm -rf "$target"
"$venv/bin/python" -m venv --without-pip "$target"
"$venv/bin/python" -m pip --python "$target" --quiet --disable-pip-version-check install --require-hashes \
  -r requirements/runtime.txt -r requirements/fuzz.txt
touch "$target/.done"
