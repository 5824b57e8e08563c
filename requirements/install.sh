#!/usr/bin/env bash
# Install a lock (runtime, demo or dev) and this package into $VENV, which is made where it is missing.
# Needs Python 3.11 to 3.13 with either venv or pip; no root.
set -euo pipefail
cd "$(dirname "$0")/.."
lock=$1
venv=${VENV:-.venv}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; }
has() { "$1" -c "import $2" 2>/dev/null; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if fits "$candidate"; then echo "$candidate"; return; fi
  done
  echo "access-monitor needs Python 3.11, 3.12 or 3.13; name one with: make … PYTHON=/path/to/python3" >&2
  return 1
}

if ! { [ -x "$venv/bin/python" ] && fits "$venv/bin/python"; }; then
  python=$(find_python)
  if ! has "$python" ensurepip && ! has "$python" pip && [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] &&
    command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  fi
  echo "making $venv with $("$python" --version)"
  if has "$python" ensurepip; then
    "$python" -m venv --clear "$venv"
  elif has "$python" pip; then
    "$python" -m venv --clear --without-pip "$venv"
  else
    echo "$python has neither venv nor pip. On Debian or Ubuntu: apt-get install python3-venv" >&2
    exit 1
  fi
fi

pip=("$venv/bin/python" -m pip)
# A venv made without pip is filled by the pip of the Python that made it.
if ! has "$venv/bin/python" pip; then pip=("$(find_python)" -m pip --python "$venv/bin/python"); fi
pip+=(--quiet --disable-pip-version-check install)

# Our extension modules are optional, but in CI they are what is tested.
if ! command -v "${CXX:-c++}" >/dev/null && ! command -v g++ >/dev/null; then
  if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ python3-dev >/dev/null
  else
    echo "no C++ compiler: everything works, several times slower (docs/adr/0019-native-hot-path.md)"
  fi
fi

echo "installing requirements/$lock.txt (the first time takes a minute)"
"${pip[@]}" --require-hashes -r requirements/build.txt -r "requirements/$lock.txt"
# What it warns of (folders of the same name) is known.
PYTHONWARNINGS="ignore:Editable" "${pip[@]}" --no-deps --no-build-isolation --editable .
