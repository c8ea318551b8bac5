#!/bin/bash
# Installs what `make demo` and `make test` need on a fresh Debian with Rust; does nothing where it is there already.
#   tests/setup.sh demo     real OpenSSH
#   tests/setup.sh test     the same, PostgreSQL, asciinema 2.4 in target/tools, cargo-deny
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?demo or test}
tools=target/tools

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

missing=()
need() { # PACKAGE, and a command that tells whether it is there
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}

need openssh-client command -v ssh
need openssh-server test -x /usr/sbin/sshd
need gcc command -v cc
need libc6-dev test -e /usr/include/stdio.h
if [ "$what" = test ]; then
  need python3 command -v /usr/bin/python3
  need python3-venv /usr/bin/python3 -c 'import ensurepip'
  need postgresql bash -c 'ls /usr/lib/postgresql/*/bin/postgres'
fi
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
fi
# sshd started by root wants its empty folder, which only its service would have made
[ "$(id -u)" != 0 ] || [ -d /run/sshd ] || mkdir -p -m 0755 /run/sshd

[ "$what" = test ] || exit 0

mkdir -p "$tools"
if ! "$tools/venv/bin/asciinema" --version 2>/dev/null | grep -q '^asciinema 2\.4'; then
  /usr/bin/python3 -m venv --clear "$tools/venv"
  "$tools/venv/bin/pip" install -q --disable-pip-version-check 'asciinema==2.4.0'
fi
# compiled once, without optimisation: it runs for a second. Kept in target/tools; one that is installed is used as it is
if ! cargo deny --version >/dev/null 2>&1 && [ ! -x "$tools/bin/cargo-deny" ]; then
  cargo install -q --debug cargo-deny --locked --version 0.20.2 --root "$tools"
fi
