#!/usr/bin/env bash
# Drives the services with k6 and writes a report:
#   ./load-test/run.sh smoke|full|saturation|arrival|soak [rest|grpc|both] [sqlite|postgres]
# Builds the binaries with cargo first (PROFILE=dev for a quick build), or uses those in BIN_DIR.
# config.js documents the settings of the test itself (PHASE_SECONDS, PAYLOAD_SIZE, …).
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -z "${BIN_DIR:-}" ]]; then
    profile="${PROFILE:-release}"
    folder="$profile"
    if [[ "$profile" == dev ]]; then folder=debug; fi
    BIN_DIR="${CARGO_TARGET_DIR:-target}/$folder"
    echo "building the services and the load test ($profile); the first time takes minutes" >&2
    cargo build --quiet --profile "$profile" --package producer-rest --package producer-grpc
    cargo build --quiet --profile "$profile" --package producer-bench
fi
exec "$BIN_DIR/producer-bench" load "$@"
