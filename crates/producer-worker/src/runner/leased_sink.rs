//! A sink whose lease this worker has.

use std::sync::Arc;

use producer_core::worker::{Control, LastError, Report};
use tokio_util::sync::CancellationToken;

use super::lease::Held;
use super::parts::Parts;
use crate::config::SinkConfig;
use crate::metrics::ConnectorMetrics;
use crate::sink::Sink;

/// A sink whose lease this worker has.
pub(super) struct LeasedSink {
    pub(super) config: Arc<SinkConfig>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) parts: Parts,
    pub(super) metrics: ConnectorMetrics,
    pub(super) held: Held,
    pub(super) shutdown: CancellationToken,
    /// A digest of the settings.
    pub(super) settings: String,
}

impl LeasedSink {
    pub(super) fn warn(&self, what: &str, detail: &str) {
        tracing::warn!(sink = self.config.name, detail, "{what}");
    }

    /// What is asked of the sink.
    pub(super) fn control(&self) -> Control {
        self.held.control().borrow().clone()
    }

    /// Puts down how the sink is while it does not run.
    pub(super) fn report_idle(&self, retrying: bool, last_error: Option<&LastError>) {
        let (last_error, settings) = (last_error.cloned(), Some(self.settings.clone()));
        self.held.report(Report { retrying, last_error, settings, ..Report::default() });
    }
}
