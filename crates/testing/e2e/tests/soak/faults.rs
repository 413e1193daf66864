//! The plan of the faults, which a seed repeats.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::environment::Kind;
use crate::random::Random;

const SECOND: Duration = Duration::from_secs(1);
/// A lease lasts for 10 s.
const FROZEN_WORKER: Duration = Duration::from_secs(16);
const FROZEN_WRITER: Duration = Duration::from_millis(2500);

const SINK_FAULTS: &[SinkFault] = &[
    SinkFault::StreamKilled,
    SinkFault::StreamFrozen,
    SinkFault::CacheKilled,
    SinkFault::CacheFrozen,
    SinkFault::CacheFlushed,
    SinkFault::TopicKilled,
    SinkFault::TopicFrozen,
    SinkFault::IndexKilled,
    SinkFault::IndexFrozen,
    SinkFault::IndexDeleted,
];

/// A temporary fault of the database, or of the network in front of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseFault {
    /// Stopped (fast shutdown), then started.
    Stopped,
    /// SIGKILL to every process, then started.
    Killed,
    /// SIGSTOP to every process.
    Frozen,
    /// Connections stay open, but no data passes.
    Stalled,
    /// 60 ms of latency in each direction.
    Slow,
    /// Every connection is reset repeatedly.
    Resets,
    /// Every session is terminated repeatedly.
    SessionsEnded,
    /// Killed for good while a synchronous standby runs, which is promoted.
    FailedOver,
    /// Another session locks a row that many events update.
    RowLocked,
    /// Another session locks the whole table.
    TableLocked,
    /// Another process locks SQLite's file.
    FileLocked,
}

impl DatabaseFault {
    fn for_database(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Postgres => &[
                Self::Stopped,
                Self::Killed,
                Self::Frozen,
                Self::Stalled,
                Self::Slow,
                Self::Resets,
                Self::SessionsEnded,
                Self::FailedOver,
                Self::RowLocked,
                Self::TableLocked,
            ],
            Kind::Sqlite => &[Self::FileLocked],
        }
    }
}

/// A temporary fault of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceFault {
    /// SIGKILL, then started.
    Killed,
    /// SIGTERM with exit status 0, then started.
    Terminated,
    /// SIGSTOP for the rest of the injection.
    Frozen,
}

/// A temporary fault of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkerFault {
    pub(crate) fault: ServiceFault,
    /// Which one.
    pub(crate) worker: usize,
    /// For so long it is frozen.
    pub(crate) duration: Duration,
}

/// A temporary fault of a sink's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SinkFault {
    /// SIGKILL, then started with all that it acknowledged.
    StreamKilled,
    /// SIGSTOP.
    StreamFrozen,
    /// SIGKILL, then started without anything.
    CacheKilled,
    /// SIGSTOP.
    CacheFrozen,
    /// `FLUSHALL`.
    CacheFlushed,
    /// SIGKILL to Kafka, then started with all that it acknowledged.
    TopicKilled,
    /// SIGSTOP.
    TopicFrozen,
    /// SIGKILL to OpenSearch, then started with all that it acknowledged.
    IndexKilled,
    /// SIGSTOP.
    IndexFrozen,
    /// Its indexes are deleted.
    IndexDeleted,
}

/// The services of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Rest,
    Grpc,
    Both,
    /// The other two services on the same database, which only readers use.
    Others,
}

impl Target {
    fn for_database(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Postgres => &[Self::Rest, Self::Grpc, Self::Both, Self::Others],
            Kind::Sqlite => &[Self::Rest, Self::Grpc, Self::Both],
        }
    }

    /// Their places among all services.
    pub(crate) fn services(self) -> Range<usize> {
        match self {
            Self::Rest => 0..1,
            Self::Grpc => 1..2,
            Self::Both => 0..2,
            Self::Others => 2..4,
        }
    }
}

/// Some faults at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Injection {
    /// The pause before it.
    pub(crate) pause: Duration,
    /// Its duration.
    pub(crate) duration: Duration,
    pub(crate) database: Option<DatabaseFault>,
    pub(crate) service: Option<(ServiceFault, Target)>,
    /// When the service's and the worker's fault begin.
    pub(crate) service_after: Duration,
    pub(crate) worker: Option<WorkerFault>,
    pub(crate) sink: Option<SinkFault>,
}

impl fmt::Display for Injection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s of:", self.duration.as_secs_f64())?;
        if let Some(fault) = self.database {
            write!(f, " database {fault:?}")?;
        }
        if let Some((fault, target)) = self.service {
            let after = self.service_after.as_secs_f64();
            write!(f, " service {target:?} {fault:?} after {after:.1} s")?;
        }
        if let Some(WorkerFault { fault, worker, duration }) = self.worker {
            write!(f, " worker {worker} {fault:?}")?;
            if fault == ServiceFault::Frozen {
                write!(f, " for {:.1} s", duration.as_secs_f64())?;
            }
        }
        if let Some(fault) = self.sink {
            write!(f, " sink {fault:?}")?;
        }
        Ok(())
    }
}

/// The sequence of injections of a run.
pub(crate) struct Plan {
    random: Random,
    kind: Kind,
}

impl Plan {
    pub(crate) fn new(seed: u64, kind: Kind) -> Self {
        Self { random: Random::new(seed), kind }
    }

    /// A third are for the database, a third for a service, a third for both. A third are also for a worker, and
    /// half for the target of a sink.
    pub(crate) fn next(&mut self) -> Injection {
        let random = &mut self.random;
        let what = random.below(3);
        let fault = random.choose(DatabaseFault::for_database(self.kind));
        let service =
            random.choose(&[ServiceFault::Killed, ServiceFault::Terminated, ServiceFault::Frozen]);
        let target = random.choose(Target::for_database(self.kind));
        let duration = random.between(SECOND / 10, 5 * SECOND);
        // a frozen service responds late, so it is frozen for less than the limit
        let duration =
            if what > 0 && service == ServiceFault::Frozen { duration / 2 } else { duration };
        Injection {
            pause: random.between(SECOND, 5 * SECOND),
            duration,
            database: (what != 1).then_some(fault),
            service: (what != 0).then_some((service, target)),
            service_after: random.between(Duration::ZERO, duration),
            worker: random.percent(33).then(|| Self::worker_fault(random, self.kind)),
            sink: random.percent(50).then(|| random.choose(SINK_FAULTS)),
        }
    }

    /// On PostgreSQL a worker is also frozen for longer than its leases last. One that is frozen may hold the
    /// lock of SQLite's file, which keeps all others from writing.
    fn worker_fault(random: &mut Random, kind: Kind) -> WorkerFault {
        let longest = if kind == Kind::Postgres { FROZEN_WORKER } else { FROZEN_WRITER };
        let faults = [ServiceFault::Killed, ServiceFault::Terminated, ServiceFault::Frozen];
        WorkerFault {
            fault: random.choose(&faults),
            worker: random.below(2) as usize,
            duration: random.between(SECOND / 10, longest),
        }
    }
}
