#!/bin/bash
# Everything that must hold before a change is merged, and a line for each at the end. `make test` and `.ci/run` call it.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/target/tools/bin:$PATH"
log=target/test.log
mkdir -p target
: >"$log"
declare -a lines
failed=0

step() { # NAME COMMAND..
  local name=$1 began=$SECONDS verdict=ok
  shift
  echo
  echo "== $name: $*"
  "$@" 2>&1 | tee -a "$log"
  [ "${PIPESTATUS[0]}" = 0 ] || { verdict=FAILED; failed=1; }
  lines+=("$(printf '%-14s %-7s %4ss' "$name" "$verdict" $((SECONDS - began)))")
}

postgres=$(mktemp -du /tmp/jit-postgres.XXXXXX)
trap 'tests/postgres.sh stop "$postgres"' EXIT
JIT_BASTION_TEST_POSTGRES=$(tests/postgres.sh start "$postgres") || exit 1
export JIT_BASTION_TEST_POSTGRES

step format cargo fmt --check
step lint cargo clippy --locked --all-targets -- -D warnings
step dependencies cargo deny --locked --log-level error check bans licenses sources
step unit cargo test --locked --lib --bins
# whatever opens a store runs on both databases; here most of the time is waiting
step on-postgres env JIT_BASTION_TEST_STORE=postgres cargo test --locked --lib -- --test-threads=6 store:: broker:: verbs::
step documents cargo test --locked --doc
rm -rf target/tmp/casts
step end-to-end cargo test --locked --no-fail-fast --test "*"
step players tests/players.py target/tmp/casts

echo
printf '%s\n' "${lines[@]}"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
  END { printf "%d tests passed, %d failed, %d ignored\n", passed, failed, ignored }' "$log"
exit $failed
