# `make` or `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## serve REST on 127.0.0.1:9083 from an embedded SQLite file; the first build takes 5 minutes on two cores
	$(CARGO) run --profile local --package producer-rest

.PHONY: run-grpc
run-grpc: ## serve gRPC on 127.0.0.1:9092; REST may use the same file at the same time
	$(CARGO) run --profile local --package producer-grpc

WORKER_CONFIG ?= examples/worker.toml

.PHONY: run-worker
run-worker: ## carry changes as WORKER_CONFIG says; default examples/worker.toml, to Redis on this machine; beside `make run`
	$(CARGO) run --profile local --package producer-worker -- --worker-config $(WORKER_CONFIG)

.PHONY: dev
dev: ## as `run`, and build and start again whenever a file changes; installs watchexec into target/ once
	./scripts/watchexec --restart --stop-signal SIGTERM --watch Cargo.toml --watch crates --watch migrations \
		--watch proto -- $(CARGO) run --package producer-rest

.PHONY: example-search
example-search: ## load 10,000 books into a running service, index them and ask; URL=http://127.0.0.1:9083 is where it is
	./examples/books.py $(addprefix --url ,$(URL))

.PHONY: build
build: ## build the services fully optimised, with the profile in pgo/, into target/release; 14 minutes on two cores
	./scripts/build-release producer-rest producer-grpc

.PHONY: build-worker
build-worker: ## build the worker fully optimised, into target/release
	$(CARGO) build --release --package producer-worker

.PHONY: test
test: ## run all tests; the servers that they need it installs on Debian as root
	./scripts/postgres-for-tests
	./scripts/java-servers-for-tests
	./scripts/python-for-tests
	./scripts/redis-for-tests
	$(CARGO) test --workspace

.PHONY: test-faults
test-faults: ## run the fault tests that need root or minutes (full disks, failover, floods); see docs/reliability.md
	@[ "$$(id -u)" = 0 ] || { echo "make test-faults mounts small disks: run it as root" >&2; exit 1; }
	./scripts/postgres-for-tests
	./scripts/java-servers-for-tests
	./scripts/python-for-tests
	./scripts/redis-for-tests
	$(CARGO) test --workspace --no-run
	$(CARGO) test --workspace --test faults -- --test-threads 1 --nocapture

.PHONY: soak
soak: ## run random load and faults for SOAK_MINUTES=30, SOAK_DATABASE=postgres|sqlite|both; SOAK_SEED=N repeats a plan
	./scripts/postgres-for-tests
	./scripts/java-servers-for-tests
	./scripts/redis-for-tests
	$(CARGO) build --package producer-rest --package producer-grpc --package producer-worker
	$(CARGO) test --package producer-e2e --test soak

.PHONY: coverage
coverage: ## run all tests and print the lines they cover, by crate; needs cargo-llvm-cov, see scripts/coverage
	./scripts/coverage

.PHONY: lint
lint: ## check formatting, clippy and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

.PHONY: fmt
fmt: ## format the code
	$(CARGO) fmt --all

.PHONY: deny
deny: ## check licences, bans and sources of the dependencies (cargo-deny), and advisories if reachable
	./scripts/deny

.PHONY: check-ops
check-ops: ## test the dashboard and alerts in ops/ with a real Prometheus, which it installs on Debian as root
	./scripts/check-ops

.PHONY: check-docs
check-docs: ## run every command of the documents in fresh copies of the repository; DOCS="README.md …" selects some
	./scripts/postgres-for-tests
	./scripts/java-servers-for-tests
	./scripts/redis-for-tests
	./scripts/check-docs $(DOCS)

.PHONY: check-api
check-api: ## test the REST service against its OpenAPI document with schemathesis; EXAMPLES=500 sends more requests
	./scripts/check-api

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= scanner ndjson timestamp merge grpc filter
FUZZ_TOOLCHAIN ?= nightly
FUZZ = RUSTC_BOOTSTRAP=1 $(CARGO) +$(FUZZ_TOOLCHAIN) fuzz
FUZZ_FLAGS = --sanitizer none --target-dir target/fuzz

FUZZ_CORPUS = $(CURDIR)/target/fuzz-corpus

