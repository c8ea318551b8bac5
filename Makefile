# make demo   a complete world on loopback: the bastion, two real OpenSSH servers, five users
# make test   everything that must hold: format, lints, dependencies, unit tests, the whole road with real OpenSSH
# make lint   the fast half of it
# make bench  against a plain OpenSSH jump host, in the same run
# make soak   the same tests for longer: kills, cuts, simulated connections (ROUNDS=20)
# make fuzz   every parser, SECONDS=60 each (needs a nightly toolchain)

DIR     ?= demo
ROUNDS  ?= 20
SECONDS ?= 60

.PHONY: demo test lint bench soak fuzz advisories

demo:
	tests/setup.sh demo
	cargo run --release --locked -- demo --dir $(DIR)

test:
	tests/setup.sh test
	tests/all.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test architecture

bench:
	tests/setup.sh demo
	cargo bench --locked --bench roads --bench keeping --bench search --bench evidence

soak:
	tests/setup.sh test
	SOAK=$(ROUNDS) PROPTEST_CASES=5000 tests/postgres.sh run cargo test --release --locked --lib
	FUZZ_ROUNDS=100000 cargo test --release --locked --test 'fuzz_*'
	SOAK=$(ROUNDS) tests/postgres.sh run cargo test --release --locked --test e2e -- --nocapture crash cutoff

fuzz:
	tests/fuzz.sh $(SECONDS)

advisories:
	PATH="$$PWD/target/tools/bin:$$PATH" cargo deny check advisories
