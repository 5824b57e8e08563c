#!/usr/bin/env bash
# Runs the tests of the native code with its memory watched: `make sanitize` (ARGS="-k native").
# A copy of the project is built with AddressSanitizer and UndefinedBehaviorSanitizer, which end the tests at the
# first read beyond a record, or at whatever C++ leaves undefined. Leaks are not looked for: Python has its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "${VENV:-.venv}/bin/python")
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r monitor tests setup.py pyproject.toml README.md LICENSE "$copy"
cd "$copy"
find . -name '*.so' -delete
flags="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -D_GLIBCXX_ASSERTIONS"
CFLAGS=$flags CXXFLAGS=$flags LDFLAGS=$flags "$python" -W ignore setup.py -q build_ext --inplace
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so) $(g++ -print-file-name=libstdc++.so)"
export ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$copy PYTHONMALLOC=malloc CI=true
# The native code is the copy, and is watched: else the run would say nothing.
"$python" -c 'import sys
from monitor.engine import router
sys.exit(not (router.__file__.startswith(sys.argv[1]) and b"__asan_" in open(router.__file__, "rb").read()))' "$copy"
# What ends the tests is written past Python, so it must not be captured.
"$python" -m pytest -q --capture=sys -p no:cacheprovider tests/engine tests/stream/test_records.py tests/stream/test_recovered.py tests/intake/test_native.py tests/intake/test_rows.py -m "not kafka" "$@"
