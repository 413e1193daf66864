# `make` or `make help` lists what can be done here.
.DEFAULT_GOAL := help
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## serve REST on 127.0.0.1:9083 from an embedded SQLite file
	$(CARGO) run --release --package producer-rest

.PHONY: run-grpc
run-grpc: ## serve gRPC on 127.0.0.1:9092, beside REST on the same file if you like
	$(CARGO) run --release --package producer-grpc

.PHONY: build
build: ## build both binaries for release, into target/release
	$(CARGO) build --release --package producer-rest --package producer-grpc

.PHONY: test
test: ## run every test; needs PostgreSQL's server binaries, which it installs on Debian as root
	./scripts/postgres-for-tests
	$(CARGO) test --workspace

.PHONY: lint
lint: ## what must be clean: formatting, clippy, documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

.PHONY: fmt
fmt: ## format the code
	$(CARGO) fmt --all

.PHONY: deny
deny: ## check licences, bans and sources of the dependencies (cargo-deny); advisories where reachable
	./scripts/deny

.PHONY: microbench
microbench: ## time the scanner and the merge beside serde_json
	$(CARGO) bench --package producer-core

.PHONY: images
images: ## build both container images; `make try-images` tries them and compose
	for api in rest grpc; do \
		docker build --file Dockerfile.$$api --tag producer-$$api \
			--build-arg VERSION=$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1) \
			--build-arg REVISION=$$(git rev-parse HEAD) . || exit 1; \
	done

.PHONY: try-images
try-images: ## run both images and compose with each profile, as a user would, and clean up
	./scripts/try-images

.PHONY: clean
clean: ## remove what was built
	$(CARGO) clean
