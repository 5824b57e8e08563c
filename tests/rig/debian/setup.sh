#!/usr/bin/env bash
# Install the Debian packages of packages.txt whose programs are missing. Where that cannot be, the tests
# that need them are skipped and say so; with CI=true it is an error instead.
set -euo pipefail
cd "$(dirname "$0")"
# Servers are in sbin, which is not on every user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

missing() {
  local package program
  while read -r package program; do
    if [ -z "$package" ] || [ "${package#\#}" != "$package" ]; then continue; fi
    if ! command -v "$program" >/dev/null && ! compgen -G "$program" >/dev/null; then echo "$package"; fi
  done < packages.txt
}

give_up() {
  echo "missing for the tests: $1" >&2
  if [ "${CI:-}" = true ]; then exit 1; fi
  echo "the tests that need it will be skipped" >&2
  exit 0
}

packages=$(missing | xargs)
if [ -z "$packages" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  give_up "$packages (on Debian: apt-get install $packages)"
fi

echo "installing $packages"
# Tests start their own servers: none of the packages' may begin to listen.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq || give_up "apt-get update failed"
# shellcheck disable=SC2086 - one word per package
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
  give_up "apt-get could not install $packages"
left=$(missing | xargs)
if [ -n "$left" ]; then give_up "$left: installed, but its program is not found"; fi
