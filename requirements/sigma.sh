#!/usr/bin/env bash
# Install sigma-cli into .cache/sigma-cli: the tests let it check our rules. It needs $VENV for its pip.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
target=.cache/sigma-cli
if [ -e "$target/.done" ] && [ ! requirements/sigma.txt -nt "$target/.done" ]; then exit 0; fi
echo "installing requirements/sigma.txt"
rm -rf "$target"
"$venv/bin/python" -m venv --without-pip "$target"
"$venv/bin/python" -m pip --python "$target" --quiet --disable-pip-version-check install --require-hashes -r requirements/sigma.txt
touch "$target/.done"
