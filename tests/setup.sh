#!/bin/bash
# Installs what `make demo` and `make test` need on a fresh Debian with Rust; does nothing where it is there already.
#   tests/setup.sh demo     real OpenSSH
#   tests/setup.sh test     the same, PostgreSQL, the stock players (asciinema 2.4 and 3.2, the web player and a Chromium), cargo-deny
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
  need openssl command -v openssl
  need python3-venv /usr/bin/python3 -c 'import ensurepip'
  need openssl command -v openssl
  need postgresql bash -c 'ls /usr/lib/postgresql/*/bin/postgres'
  # what people run at terminals
  need vim-tiny command -v vi
  need less command -v less
  need procps command -v top
  need tmux command -v tmux
  need chromium command -v chromium
  need npm command -v npm
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
if ! "$tools/bin/asciinema" --version 2>/dev/null | grep -q '^asciinema 3\.2'; then
  # as it is shipped but for the optimisation, which would take as long as our own build
  CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false \
    cargo install -q --debug asciinema --locked --version 3.2.0 --root "$tools"
fi
if ! cmp -s tests/players/package-lock.json "$tools/players/node_modules/taken-from"; then
  mkdir -p "$tools/players"
  cp tests/players/package.json tests/players/package-lock.json "$tools/players"
  (cd "$tools/players" && npm ci --silent --ignore-scripts --no-audit --no-fund && cp package-lock.json node_modules/taken-from)
fi
# compiled once, without optimisation: it runs for a second. Kept in target/tools; one that is installed is used as it is
if ! cargo deny --version >/dev/null 2>&1 && [ ! -x "$tools/bin/cargo-deny" ]; then
  cargo install -q --debug cargo-deny --locked --version 0.20.2 --root "$tools"
fi
