//! Which faults come, and when: a plan that its seed repeats.

use std::fmt;
use std::time::Duration;

use crate::random::Random;
use crate::scene::Kind;

const SECOND: Duration = Duration::from_secs(1);

/// What is done to the database, or to the network before it, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseFault {
    /// Stopped as by an operator, and started again.
    Stopped,
    /// SIGKILL to every process, started again.
    Killed,
    /// SIGSTOP to every process.
    Frozen,
    /// Connections stay open, and nothing passes.
    Silent,
    /// Everything takes 60 ms longer, either way.
    Slow,
    /// Every connection is reset, again and again.
    Resets,
    /// The server ends every session, again and again.
    SessionsEnded,
    /// A foreign session holds a row that many events are for.
    RowHeld,
    /// A foreign session holds the whole table.
    TableHeld,
    /// A foreign process holds SQLite's file.
    FileHeld,
}

impl DatabaseFault {
    fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Postgres => &[
                Self::Stopped,
                Self::Killed,
                Self::Frozen,
                Self::Silent,
                Self::Slow,
                Self::Resets,
                Self::SessionsEnded,
                Self::RowHeld,
                Self::TableHeld,
            ],
            Kind::Sqlite => &[Self::FileHeld],
        }
    }
}

/// What is done to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceFault {
    /// SIGKILL, and started again.
    Killed,
    /// SIGTERM; it must end in peace; started again.
    Told,
    /// SIGSTOP for the rest of the time.
    Frozen,
}

/// Which services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Rest,
    Grpc,
    Both,
}

/// One fault or two at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blow {
    /// Before it.
    pub(crate) pause: Duration,
    /// How long it lasts.
    pub(crate) lasts: Duration,
    pub(crate) database: Option<DatabaseFault>,
    pub(crate) service: Option<(ServiceFault, Target)>,
    /// When the service's part comes.
    pub(crate) service_after: Duration,
}

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s of:", self.lasts.as_secs_f64())?;
        if let Some(fault) = self.database {
            write!(f, " database {fault:?}")?;
        }
        if let Some((fault, target)) = self.service {
            let after = self.service_after.as_secs_f64();
            write!(f, " service {target:?} {fault:?} after {after:.1} s")?;
        }
        Ok(())
    }
}

/// The faults of a run, one after the other.
pub(crate) struct Plan {
    random: Random,
    kind: Kind,
}

impl Plan {
    pub(crate) fn new(seed: u64, kind: Kind) -> Self {
        Self { random: Random::new(seed), kind }
    }

    /// Of three blows one is for the database, one for a service, one for both.
    pub(crate) fn next_blow(&mut self) -> Blow {
        let random = &mut self.random;
        let what = random.below(3);
        let fault = random.of(DatabaseFault::of(self.kind));
        let service = random.of(&[ServiceFault::Killed, ServiceFault::Told, ServiceFault::Frozen]);
        let target = random.of(&[Target::Rest, Target::Grpc, Target::Both]);
        let lasts = random.between(SECOND / 10, 5 * SECOND);
        // a frozen service answers late, which isn't its fault
        let lasts = if what > 0 && service == ServiceFault::Frozen { lasts / 2 } else { lasts };
        Blow {
            pause: random.between(SECOND, 5 * SECOND),
            lasts,
            database: (what != 1).then_some(fault),
            service: (what != 0).then_some((service, target)),
            service_after: random.between(Duration::ZERO, lasts),
        }
    }
}