.PHONY: fuzz fuzz-cmin
fuzz: ## fuzz each target for FUZZ_SECONDS (60) against its oracle; needs cargo-fuzz, see fuzz/README.md
	@for target in $(FUZZ_TARGETS); do \
		echo "=== $$target, $(FUZZ_SECONDS) s" && ./scripts/fuzz-corpus unpack $$target && \
		$(FUZZ) run $(FUZZ_FLAGS) $$target $(FUZZ_CORPUS)/$$target $(CURDIR)/fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -dict=fuzz/json.dict -max_len=4096 -print_final_stats=1 || exit 1; \
	done
fuzz-cmin: ## store the fewest inputs of target/fuzz-corpus that reach all it reaches in fuzz/corpus/TARGET.tar.gz
	@for target in $(FUZZ_TARGETS); do \
		kept=$$(mktemp -d) && cp fuzz/corpus/$$target/* $$kept/ && ./scripts/fuzz-corpus unpack $$target && \
		$(FUZZ) run $(FUZZ_FLAGS) $$target $$kept $(FUZZ_CORPUS)/$$target -- -set_cover_merge=1 -use_counters=0 && \
		./scripts/fuzz-corpus pack $$target $$kept && rm -r $$kept || exit 1; \
	done

.PHONY: microbench
microbench: ## time the scanner and the merge beside serde_json
	$(CARGO) bench --package producer-core

.PHONY: bench
bench: build ## measure beside PostgreSQL used directly, into bench/results; half an hour; ONLY="CELL …" repeats cells
	./scripts/build-release producer-bench
	target/release/producer-bench run $(addprefix --only ,$(ONLY))

.PHONY: bench-quick
bench-quick: build ## fewer cells in less than 3 minutes
	./scripts/build-release producer-bench
	target/release/producer-bench run --quick $(addprefix --only ,$(ONLY))

.PHONY: bench-changes
bench-changes: build ## measure the change feed beside COPY, into bench/results; below 12 min and 10 GB of disk
	./scripts/build-release producer-bench
	target/release/producer-bench changes $(addprefix --only ,$(ONLY))

.PHONY: bench-finding
bench-finding: build ## measure lists, indexes and search beside pgbench, into bench/results; LARGE=10000000: a large type too
	./scripts/build-release producer-bench
	target/release/producer-bench finding $(addprefix --only ,$(ONLY)) $(addprefix --large ,$(LARGE)) \
		$(addprefix --before ,$(BEFORE))

.PHONY: bench-worker
bench-worker: build build-worker ## measure the worker beside Debezium, bulks and NDJSON, into bench/results; about 15 min, 4 GB of memory
	./scripts/java-servers-for-tests connect debezium
	./scripts/redis-for-tests
	./scripts/build-release producer-bench
	target/release/producer-bench worker $(addprefix --only ,$(ONLY))

.PHONY: bench-overload
bench-overload: build ## offer three times the load of saturation, on PostgreSQL, into bench/results; below 5 min
	./scripts/build-release producer-bench
	target/release/producer-bench overload

NAME ?= baseline
RESULTS ?= bench/results/bench.json

.PHONY: bench-save bench-compare
bench-save: ## keep the results of `bench` as NAME=baseline; RESULTS=bench/results/bench-quick.json: of `bench-quick`
	./scripts/build-release producer-bench
	target/release/producer-bench save $(NAME) --results $(RESULTS)
bench-compare: ## compare the results of `bench` with those kept as NAME, cell by cell, with their noise
	./scripts/build-release producer-bench
	target/release/producer-bench compare $(NAME) --results $(RESULTS)

.PHONY: load-smoke load-full load-saturation
load-smoke: ## load test with k6, both APIs on PostgreSQL: 10 users, half a minute each; OPERATION=mixed: single entities
	./load-test/run.sh smoke
load-full: ## the same with 10, 50 and 100 users; PHASE_SECONDS=20 shortens the phases of 2 minutes
	./load-test/run.sh full
load-saturation: ## the same with 10 to 2,000 users in seven phases; the report is in load-test/results
	./load-test/run.sh saturation

.PHONY: images
images: ## build the container images; `make try-images` tests them
	for name in rest grpc worker; do \
		docker build --file Dockerfile.$$name --tag producer-$$name \
			--build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1) \
			--build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; \
	done

.PHONY: try-images
try-images: ## test the images and compose with each profile, and clean up
	./scripts/try-images

.PHONY: clean
clean: ## remove all build output
	$(CARGO) clean
