#!/bin/bash
# Every fuzz target for some seconds each, on a nightly toolchain with cargo-fuzz.
#   tests/fuzz.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzzing needs a nightly toolchain: rustup toolchain install nightly" >&2
  exit 1
fi
export PATH="$PWD/target/tools/bin:$PATH"
cargo fuzz --version >/dev/null 2>&1 || cargo install -q cargo-fuzz --locked --version 0.13.2 --root target/tools
mapfile -t targets < <(cargo +nightly fuzz list)
for target in "${targets[@]}"; do
  echo "== $target, $seconds s"
  cargo +nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -print_final_stats=0
done
echo "${#targets[@]} targets, nothing found"
