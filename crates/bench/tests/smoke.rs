//! The tool as a developer runs it, with the services of the same build.

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_producer-bench")).args(arguments).output();
    output.expect("the tool starts")
}

/// Its output, both streams.
fn printed(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

/// Measures one cell for a second; returns the measurement and what was printed.
fn measured(cell: &str) -> (serde_json::Value, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_str().expect("UTF-8");
    let line = ["run", "--only", cell, "--rounds", "1", "--seconds", "1", "--output", output];
    let ran = bench(&line);
    assert!(ran.status.success(), "{}", printed(&ran));
    assert!(printed(&ran).contains("[  1/1] round 1 of 1"), "progress: {}", printed(&ran));
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(read("bench.md").contains(&format!("| {cell} |")), "{}", read("bench.md"));
    assert!(read("bench.html").ends_with("</html>\n"));
    let results: serde_json::Value = serde_json::from_str(&read("bench.json")).expect("JSON");
    (results["measurements"][0].clone(), printed(&ran))
}

#[test]
fn rest_on_sqlite_is_measured() {
    let (measurement, printed) = measured("sqlite-rest-1");
    assert!(measurement["error"].is_null(), "{measurement}");
    assert!(measurement["events"].as_u64() > Some(0), "{measurement}");
    assert!(measurement["latency_us"]["p50"].as_f64() > Some(0.0), "{measurement}");
    assert!(measurement["peak_memory_bytes"].as_u64() > Some(1 << 20), "{measurement}");
    assert!(printed.contains("bench.{html,md,json}"), "the paths of the files: {printed}");
}

#[test]
fn the_ceiling_answers_grpc_streams_and_keeps_nothing() {
    let (measurement, _) = measured("ceiling-stream-4x256");
    assert!(measurement["error"].is_null(), "{measurement}");
    assert!(measurement["cpu_us"]["database"].is_null(), "{measurement}");
}

#[test]
fn postgresql_used_directly_is_measured() {
    let (measurement, _) = measured("copy");
    assert!(measurement["error"].is_null(), "{measurement}");
    assert!(measurement["cpu_us"]["database"].as_f64() > Some(0.0), "{measurement}");
}

#[test]
fn requests_to_single_entities_are_measured() {
    let cells = ["mixed-64", "delete-64", "rest-256-match"];
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_str().expect("UTF-8");
    let mut line = vec!["run", "--rounds", "1", "--seconds", "1", "--output", output];
    line.extend(cells.iter().flat_map(|cell| ["--only", cell]));
    let ran = bench(&line);
    assert!(ran.status.success(), "{}", printed(&ran));
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect(name);
    let results: serde_json::Value = serde_json::from_str(&read("bench.json")).expect("JSON");
    let measurements = results["measurements"].as_array().expect("measurements");
    assert_eq!(measurements.len(), cells.len());
    for measured in measurements {
        assert!(measured["events"].as_u64() > Some(0), "{measured}");
    }
    assert!(read("bench.md").contains("## Conditional writes\n"), "{}", read("bench.md"));
    let conditional = measurements.iter().find(|measured| measured["cell"] == "rest-256-match");
    let met = conditional.and_then(|measured| measured["preconditions"]["met"].as_u64());
    assert!(met > Some(0), "{conditional:?}");
    let saved = format!("{output}/bench.json");
    let saved = ["--results", saved.as_str()];
    for command in ["save", "compare"] {
        let ran = bench(&[&[command, "first"], &saved[..]].concat());
        assert!(ran.status.success(), "{}", printed(&ran));
    }
    assert!(read("compare-first.md").contains("| mixed-64 |"), "{}", read("compare-first.md"));
}

#[test]
fn an_overload_counts_refused_and_unsent_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_str().expect("UTF-8");
    let line = ["overload", "rest", "--rounds", "1", "--seconds", "1", "--saturated-by", "4"];
    // a queue of one event, so that many are refused
    let more = ["--bound", "64", "--set", "INGEST_QUEUE_EVENTS=1", "--output", output];
    let ran = bench(&[&line[..], &more].concat());
    assert!(ran.status.success(), "{}", printed(&ran));
    assert!(printed(&ran).contains("[ 5/5]"), "{}", printed(&ran));
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect(name);
    assert!(read("overload.html").ends_with("</html>\n"));
    assert!(read("overload.md").contains("| REST, 3 × the rate |"), "{}", read("overload.md"));
    let results: serde_json::Value = serde_json::from_str(&read("overload.json")).expect("JSON");
    let overload = &results["measurements"][4];
    assert!(overload["offered_per_second"].as_f64() > Some(0.0), "{overload}");
    assert!(overload["admission"]["refused"].as_u64() > Some(0), "{overload}");
    assert!(overload["admission"]["since_due_us"]["p99"].as_f64() > Some(0.0), "{overload}");
}

