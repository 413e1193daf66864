//! From an event to its change: events at a constant rate, and readers that get all of them.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::logs::Log;
use super::setup::{Setup, service};
use crate::cells::{Interface, cell};
use crate::events::{self, Keys, Size, Template};
use crate::generator::{Connection, Followers, Schedule, connect, is_success, to_text};
use crate::measure::Times;
use crate::meter::Meter;
use crate::postgres::Database;
use crate::results::Measurement;
use crate::{Result, procfs};

/// Connections that write.
const CONNECTIONS: usize = 64;
/// Events per second where the rate is fixed.
const FIXED_RATE: f64 = 1000.0;
/// The readers of [`fan_out`].
const MANY_READERS: usize = 200;
/// The number of an event is the end of its entity's key: one in this many.
const NUMBERS: u64 = 1_000_000_000;
/// What comes before a key in the JSON of a change.
const BEFORE_KEY: &[u8] = br#""entityId":"loan-"#;

/// One reader, at half of the rate that saturates the service.
pub(super) async fn at_half_load(setup: &mut Setup) -> Result<Measurement> {
    let saturated = setup.bench.measure(&cell(Interface::Single, CONNECTIONS)).await;
    if let Some(error) = saturated.error {
        return Err(error.into());
    }
    let database = setup.empty_log().await?;
    let rate = saturated.events_per_second / 2.0;
    measure_and_drop(setup, database, Load { rate, readers: 1 }).await
}

/// One reader, at a fixed rate, behind the rows of a filled log.
pub(super) async fn behind(setup: &mut Setup, log: Log) -> Result<Measurement> {
    let database = setup.log(log).await?;
    measure(setup, &database, Load { rate: FIXED_RATE, readers: 1 }).await
}

/// Many readers, at a fixed rate.
pub(super) async fn fan_out(setup: &mut Setup) -> Result<Measurement> {
    let database = setup.empty_log().await?;
    measure_and_drop(setup, database, Load { rate: FIXED_RATE, readers: MANY_READERS }).await
}

/// What the service has to do.
#[derive(Debug, Clone, Copy)]
struct Load {
    /// Events per second.
    rate: f64,
    /// Readers of all of them.
    readers: usize,
}

async fn measure_and_drop(setup: &Setup, database: Database, load: Load) -> Result<Measurement> {
    let measurement = measure(setup, &database, load).await?;
    setup.postgres()?.drop_database(database).await?;
    Ok(measurement)
}

/// Writes at the load's rate for the time of a cell, then waits until every reader has everything.
async fn measure(setup: &Setup, database: &Database, load: Load) -> Result<Measurement> {
    let service = service(database).await?;
    let (process, address) = (service.process()?, service.address());
    let (writes, deliveries, sent) = (Meter::new()?, Meter::new()?, Sent::default());
    let readers = {
        let (deliveries, sent) = (deliveries.clone(), sent.clone());
        let each = move |change: &[u8]| sent.note_delivery(change, &deliveries);
        Followers::start(address, load.readers, &writes, each).await?
    };
    let Times { warm_up, measured } = setup.bench.times;
    let mut writers = Writers::start(address, load.rate, &writes, &sent).await?;
    sleep(warm_up).await;
    writes.open();
    deliveries.open();
    let before = setup.bench.usage(Some(process))?;
    sleep(measured).await;
    writers.stop().await?;
    readers.catch_up(writes.acknowledged()).await?;
    let delivered = deliveries.events();
    let measurement = setup.bench.since(&before, delivered, Some(process))?;
    let peak_memory_bytes = Some(procfs::peak_memory(process)?);
    drop(readers);
    service.stop().await?;
    Ok(Measurement {
        latency_us: deliveries.latency(),
        offered_per_second: Some(load.rate),
        admission: Some(writes.admission()),
        peak_memory_bytes,
        error: writes.error(),
        ..measurement
    })
}

