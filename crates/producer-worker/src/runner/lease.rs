//! The right to run a connector, renewed beside the work.
//!
//! A lease ends in the database by the database's clock. Here it ends by the monotonic clock, counted from
//! before the last renewal that succeeded was sent: so it always ends here first.

use std::sync::Arc;
use std::time::Duration;

use producer_core::query::ReadError;
use producer_core::worker::{Control, Lease, Report, Role, WorkerStore};
use producer_telemetry::log_rate::LogRate;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

static TAKE_RATE: LogRate = LogRate::new();
static RENEW_RATE: LogRate = LogRate::new();

/// How long leases last, and how often the database is asked.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTimes {
    /// A lease ends so long after its last renewal.
    pub duration: Duration,
    /// The pause between two renewals.
    pub renew_every: Duration,
    /// The pause between two attempts to take a lease, on average.
    pub take_every: Duration,
    /// For so long one call of [`take`] tries.
    pub take_for: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            renew_every: Duration::from_secs(1),
            take_every: Duration::from_millis(500),
            take_for: Duration::from_secs(10),
        }
    }
}

/// Who wants to run which connector, and where that is agreed.
#[derive(Clone)]
pub struct Claim {
    /// The database.
    pub store: Arc<dyn WorkerStore>,
    /// The connector.
    pub role: Role,
    /// The connector.
    pub name: String,
    /// The worker's name, as users see it.
    pub worker: String,
    /// How long and how often.
    pub times: LeaseTimes,
}

/// A right to run a connector. Dropping it stops the renewals, so that it ends by itself.
pub struct Held {
    claim: Claim,
    lease: Option<Lease>,
    control: watch::Receiver<Control>,
    report: watch::Sender<Report>,
    /// When it ends, unless it is renewed.
    deadline: watch::Receiver<Instant>,
    lost: CancellationToken,
    stop: DropGuard,
    renewals: JoinHandle<()>,
}

/// Takes a connector's lease, and renews it until that is released. `None` where another worker has it all the
/// time, where the connector is not known (any more), or when `shutdown` is cancelled.
pub async fn take(claim: &Claim, shutdown: &CancellationToken) -> Option<(Lease, Held)> {
    let give_up = Instant::now() + claim.times.take_for;
    while !shutdown.is_cancelled() {
        let asked = Instant::now();
        // not dropped by a shutdown: what it took would be held until it ends by itself
        match try_take(claim).await {
            Ok(Some(lease)) => {
                let deadline = asked + claim.times.duration;
                return Some((lease.clone(), Held::begin(claim, Some(lease), deadline)));
            }
            Ok(None) => {}
            Err(error) => {
                if let Some(omitted) = TAKE_RATE.try_log() {
                    let (name, role) = (&claim.name, claim.role.as_str());
                    tracing::warn!(connector = name, role, %error, omitted, "a lease can't be taken now");
                }
            }
        }
        if Instant::now() >= give_up {
            break;
        }
        let pause = claim.times.take_every.mul_f64(0.5 + fastrand::f64());
        let _ = shutdown.run_until_cancelled(sleep(pause)).await;
    }
    None
}

/// Reports on a connector that several workers run at once, as [`take`] does with a lease. It is lost only where
/// the connector is not known any more.
pub fn share(claim: &Claim) -> Held {
    Held::begin(claim, None, Instant::now())
}

async fn try_take(claim: &Claim) -> Result<Option<Lease>, ReadError> {
    let Claim { store, role, name, worker, times } = claim;
    store.take(*role, name, worker, times.duration).await
}

impl Held {
    fn begin(claim: &Claim, lease: Option<Lease>, deadline: Instant) -> Self {
        let first = lease.as_ref().map(|lease| lease.control.clone()).unwrap_or_default();
        let (control_sender, control) = watch::channel(first);
        let (report, report_receiver) = watch::channel(Report::default());
        let (deadline_sender, deadline) = watch::channel(deadline);
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let renewals = Renewals {
            claim: claim.clone(),
            lease: lease.clone(),
            control: control_sender,
            report: report_receiver,
            deadline: deadline_sender,
            lost: lost.clone(),
            stop: stop.clone(),
        };
        Self {
            claim: claim.clone(),
            lease,
            control,
            report,
            deadline,
            lost,
            stop: stop.drop_guard(),
            renewals: tokio::spawn(renewals.run()),
        }
    }

