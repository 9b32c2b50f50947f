# Tollway: `make run` serves, `make test` checks everything. The rest is for working on it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test build model lint fmt unit clients bench fleet fuzz replay-report replay-live deny setup-run setup-tests clean

# The native llama.cpp code is built once: everything here uses one profile.
PROFILE := release
BIN := target/$(PROFILE)
# Looked up when it is needed: `make test` may have fetched it a moment ago.
MODEL = $$(ls data/models/*.gguf 2>/dev/null | head -n 1 || true)

# Beside the built binaries; `cargo test` builds the same ones.
RUN_CLIENTS = TOLLWAY_CLIENTS_MODEL_FILE="$(MODEL)" tests/clients/run.sh $(BIN)/tollway $(BIN)/fake-provider

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

run: setup-run build model ## build and serve on 127.0.0.1:8080 (uses ./tollway.yaml and ./policies where they are)
	@exec $(BIN)/tollway serve

test: setup-tests lint model unit ## lints and every test
	@tests/admin/run.sh $(BIN)/tollway
	@$(RUN_CLIENTS)

build:
	cargo build --locked --release

model: ## fetch the embedded model once, into data/models
	@python3 scripts/fetch-model.py --dest data/models

lint: ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --locked --release --workspace --all-targets -- -D warnings

fmt: ## format the code
	cargo fmt --all

unit: ## the Rust tests
	@mkdir -p target
	@status=0; \
	cargo test --locked --release --workspace --no-fail-fast 2>&1 | tee target/unit.log || status=$$?; \
	awk '/^test result:/ {passed += $$4; failed += $$6; ignored += $$8} \
	  END {printf "%d passed, %d failed, %d ignored\n", passed, failed, ignored}' target/unit.log; \
	exit $$status

clients: setup-tests ## the official client packages against a gateway
	cargo build --locked --release --workspace --bins
	@$(RUN_CLIENTS)

bench: ## the benchmarks
	@scripts/bench.sh

# FLEET_REQUESTS=20000 makes fewer.
fleet: ## three gateways on one Redis, killed, and with Redis silent, emptied and failed over: some minutes
	TOLLWAY_FLEET_REQUESTS=$${FLEET_REQUESTS:-200000} \
	  cargo test --locked --release --no-default-features --test money fleet:: -- --ignored --nocapture --test-threads 1

replay-report: build ## the report on routing, docs/routing-report.md (on published traces where TRACES names their folder)
	@$(BIN)/tollway replay --protocol --report docs/routing-report.md $(REPLAY_ARGS)

# REPLAY_LIVE_SEED=2, REPLAY_LIVE_TRACE=chat and REPLAY_LIVE_SECONDS=600 try others.
replay-live: ## five minutes of a replayed market against the running gateway, beside what the simulator says
	cargo test --locked --release --no-default-features --test reallife five_minutes -- --ignored --nocapture

# FUZZ_SECONDS=600 for each target; a finding lies under fuzz/artifacts and is run again by `cargo +nightly fuzz run TARGET FILE`.
# What was found lies under fuzz/found; `cargo +nightly fuzz cmin` and a length limit make a corpus of it that is worth keeping.
FUZZ_TARGETS ?= sse json stream messages responses answer
fuzz: ## hostile bytes for the readers of JSON, of event streams, of other shapes and of HTTP answers (needs a nightly toolchain and cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || { echo "error: cargo-fuzz is missing: cargo install --locked cargo-fuzz" >&2; exit 1; }
	@for target in $(FUZZ_TARGETS); do \
	  mkdir -p fuzz/found/$$target; \
	  cargo +nightly fuzz run --sanitizer none --codegen-units 16 $$target fuzz/found/$$target fuzz/corpus/$$target -- \
	    -max_total_time=$${FUZZ_SECONDS:-60} -timeout=5 -rss_limit_mb=2048; \
	done

deny: ## licences, advisories and doubled crates (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "error: cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny --config .deny.toml check

setup-run:
	@scripts/setup-run.sh

setup-tests:
	@scripts/setup-tests.sh

clean: ## remove what was built
	cargo clean
	rm -rf tests/clients/*/node_modules
