//! What the handlers work with.

use std::ops::Deref;
use std::sync::Arc;

use producer_core::ProblemKind;
use producer_server::App;
use producer_server::budget::{self, Lease};

use crate::args::RestArgs;
use crate::body::BodyLimits;
use crate::bulk_report::{Report, ResultsFilter};
use crate::problem::ProblemResponse;

/// The state of the router. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState(Arc<App<RestArgs>>);

impl Deref for AppState {
    type Target = App<RestArgs>;

    fn deref(&self) -> &App<RestArgs> {
        &self.0
    }
}

impl AppState {
    pub(crate) fn new(app: App<RestArgs>) -> Self {
        Self(Arc::new(app))
    }

    pub(crate) fn body_limits(&self) -> BodyLimits {
        BodyLimits {
            bytes: self.settings.common.max_body_bytes,
            timeout: self.settings.body_timeout,
        }
    }

    /// Counts a request towards `MAX_CONCURRENT_REQUESTS` until the lease is dropped.
    pub(crate) fn acquire_slot(&self) -> Result<Lease, ProblemResponse> {
        let too_many = || ProblemResponse::new(ProblemKind::Overloaded, budget::TOO_MANY);
        self.request_slots.acquire_one().ok_or_else(too_many)
    }

    pub(crate) fn report(&self, filter: ResultsFilter) -> Report {
        Report::new(filter, self.settings.common.max_body_bytes)
    }
}
