#!/usr/bin/env bash
# Drives the services with k6 and writes a report:
#   ./load-test/run.sh smoke|full|saturation|arrival|soak [rest|grpc|both] [sqlite|postgres]
#   OPERATION=mixed ./load-test/run.sh smoke
# Builds the binaries with cargo first (PROFILE=dev for a quick build), or uses those in BIN_DIR.
# OPERATION says what the users do: event (default), create, get, update, delete or mixed. config.js
# documents the other settings of the test itself (PHASE_SECONDS, PAYLOAD_SIZE, …).
set -euo pipefail
cd "$(dirname "$0")/.."

for argument in "$@"; do
    if [[ "$argument" == -h || "$argument" == --help ]]; then
        sed -n '2,/^set /{s/^# \{0,1\}//p}' load-test/run.sh
        exit
    fi
done

if [[ -z "${BIN_DIR:-}" ]]; then
    profile="${PROFILE:-release}"
    folder="$profile"
    if [[ "$profile" == dev ]]; then folder=debug; fi
    BIN_DIR="${CARGO_TARGET_DIR:-target}/$folder"
    cat >&2 <<TEXT
Building, with cargo's profile "$profile", into $BIN_DIR:
  producer-rest, producer-grpc   the services under test
  producer-bench                 starts a database and the services, runs k6, checks the database,
                                 and draws the report
The release profile, because figures of a debug build say nothing about the service. The first build
takes minutes, a later one only what has changed. PROFILE=dev builds sooner, to try the load test
itself; BIN_DIR=FOLDER uses binaries that are there.
TEXT
    # the services by themselves: else features that only producer-bench needs are built into them
    cargo build --profile "$profile" --package producer-rest --package producer-grpc
    cargo build --profile "$profile" --package producer-bench
fi
exec "$BIN_DIR/producer-bench" load "$@"
