use super::*;

fn round(cell: &str, rate: f64, error: Option<&str>) -> Measurement {
    Measurement {
        cell: cell.to_owned(),
        run: "a run".to_owned(),
        events_per_second: rate,
        peak_memory_bytes: Some(rate as u64),
        error: error.map(str::to_owned),
        ..Measurement::default()
    }
}

#[test]
fn a_summary_is_the_median_of_the_valid_rounds() {
    let measurements = vec![
        round("a", 10.0, None),
        round("b", 1.0, None),
        round("a", 30.0, None),
        round("a", 20.0, None),
        round("a", 0.1, Some("it broke")),
    ];
    let results = Results { measurements, ..Results::default() };
    let summaries = results.summaries();
    let summary = &summaries["a"];
    assert_eq!((summary.rounds, summary.events_per_second), (3, 20.0));
    assert_eq!(summary.range, (10.0, 30.0));
    assert_eq!(summary.peak_memory_bytes, Some(30), "memory is the largest peak");
    assert_eq!(summary.error.as_deref(), Some("it broke"));
}

#[test]
fn results_are_read_back_and_a_cell_can_be_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench");
    let json = path.with_extension("json");
    assert!(Results::read(&json).measurements.is_empty());
    let measurements = vec![round("a", 10.0, None), round("b", 1.0, None)];
    Results { measurements, ..Results::default() }
        .write(&path, &Document::default())
        .expect("written");
    let mut back = Results::read(&json);
    back.remove("a");
    assert_eq!(back.summaries().keys().copied().collect::<Vec<_>>(), ["b"]);
}