    /// What is asked of the connector, as of the last renewal.
    pub fn control(&self) -> watch::Receiver<Control> {
        self.control.clone()
    }

    /// Cancelled when another worker may run the connector.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Whether no other worker may run the connector at this moment: also right before the renewals have
    /// noticed, such as after the process was frozen.
    pub fn is_held(&self) -> bool {
        let is_over = self.lease.is_some() && Instant::now() >= *self.deadline.borrow();
        !is_over && !self.lost.is_cancelled()
    }

    /// Sets what the next renewals say of the connector.
    pub fn report(&self, report: Report) {
        self.report.send_replace(report);
    }

    /// Ends the lease, so that another worker can go on at once. Takes as long as a lease at most.
    pub async fn release(self) {
        drop(self.stop);
        let _ = self.renewals.await;
        let Some(lease) = self.lease.filter(|_| !self.lost.is_cancelled()) else { return };
        let released = timeout(self.claim.times.duration, self.claim.store.release(&lease)).await;
        if let Ok(Err(error)) = released {
            let Claim { role, name, .. } = &self.claim;
            tracing::debug!(connector = name, role = role.as_str(), %error, "a lease ends by itself");
        }
    }
}

struct Renewals {
    claim: Claim,
    lease: Option<Lease>,
    control: watch::Sender<Control>,
    report: watch::Receiver<Report>,
    deadline: watch::Sender<Instant>,
    lost: CancellationToken,
    stop: CancellationToken,
}

impl Renewals {
    async fn run(self) {
        // of a connector without a lease the first call learns what is asked of it
        let mut next = match self.lease {
            Some(_) => self.next(),
            None => Instant::now(),
        };
        while self.stop.run_until_cancelled(sleep_until(next)).await.is_some() {
            if !self.renew().await {
                self.lost.cancel();
                let (name, role) = (&self.claim.name, self.claim.role.as_str());
                tracing::warn!(connector = name, role, "another worker may run this connector now");
                return;
            }
            next = self.next();
        }
    }

    /// When to renew next: at the end of the lease at the latest, to notice that.
    fn next(&self) -> Instant {
        let next = Instant::now() + self.claim.times.renew_every;
        if self.lease.is_some() { next.min(*self.deadline.borrow()) } else { next }
    }

    /// False where the right to run the connector is over.
    async fn renew(&self) -> bool {
        let asked = Instant::now();
        let deadline = *self.deadline.borrow();
        let renewed = match self.lease {
            Some(_) => timeout_at(deadline, self.ask()).await,
            None => Ok(self.ask().await),
        };
        match renewed {
            Ok(Ok(Some(control))) => {
                self.deadline.send_replace(asked + self.claim.times.duration);
                self.control.send_if_modified(|known| {
                    let is_new = *known != control;
                    *known = control;
                    is_new
                });
                true
            }
            Ok(Ok(None)) | Err(_) => false,
            Ok(Err(error)) => {
                if let Some(omitted) = RENEW_RATE.try_log() {
                    let (name, role) = (&self.claim.name, self.claim.role.as_str());
                    tracing::warn!(connector = name, role, %error, omitted, "a lease can't be renewed now");
                }
                self.lease.is_none() || Instant::now() < deadline
            }
        }
    }

    async fn ask(&self) -> Result<Option<Control>, ReadError> {
        let Claim { store, role, name, worker, times } = &self.claim;
        let report = self.report.borrow().clone();
        match &self.lease {
            Some(lease) => store.renew(lease, times.duration, &report).await,
            None => store.report_shared(*role, name, worker, times.duration, &report).await,
        }
    }
}
