//! Sinks and what they deliver.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use producer_core::feed::{Change, Start, Types};
use producer_core::model::{Entity, EntityKey, EntryKind, LogEntry, Operation};
use producer_core::{Clock, Timestamp};
use producer_worker::config::{
    Form, Format, Mode, OnDead, Retry, Secret, SinkConfig, SinkKind, TimeUnit,
};
use producer_worker::sink::{Failure, NotDelivered, Sink};
use producer_worker::sinks::webhook::{Resolver, Surroundings, Webhook};
use producer_worker::update::{Cause, Update};
use uuid::Uuid;

/// The base64 of 24 bytes.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The settings of a sink that may reach this machine.
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) secrets: Vec<String>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) timeout: Duration,
    pub(crate) allow_private: bool,
    pub(crate) form: Form,
    pub(crate) batch: usize,
    pub(crate) surroundings: Surroundings,
}

impl Settings {
    pub(crate) fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            secrets: Vec::new(),
            headers: Vec::new(),
            timeout: Duration::from_secs(20),
            allow_private: true,
            form: Form::CloudEvents,
            batch: 1,
            surroundings: Surroundings::system(),
        }
    }

    pub(crate) fn open(self) -> Webhook {
        let secret = |text: &str| Secret::from(text.to_owned());
        let headers = self.headers.iter().map(|&(name, value)| (name.to_owned(), secret(value)));
        let config = SinkConfig {
            name: "partner".into(),
            kind: SinkKind::Webhook {
                url: secret(&self.url),
                secrets: self.secrets.iter().map(|text| secret(text)).collect(),
                headers: headers.collect::<BTreeMap<_, _>>(),
                timeout: self.timeout,
                allow_private: self.allow_private,
            },
            types: Types::default(),
            filter: None,
            from: Start::Now,
            mode: Mode::Log,
            format: Format {
                form: self.form,
                event_type: None,
                timestamp_unit: TimeUnit::Milliseconds,
                cloudevents_source: "/producer".into(),
            },
            batch: self.batch,
            lanes: 16,
            rate: None,
            retry: Retry::default(),
            on_dead: OnDead::Hold,
        };
        Webhook::open(&config, self.surroundings).expect("the settings are good")
    }
}

/// A sink for this URL.
pub(crate) fn open(url: impl Into<String>) -> Webhook {
    Settings::new(url).open()
}

/// Delivers one update, and says what became of it.
pub(crate) async fn deliver(sink: &Webhook, update: Update) -> Result<(), NotDelivered> {
    sink.deliver(&[update]).await?.remove(0)
}

/// The failure of an update that may be delivered later.
pub(crate) async fn failure(sink: &Webhook) -> Failure {
    match deliver(sink, change("o-1", 1)).await {
        Err(NotDelivered::Failed(failure)) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

/// A change of an order.
pub(crate) fn change(id: &str, version: u64) -> Update {
    let key = EntityKey::new_unchecked("Order", id);
    let entry = LogEntry {
        kind: EntryKind::Event,
        uuid: Uuid::from_u128(version.into()),
        ordinal: 0,
        version,
        operation: Operation::Merge,
        created: version == 1,
        event_name: "OrderPaid".into(),
        event_type: None,
        source: None,
        actor: None,
        created_date: None,
        committed: Timestamp::from_micros(1_705_314_605_123_456),
        patch: r#"{"status":"paid"}"#.into(),
    };
    let change = Change::new(Uuid::nil(), version, key, entry);
    Update { cause: Cause::Change(Arc::new(change)), state: Some(state(id, version)) }
}

/// An order as a snapshot has it.
pub(crate) fn snapshot(id: &str, version: u64) -> Update {
    let state = state(id, version);
    Update { cause: Cause::Snapshot(Arc::clone(&state)), state: Some(state) }
}

fn state(id: &str, version: u64) -> Arc<Entity> {
    let moment = Timestamp::from_micros(1_705_314_605_123_456);
    Arc::new(Entity {
        key: EntityKey::new_unchecked("Order", id),
        version,
        created_at: moment,
        updated_at: moment,
        data: r#"{"status":"paid"}"#.into(),
    })
}

/// Surroundings whose clock stands at this second, and whose names all resolve to these addresses.
pub(crate) fn surroundings(seconds: i64, resolver: Arc<dyn Resolver>) -> Surroundings {
    let clock = Clock::from_fn(move || Timestamp::from_micros(seconds * 1_000_000));
    Surroundings { clock, resolver, trusted: Vec::new() }
}

/// Resolves every name to these addresses, or to none, and counts how often.
#[derive(Debug)]
pub(crate) struct Names {
    addresses: Vec<IpAddr>,
    asked: AtomicUsize,
}

impl Names {
    pub(crate) fn at(addresses: &[&str]) -> Arc<Self> {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        Arc::new(Self { addresses, asked: AtomicUsize::new(0) })
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolver for Names {
    fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(self.addresses.clone()) })
    }
}
