//! The targets of a run.

use crate::report::Table;
use crate::targets::{self, Bounds, MIB, Summaries, Target, quotient, rate, valid};

#[cfg(test)]
mod tests;

/// The table of targets with the measured values.
pub(super) fn table(cells: &Summaries<'_>) -> Table {
    targets::table(&all(cells), cells)
}

/// The targets that were measured, for the terminal.
pub(super) fn to_text(cells: &Summaries<'_>) -> String {
    targets::to_text(&all(cells), cells)
}

/// Events per second of the best pgbench cell on these keys.
pub(super) fn best_pgbench(cells: &Summaries<'_>, keys: &str) -> Option<f64> {
    let rate = |clients: &str| rate(cells, &format!("pgbench-{clients}{keys}"));
    [rate("8"), rate("32")].into_iter().flatten().reduce(f64::max)
}

fn all(cells: &Summaries<'_>) -> Vec<Target> {
    [
        against_pgbench(cells),
        between_interfaces(cells),
        service_cpu(cells),
        latencies(cells),
        memory(cells),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn against_pgbench(cells: &Summaries<'_>) -> Vec<Target> {
    const PGBENCH: &str = "pgbench, same work, its best";
    let target = |name, cell, keys: &str, required, goal| Target {
        name,
        against: PGBENCH,
        unit: "×",
        bounds: Bounds::at_least(required, goal),
        cells: match keys {
            "-set" => vec![cell, "pgbench-8-set", "pgbench-32-set"],
            "-hot" => vec![cell, "pgbench-8-hot", "pgbench-32-hot"],
            _ => vec![cell, "pgbench-8", "pgbench-32"],
        },
        measured: quotient(rate(cells, cell), best_pgbench(cells, keys)),
    };
    vec![
        target("REST single, new keys, 64 connections", "rest-64", "", 1.5, 2.5),
        target("REST single, new keys, 256", "rest-256", "", 1.8, 3.0),
        target("REST single, 100,000 set, 256", "rest-256-set", "-set", 1.8, 3.0),
        target("REST single, 10 hot keys, 256", "rest-256-hot", "-hot", 4.0, 8.0),
        target("REST bulk 8 × 100", "bulk-8x100", "", 3.5, 6.0),
    ]
}

fn between_interfaces(cells: &Summaries<'_>) -> Vec<Target> {
    let target = |name, against, cell, other, required, goal| Target {
        name,
        against,
        unit: "×",
        bounds: Bounds::at_least(required, goal),
        cells: vec![cell, other],
        measured: quotient(rate(cells, cell), rate(cells, other)),
    };
    vec![
        target("REST bulk 8 × 1,000", "COPY, one connection", "bulk-8x1000", "copy", 0.3, 0.5),
        target("PUT of existing entities, 64", "REST single, 64", "put-64", "rest-64", 0.8, 1.0),
        target(
            "PATCH of existing entities, 64",
            "REST single, 64",
            "patch-64",
            "rest-64",
            0.8,
            1.0,
        ),
        target(
            "DELETE of existing entities, 64",
            "REST single, 64",
            "delete-64",
            "rest-64",
            0.5,
            0.8,
        ),
        target(
            "one in 20 a PATCH with If-Match, 256",
            "REST single, 256",
            "rest-256-match",
            "rest-256",
            0.8,
            0.95,
        ),
        target(
            "with a reader of all changes, 256",
            "REST single, 256",
            "rest-256-read",
            "rest-256",
            0.85,
            0.95,
        ),
        target("gRPC unary, 256", "REST single, 256", "unary-256", "rest-256", 0.7, 1.0),
        target("gRPC stream, 4 × 256", "gRPC unary, 256", "stream-4x256", "unary-256", 2.0, 3.0),
        target("SQLite single, 64", "PostgreSQL single, 64", "sqlite-rest-64", "rest-64", 0.6, 1.0),
        target("10 million entities in the table", "none", "rest-64-grown", "rest-64", 0.6, 0.8),
        target("nested patches, 256", "flat patches, 256", "rest-256-deep", "rest-256", 0.5, 0.7),
    ]
}

/// What the service takes of the CPU beside a server that does nothing with a request.
fn service_cpu(cells: &Summaries<'_>) -> Vec<Target> {
    let cpu = |name: &str| valid(cells, name)?.cpu_us.service;
    let target = |name, cell, hyper| Target {
        name,
        against: "hyper alone",
        unit: "×",
        bounds: Bounds::at_most(2.2, 2.0),
        cells: vec![cell, hyper],
        measured: quotient(cpu(cell), cpu(hyper)),
    };
    vec![
        target("the service's CPU, REST single, 64", "rest-64", "hyper-rest-64"),
        target("the service's CPU, REST single, 256", "rest-256", "hyper-rest-256"),
    ]
}

fn latencies(cells: &Summaries<'_>) -> Vec<Target> {
    let latency = |name: &str| valid(cells, name)?.latency_us;
    let target = |name, against, unit, bounds, cells, measured| Target {
        name,
        against,
        unit,
        bounds,
        cells,
        measured,
    };
    let p50 = |name: &str| latency(name).map(|latency| latency.p50);
    let p99 = |name: &str| latency(name).map(|latency| latency.p99);
    vec![
        target(
            "REST single, 1 connection, p50",
            "pgbench, 1 client",
            "×",
            Bounds::at_most(1.7, 1.4),
            vec!["rest-1", "pgbench-1"],
            quotient(p50("rest-1"), p50("pgbench-1")),
        ),
        target(
            "p99 at 64 connections",
            "p50 there",
            "×",
            Bounds::at_most(4.0, 2.5),
            vec!["rest-64"],
            quotient(p99("rest-64"), p50("rest-64")),
        ),
        target(
            "SQLite single, 64, p99",
            "",
            " ms",
            Bounds { higher: false, required: None, goal: Some(20.0) },
            vec!["sqlite-rest-64"],
            p99("sqlite-rest-64").map(|micros| micros / 1e3),
        ),
    ]
}

fn memory(cells: &Summaries<'_>) -> Vec<Target> {
    let peak = |wanted: &dyn Fn(&str) -> bool| {
        // the ceilings are not the service
        let is_ceiling = |name: &str| name.starts_with("ceiling-") || name.starts_with("hyper-");
        let names = cells.keys().filter(|name| wanted(name) && !is_ceiling(name));
        let peaks = names.filter_map(|name| cells.get(name)?.peak_memory_bytes);
        peaks.max().map(|bytes| bytes as f64 / MIB)
    };
    let target = |name, bounds, measured| Target {
        name,
        against: "",
        unit: " MiB",
        bounds,
        cells: Vec::new(),
        measured,
    };
    let at_256 = |name: &str| name.contains("-256") && !name.contains("stream");
    vec![
        target("peak memory at 256 connections, 400 B", Bounds::at_most(64.0, 32.0), peak(&at_256)),
        // INGEST_QUEUE_BYTES is 64 MiB by default
        target(
            "peak memory, any cell",
            Bounds { higher: false, required: Some(128.0), goal: None },
            peak(&|_| true),
        ),
    ]
}
