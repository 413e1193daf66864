//! What is derived from what the database has of a connector, so that both APIs say the same.

use super::connector::{Connector, Role};

/// Whether a connector carries anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorState {
    /// A worker runs it.
    Running,
    /// A worker runs it, and tries a delivery again that failed.
    Retrying,
    /// It was paused, by a user or by itself.
    Paused,
    /// No worker runs it.
    Unassigned,
}

impl ConnectorState {
    /// As answers have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Unassigned => "unassigned",
        }
    }
}

impl Connector {
    /// Whether it carries anything. What was paused stays so whether a worker is there or not.
    pub fn state(&self) -> ConnectorState {
        match (self.paused, &self.worker, self.report.retrying) {
            (true, _, _) => ConnectorState::Paused,
            (false, None, _) => ConnectorState::Unassigned,
            (false, Some(_), true) => ConnectorState::Retrying,
            (false, Some(_), false) => ConnectorState::Running,
        }
    }

    /// Whether nothing more is there for it. A report that is left from a worker that has gone says nothing.
    pub fn is_caught_up(&self) -> bool {
        self.worker.is_some() && self.report.caught_up
    }

    /// Of a sink: positions of the log that are before it, at most so many changes. Of a source: messages that
    /// wait for it, where its kind can tell.
    pub fn lag_changes(&self) -> Option<u64> {
        match self.role {
            Role::Sink => self.lag.map(|lag| lag.changes),
            Role::Source => self.report.waiting,
        }
    }

    /// How long the first of them waits, in seconds to the millisecond.
    pub fn lag_seconds(&self) -> Option<f64> {
        let seconds = match self.role {
            Role::Sink => self.lag.map(|lag| lag.age.as_secs_f64()),
            Role::Source => self.report.waiting_seconds,
        };
        seconds.filter(|seconds| seconds.is_finite()).map(|seconds| (seconds * 1e3).round() / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::worker::{Report, SinkLag};

    fn connector(role: Role, worker: Option<&str>, report: Report) -> Connector {
        Connector {
            role,
            name: "a".into(),
            kind: "stdout".into(),
            paused: false,
            worker: worker.map(Into::into),
            token: None,
            lag: None,
            report,
            dead_letters: 0,
        }
    }

    #[test]
    fn a_pause_counts_before_the_worker_and_the_worker_before_its_report() {
        let report = |retrying| Report { retrying, caught_up: true, ..Report::default() };
        for (worker, retrying, state) in [
            (None, true, ConnectorState::Unassigned),
            (None, false, ConnectorState::Unassigned),
            (Some("w"), true, ConnectorState::Retrying),
            (Some("w"), false, ConnectorState::Running),
        ] {
            let mut connector = connector(Role::Sink, worker, report(retrying));
            assert_eq!(connector.state(), state);
            assert_eq!(connector.is_caught_up(), worker.is_some());
            connector.paused = true;
            assert_eq!(connector.state(), ConnectorState::Paused);
        }
    }

    #[test]
    fn a_sinks_lag_is_the_logs_and_a_sources_is_its_reports() {
        let report =
            Report { waiting: Some(7), waiting_seconds: Some(1.23456), ..Report::default() };
        let source = connector(Role::Source, Some("w"), report.clone());
        assert_eq!((source.lag_changes(), source.lag_seconds()), (Some(7), Some(1.235)));
        let mut sink = connector(Role::Sink, Some("w"), report);
        assert_eq!((sink.lag_changes(), sink.lag_seconds()), (None, None));
        sink.lag = Some(SinkLag { changes: 3, age: Duration::from_micros(2_500_400) });
        assert_eq!((sink.lag_changes(), sink.lag_seconds()), (Some(3), Some(2.5)));
    }
}
