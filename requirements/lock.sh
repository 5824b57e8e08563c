#!/usr/bin/env bash
# Make the lock files from pyproject.toml. They hold hashes, and no address of any registry.
set -euo pipefail
cd "$(dirname "$0")/.."
export CUSTOM_COMPILE_COMMAND="make lock"
compile() {
  "${COMPILER:-.venv/bin/pip-compile}" --quiet --generate-hashes --strip-extras --no-emit-index-url \
    --no-emit-trusted-host --no-emit-find-links "$@"
}
compile --only-build-deps --build-deps-for editable --build-deps-for wheel --allow-unsafe \
  --output-file requirements/build.txt pyproject.toml
# The narrower lock constrains the wider one, so that a version is the same in all of them.
compile --output-file requirements/runtime.txt pyproject.toml
compile --extra demo --constraint requirements/runtime.txt --output-file requirements/demo.txt pyproject.toml
# pip-tools needs pip and setuptools, which pip-compile leaves out unless asked.
compile --extra demo --extra dev --constraint requirements/build.txt --constraint requirements/demo.txt \
  --allow-unsafe --output-file requirements/dev.txt pyproject.toml
compile --output-file requirements/sigma.txt requirements/sigma.in
compile --output-file requirements/bench.txt requirements/bench.in
compile --output-file requirements/fuzz.txt requirements/fuzz.in
