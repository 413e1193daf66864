//! Latency second by second, as k6's web dashboard records it (`K6_WEB_DASHBOARD_RECORD`). k6's other
//! outputs have a line for each request and metric, which costs it more CPU than the requests.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::Result;

/// The metric that has the time of a snapshot, in Unix milliseconds.
const TIME: &str = "time";

/// The latency of the calls that ended in a second, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    /// The end of the second, in seconds from the first phase.
    pub(super) at: f64,
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

/// A line of the record.
#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    data: Value,
}

/// What the columns of a snapshot are. Snapshots have the values of all metrics that are known so far,
/// in the order of their names.
#[derive(Debug, Default)]
struct Columns {
    metrics: BTreeSet<String>,
    /// The values of a trend by their names.
    trend: BTreeMap<String, usize>,
}

/// The seconds in which calls ended; `started` is the beginning of the first phase in Unix
/// milliseconds. None without the file, which a k6 before 0.49 does not write.
///
/// # Errors
/// The file is not a record.
pub(super) fn read(file: &Path, metric: &str, started: i64) -> Result<Vec<Moment>> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&text, metric, started),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn parse(text: &str, metric: &str, started: i64) -> Result<Vec<Moment>> {
    let mut columns = Columns::default();
    let mut moments = Vec::new();
    for line in text.lines() {
        let Line { event, data } = serde_json::from_str(line)?;
        match event.as_str() {
            "param" => columns.set_trend(&data),
            "metric" => columns.add(&data),
            "snapshot" => {
                let snapshot: Vec<Vec<f64>> = serde_json::from_value(data)?;
                moments.extend(columns.moment(&snapshot, metric, started));
            }
            _ => {}
        }
    }
    Ok(moments)
}

impl Columns {
    fn set_trend(&mut self, data: &Value) {
        let names = data["aggregates"]["trend"].as_array().into_iter().flatten();
        let names = names.filter_map(Value::as_str).map(str::to_owned);
        self.trend = names.zip(0..).collect();
    }

    fn add(&mut self, data: &Value) {
        self.metrics.extend(data.as_object().into_iter().flatten().map(|(name, _)| name.clone()));
    }

    /// `None` for a second in which no call ended, which has zeros.
    fn moment(&self, snapshot: &[Vec<f64>], metric: &str, started: i64) -> Option<Moment> {
        let values = |metric: &str| {
            let index = self.metrics.iter().position(|name| name == metric)?;
            snapshot.get(index)
        };
        let trend = values(metric)?;
        let value = |name| trend.get(*self.trend.get(name)?).copied();
        let at = (values(TIME)?.first()? - started as f64) / 1e3;
        let moment = Moment { at, p50: value("med")?, p95: value("p(95)")?, p99: value("p(99)")? };
        (at > 0.0 && moment.p99 > 0.0).then_some(moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As k6 1.1 writes it, without most of the metrics.
    const RECORD: &str = r#"{"event":"param","data":{"period":1000,"aggregates":{"counter":["count","rate"],"trend":["avg","max","med","min","p(90)","p(95)","p(99)"]}}}
{"event":"metric","data":{"time":{"type":"gauge","contains":"time"}}}
{"event":"start","data":[[1795937956000]]}
{"event":"metric","data":{"http_req_duration":{"type":"trend"},"iterations":{"type":"counter"}}}
{"event":"cumulative","data":[[9,9,9,9,9,9,9],[9,9],[1795937957000]]}
{"event":"snapshot","data":[[1,8,2,0.1,4,5,7],[30,30],[1795937957000]]}
{"event":"metric","data":{"errors":{"type":"rate"},"vus":{"type":"gauge"}}}
{"event":"snapshot","data":[[0],[1,9,3,0.1,5,6,8],[40,40],[1795937958000],[10]]}
{"event":"snapshot","data":[[0],[0,0,0,0,0,0,0],[0,0],[1795937959000],[10]]}
{"event":"stop","data":[[1795937960000]]}"#;

    #[test]
    fn snapshots_with_calls_are_moments() {
        let moments = parse(RECORD, "http_req_duration", 1_795_937_956_500).expect("a record");
        assert_eq!(
            moments,
            [
                Moment { at: 0.5, p50: 2.0, p95: 5.0, p99: 7.0 },
                Moment { at: 1.5, p50: 3.0, p95: 6.0, p99: 8.0 },
            ]
        );
    }

    #[test]
    fn another_metric_and_a_missing_file_have_no_moments_and_another_file_is_an_error() {
        assert_eq!(parse(RECORD, "grpc_req_duration", 0).expect("a record"), []);
        assert!(parse("no record", "http_req_duration", 0).is_err());
        let missing = tempfile::tempdir().expect("a folder").path().join("k6.ndjson");
        assert_eq!(read(&missing, "http_req_duration", 0).expect("no moments"), []);
    }
}
