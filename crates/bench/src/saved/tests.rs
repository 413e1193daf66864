use super::comparison::{Compared, Spread, Verdict};
use super::*;
use crate::meter::Latency;
use crate::results::{Cpu, Measurement};

/// Results with these rates of the rounds of each cell.
fn results(cells: &[(&str, &[f64])]) -> Results {
    let measured = |cell: &str, rate: f64| Measurement {
        cell: cell.to_owned(),
        run: "a run".to_owned(),
        events_per_second: rate,
        latency_us: Some(Latency { p50: 1.0, p90: 2.0, p99: 1e6 / rate, p999: 4.0 }),
        cpu_us: Cpu { service: Some(30.0), database: Some(20.0), generator: Some(9.0) },
        ..Measurement::default()
    };
    let measurements = cells
        .iter()
        .flat_map(|(cell, rates)| rates.iter().map(|&rate| measured(cell, rate)))
        .collect();
    Results { facts: vec![("machine".to_owned(), "2 cores".to_owned())], measurements }
}

fn verdicts(comparison: &Comparison) -> Vec<(&str, Verdict)> {
    comparison.cells.iter().map(|cell| (cell.name.as_str(), cell.verdict)).collect()
}

fn cell<'c>(comparison: &'c Comparison, name: &str) -> &'c Compared {
    comparison.cells.iter().find(|cell| cell.name == name).expect(name)
}

#[test]
fn only_rounds_that_do_not_overlap_are_a_change() {
    let baseline = results(&[
        ("rest-64", &[90.0, 100.0, 110.0]),
        ("put-64", &[90.0, 100.0, 110.0]),
        ("get-64", &[90.0, 100.0, 110.0]),
        ("rest-256", &[100.0]),
        ("rest-1", &[100.0, 100.0]),
    ]);
    let now = results(&[
        ("rest-64", &[80.0, 85.0, 92.0]),
        ("put-64", &[70.0, 75.0, 80.0]),
        ("get-64", &[130.0, 111.0, 120.0]),
        ("rest-256", &[10.0]),
        ("mixed-64", &[1.0, 1.0]),
        ("of another build", &[1.0, 1.0]),
    ]);
    let comparison = Comparison::new(&baseline, &now);
    let expected = [
        ("rest-1", Verdict::OnlyInBaseline),
        ("rest-64", Verdict::Noise),
        ("put-64", Verdict::Slower),
        ("get-64", Verdict::Faster),
        ("mixed-64", Verdict::OnlyNow),
        ("rest-256", Verdict::TooFewRounds),
        ("of another build", Verdict::OnlyNow),
    ];
    assert_eq!(verdicts(&comparison), expected);
    let put = cell(&comparison, "put-64");
    assert_eq!(put.ratio(), Some(0.75));
    assert_eq!(put.noise(), Some(Spread { lowest: 70.0 / 110.0, highest: 80.0 / 90.0 }));
    let chance = comparison.expected_by_chance();
    assert!((chance - 0.3).abs() < 1e-9, "three cells with one in ten each: {chance}");
}

#[test]
fn what_changed_as_pgbench_did_is_the_machine() {
    let baseline = results(&[
        ("pgbench-8", &[100.0, 100.0]),
        ("pgbench-32", &[100.0, 100.0]),
        ("rest-64", &[100.0, 101.0]),
        ("put-64", &[100.0, 101.0]),
        ("get-64", &[100.0, 101.0]),
    ]);
    let now = results(&[
        ("pgbench-8", &[70.0, 70.0]),
        ("pgbench-32", &[80.0, 80.0]),
        ("rest-64", &[75.0, 76.0]),
        ("put-64", &[50.0, 51.0]),
        ("get-64", &[120.0, 121.0]),
    ]);
    let comparison = Comparison::new(&baseline, &now);
    assert_eq!(comparison.machine, Some(Spread { lowest: 0.7, highest: 1.0 }));
    let expected = [
        ("pgbench-8", Verdict::Machine),
        ("pgbench-32", Verdict::Machine),
        ("rest-64", Verdict::AsTheMachine),
        ("put-64", Verdict::Slower),
        ("get-64", Verdict::Faster),
    ];
    assert_eq!(verdicts(&comparison), expected);
    let warnings = report::document("a", &baseline, &now, &comparison).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("0.7 to 1 times"), "{warnings:?}");
}

#[test]
fn a_failed_cell_is_not_compared() {
    let baseline = results(&[("rest-64", &[100.0, 101.0])]);
    let mut now = results(&[("rest-64", &[50.0, 51.0])]);
    now.measurements[0].error = Some("it broke".to_owned());
    let comparison = Comparison::new(&baseline, &now);
    assert_eq!(verdicts(&comparison), [("rest-64", Verdict::Failed)]);
    assert_eq!(
        report::document("a", &baseline, &now, &comparison).summary,
        "No cell could be compared."
    );
}

#[test]
fn the_reader_is_told_what_makes_runs_incomparable() {
    let baseline = results(&[("rest-64", &[100.0, 101.0])]);
    let mut now = baseline.clone();
    now.facts[0].1 = "4 cores".to_owned();
    now.measurements[1].run = "a later run".to_owned();
    let comparison = Comparison::new(&baseline, &now);
    let warnings = report::document("a", &baseline, &now, &comparison).warnings.join("\n");
    assert!(warnings.contains("No pgbench or COPY cell"), "{warnings}");
    assert!(warnings.contains("another machine: 2 cores, now 4 cores"), "{warnings}");
    assert!(warnings.contains("of the later run were measured in 2 runs"), "{warnings}");
}

#[test]
fn a_baseline_is_saved_beside_the_results_and_compared() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.json");
    let write = |rates: &[f64]| {
        let results = results(&[("rest-64", rates), ("put-64", &[1.0, 1.0])]);
        std::fs::write(&path, serde_json::to_vec(&results).expect("JSON")).expect("written");
    };
    let arguments = |name: &str| (name.to_owned(), path.clone());
    let compare = |given: &str| {
        let (name, results) = arguments(given);
        super::compare(&CompareArgs { name, results })
    };
    let error = compare("v1.2").expect_err("nothing is saved").to_string();
    assert!(
        error.contains("no baseline \"v1.2\"") && error.ends_with("saved are: none"),
        "{error}"
    );
    write(&[100.0, 102.0]);
    let (name, results) = arguments("v1.2");
    save(&SaveArgs { name, results }).expect("saved");
    write(&[50.0, 52.0]);
    compare("v1.2").expect("compared");
    let read = |name| std::fs::read_to_string(folder.path().join(name)).expect(name);
    let markdown = read("compare-v1.2.md");
    let row = "| rest-64 | 101 | 51 | 0.50 | 0.49 – 0.52 | 1.00 | 1.98 | slower |";
    assert!(markdown.contains(row), "{markdown}");
    assert!(markdown.contains("slower: rest-64 (0.505×); faster: none."), "{markdown}");
    assert!(read("compare-v1.2.html").ends_with("</html>\n"));
    let error = compare("v1.3").expect_err("unknown").to_string();
    assert!(error.ends_with("saved are: v1.2"), "{error}");
}

#[test]
fn a_name_is_a_plain_file_name() {
    assert_eq!(name("v1.2_a-b"), Ok("v1.2_a-b".to_owned()));
    for bad in ["", "../up", "a/b", ".hidden", "a b"] {
        assert!(name(bad).is_err(), "{bad:?}");
    }
}