#[test]
fn the_change_feed_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_str().expect("UTF-8");
    let cells = ["copy", "backlog", "delivery-small", "idle-0", "history"];
    let mut line = vec!["changes", "--rows", "1000", "--rounds", "1", "--seconds", "1"];
    line.extend(cells.iter().flat_map(|cell| ["--only", cell]));
    let ran = bench(&[&line[..], &["--output", output]].concat());
    assert!(ran.status.success(), "{}", printed(&ran));
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect(name);
    let results: serde_json::Value = serde_json::from_str(&read("changes.json")).expect("JSON");
    let of = |cell: &str| {
        let measurements = results["measurements"].as_array().expect("measurements");
        measurements.iter().find(|measured| measured["cell"] == cell).cloned().expect("a cell")
    };
    assert_eq!((&of("copy")["events"], &of("backlog")["events"]), (&100.into(), &100.into()));
    assert!(of("delivery-small")["latency_us"]["p99"].as_f64() > Some(0.0), "{results}");
    assert!(of("idle-0")["peak_memory_bytes"].as_u64() > Some(1 << 20), "{results}");
    assert!(of("history")["events"].as_u64() > Some(0), "{results}");
    assert!(read("changes.md").contains("| backlog by NDJSON | COPY"), "{}", read("changes.md"));
    let rendered = bench(&["report", &format!("{output}/changes.json")]);
    assert!(rendered.status.success(), "{}", printed(&rendered));
    let unknown = bench(&["changes", "--only", "backlogs"]);
    assert!(printed(&unknown).contains("unknown cell \"backlogs\""), "{}", printed(&unknown));
}

#[test]
fn finding_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_str().expect("UTF-8");
    let cells = [
        "pgbench-list",
        "list",
        "pgbench-indexed",
        "indexed",
        "indexed-large",
        "unindexed",
        "gets-scans",
        "types",
        "pgbench-search",
        "search",
        "writes-building",
        "sqlite-ingest-indexes",
    ];
    let mut line = vec!["finding", "--entities", "2000", "--large", "20000", "--rounds", "1"];
    line.extend(cells.iter().flat_map(|cell| ["--only", cell]));
    let ran = bench(&[&line[..], &["--seconds", "1", "--output", output]].concat());
    assert!(ran.status.success(), "{}", printed(&ran));
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect(name);
    let results: serde_json::Value = serde_json::from_str(&read("finding.json")).expect("JSON");
    let measurements = results["measurements"].as_array().expect("measurements");
    assert_eq!(measurements.len(), cells.len());
    for measured in measurements {
        assert!(measured["latency_us"]["p99"].as_f64() > Some(0.0), "{measured}");
    }
    assert!(read("finding.md").contains("| page of 100 by id"), "{}", read("finding.md"));
    let rendered = bench(&["report", &format!("{output}/finding.json")]);
    assert!(rendered.status.success(), "{}", printed(&rendered));
    let without = bench(&["finding", "--only", "list-large"]);
    assert!(printed(&without).contains("list-large needs --large"), "{}", printed(&without));
}

#[test]
fn the_cpu_of_the_statement_is_measured() {
    let ran = bench(&["statement", "--rounds", "1", "--seconds", "1", "--batch", "8"]);
    assert!(ran.status.success(), "{}", printed(&ran));
    let printed = printed(&ran);
    let median = printed.lines().find_map(|line| line.strip_prefix("median:")).expect("a median");
    let cpu: f64 = median.split_whitespace().next().expect("a value").parse().expect("a number");
    assert!(cpu > 1.0, "{printed}");
}

#[test]
fn an_unknown_cell_is_an_error() {
    let ran = bench(&["run", "--only", "rest-65"]);
    assert!(!ran.status.success());
    assert!(printed(&ran).contains("unknown cell \"rest-65\""), "{}", printed(&ran));
}

#[test]
fn the_worker_is_measured() {
    let cells = [
        "kafka",
        "redis",
        "bulk",
        "opensearch",
        "webhooks",
        "ndjson",
        "source",
        "memory",
        "delivery",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().to_str().expect("UTF-8");
    let mut line = vec!["worker", "--changes", "10000", "--seconds", "1", "--output", output];
    line.extend(cells.iter().flat_map(|cell| ["--only", cell]));
    let ran = bench(&line);
    assert!(ran.status.success(), "{}", printed(&ran));
    let results = std::fs::read(folder.path().join("worker.json")).expect("worker.json");
    let results: serde_json::Value = serde_json::from_slice(&results).expect("JSON");
    let measured = results["measurements"].as_array().expect("measurements");
    assert_eq!(measured.len(), cells.len(), "{}", printed(&ran));
    for measurement in measured {
        assert!(measurement["events"].as_u64() > Some(0), "{measurement}");
    }
}

#[test]
fn every_cell_is_listed() {
    let listed = printed(&bench(&["list"]));
    for cell in ["rest-64  (quick)", "rest-64-grown", "backlog-large", "indexed-large", "debezium"]
    {
        assert!(listed.contains(&format!("  {cell}\n")), "{cell}: {listed}");
    }
}
