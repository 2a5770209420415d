# The doors of this repository, thin over cargo. Each installs what it needs (scripts/setup).
#
#   make lab     three PostgreSQL nodes and understudy on port 6432; LAB="--nodes 2 --sync" for more
#   make test    every test, real nodes and clients included; formatting and lints first
#   make check   formatting and lints
#   make bench   the cost of a hop, beside direct PostgreSQL and PgBouncer; BENCH="--rounds 3" for a short one
#   make fuzz    looks for inputs that break us, guided by coverage; MINUTES=10 for each of the targets
#   make sim     replays one simulated history of failovers: SEED=n
#   make compat  public test suites, straight and through understudy; COMPAT="asyncpg regress" for some

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: lab test check bench sim compat fuzz

lab:
	@scripts/setup lab
	@cargo build --release
	@cargo run --release --quiet -- lab up $(LAB)

test:
	@scripts/setup test
	@$(MAKE) --no-print-directory check
	cargo nextest run --workspace --features real-nodes
	cargo test --doc --workspace --features real-nodes

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features real-nodes -- -D warnings

compat:
	@scripts/setup lab
	@compat/run $(COMPAT)

bench:
	@scripts/setup bench
	@cargo build --release
	@.venv/bin/python bench/run.py $(BENCH)

SEED ?= 1
sim:
	cargo run -p simulate --release -- --seed $(SEED)

# Minutes per target.
MINUTES ?= 10
fuzz:
	@scripts/setup fuzz
	@for target in startup frames logins files; do \
		mkdir -p fuzz/found/$$target && \
		cargo +nightly fuzz run $$target fuzz/found/$$target fuzz/corpus/$$target -- -max_total_time=$$(($(MINUTES) * 60)) || exit 1; \
	done
