//! Clients that write at a constant rate, and note when they sent what: so the delivery of its change is timed.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use fastrand::Rng;
use tokio::task::JoinSet;

use super::http::Connection;
use super::rest::{connect, is_success, to_text};
use super::schedule::Schedule;
use crate::Result;
use crate::events::{self, Keys, Size, Template};
use crate::meter::Meter;

/// Connections that write.
const CONNECTIONS: usize = 64;
/// The number of an event is the end of its entity's key: one in this many.
const NUMBERS: u64 = 1_000_000_000;
/// What comes before a key in the JSON of a change.
const BEFORE_KEY: &[u8] = br#""entityId":"loan-"#;

/// When each event was sent, by its number. Cheap to clone; for one thread.
#[derive(Clone, Default)]
pub(crate) struct Sent(Rc<RefCell<Vec<Instant>>>);

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
    pub(crate) fn note_delivery(&self, change: &[u8], deliveries: &Meter) {
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
pub(crate) struct Writers {
    tasks: JoinSet<()>,
    stopped: Rc<Cell<bool>>,
}

impl Writers {
    /// Connects, and begins to write new entities.
    pub(crate) async fn start(
        address: SocketAddr,
        rate: f64,
        meter: &Meter,
        sent: &Sent,
    ) -> Result<Self> {
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
    pub(crate) async fn stop(&mut self) -> Result<()> {
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