/// When each event was sent, by its number. Cheap to clone; for one thread.
#[derive(Clone, Default)]
struct Sent(Rc<RefCell<Vec<Instant>>>);

impl Sent {
    /// The number of the next event, which is sent now.
    fn next(&self, now: Instant) -> u64 {
        let mut times = self.0.borrow_mut();
        times.push(now);
        times.len() as u64 - 1
    }

    fn time(&self, number: u64) -> Option<Instant> {
        self.0.borrow().get(usize::try_from(number).ok()?).copied()
    }

    /// Times the delivery of a change since its event was sent.
    fn note_delivery(&self, change: &[u8], deliveries: &Meter) {
        if let Some(sent) = number_of(change).and_then(|number| self.time(number)) {
            deliveries.read(sent.into());
        }
    }
}

/// The number of the event of a change.
fn number_of(change: &[u8]) -> Option<u64> {
    let at = change.windows(BEFORE_KEY.len()).position(|part| part == BEFORE_KEY)?;
    let key = &change[at + BEFORE_KEY.len()..];
    let digits = &key[..key.iter().position(|&byte| byte == b'"')?];
    let key: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(key % NUMBERS)
}

/// Clients that write at a constant rate together.
struct Writers {
    tasks: JoinSet<()>,
    stopped: Rc<Cell<bool>>,
}

impl Writers {
    async fn start(address: SocketAddr, rate: f64, meter: &Meter, sent: &Sent) -> Result<Self> {
        let connections = connect(address, CONNECTIONS).await?;
        let mut writers = Self { tasks: JoinSet::new(), stopped: Rc::default() };
        let schedule = Schedule::new(Some(rate), meter);
        for connection in connections {
            let (meter, sent, schedule) = (meter.clone(), sent.clone(), schedule.clone());
            let stopped = Rc::clone(&writers.stopped);
            writers.tasks.spawn_local(write(connection, schedule, meter, sent, stopped));
        }
        Ok(writers)
    }

    /// Sends nothing more, and waits for the last responses.
    async fn stop(&mut self) -> Result<()> {
        self.stopped.set(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

async fn write(
    mut connection: Connection,
    schedule: Schedule,
    meter: Meter,
    sent: Sent,
    stopped: Rc<Cell<bool>>,
) {
    let event = events::json(Keys::New, Size::Base);
    let request = events::request("/api/v1/events", "application/json", &event);
    let mut template = Template::new(request, Keys::New, crate::next_seed());
    let mut random = Rng::with_seed(crate::next_seed());
    let numbers = Keys::New.numbers();
    loop {
        let time = schedule.next().await;
        if stopped.get() {
            return;
        }
        // anywhere among the keys, as new ones are
        let place = random.u64(numbers.start / NUMBERS + 1..numbers.end / NUMBERS);
        let key = place * NUMBERS + sent.next(time.sent);
        match connection.call(template.with_key(key)).await {
            Ok(response) if is_success(&response) => meter.success(time, 1),
            Ok(response) => meter.record_error(|| to_text(&response)),
            Err(error) => return meter.record_error(|| format!("connection error: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_timed_from_when_its_event_was_sent() {
        let (sent, deliveries) = (Sent::default(), Meter::new().expect("a meter"));
        deliveries.open();
        let second = std::time::Duration::from_secs(1);
        assert_eq!([sent.next(Instant::now()), sent.next(Instant::now() - second)], [0, 1]);
        let change = |key: &str| {
            format!(r#"{{"kind":"change","token":"AZ","entityType":"Loan","entityId":"{key}","#)
        };
        for unknown in ["loan-5000000000000000002", "car-1", "loan-x"] {
            sent.note_delivery(change(unknown).as_bytes(), &deliveries);
        }
        assert_eq!(deliveries.events(), 0);
        sent.note_delivery(change("loan-5000000000000000001").as_bytes(), &deliveries);
        assert_eq!(deliveries.events(), 1);
        assert!(deliveries.latency().is_some_and(|latency| latency.p50 >= 999_000.0));
    }
}
