//! The runner of sources.

use std::sync::Arc;
use std::time::Duration;

use producer_core::ingest::Limits;
use producer_core::model::LogRange;
use producer_core::store::Store;
use producer_core::worker::{Connector, DeadLetterPlace, DeadLetterState, Role};
use producer_core::{EntityKey, Ingest};
use producer_test_support::Postgres;
use producer_worker::config::SourceKind;
use producer_worker::source::Body;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::stream::{Stream, config};
use crate::support::{Db, migrated, on_both, parts};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the database is away: longer than leases, and than events wait in the queue.
const OUTAGE: Duration = Duration::from_secs(3);

on_both!(
    messages_become_events_in_order,
    poison_becomes_dead_letters_and_the_rest_goes_on,
    what_was_not_acknowledged_comes_again_and_takes_effect_once,
    a_source_pauses_and_resumes,
    one_worker_runs_a_stream_and_another_takes_over,
    workers_share_a_topic,
    a_stream_that_is_away_is_tried_again,
    a_source_that_cant_be_opened_says_so,
    dead_letters_are_tried_again_when_asked,
);

/// Waits until something is so.
async fn until<T: std::fmt::Debug>(look: impl AsyncFn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let began = Instant::now();
    loop {
        let found = look().await;
        if is_so(&found) {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "it stays {found:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

async fn acknowledged(stream: &Stream, count: usize) {
    until(async || stream.acknowledged(), |found| *found == count).await;
}

async fn source(store: &Arc<dyn Store>, name: &str) -> Option<Connector> {
    let found = store.connectors(Role::Source, Some(name)).await;
    found.ok().and_then(|found| found.into_iter().next())
}

/// What failed and is tried again.
async fn retried_error(store: &Arc<dyn Store>) -> Option<String> {
    let found = source(store, "cars").await?;
    found.report.retrying.then_some(found.report.last_error?.detail)
}

/// The version and the document of a car.
async fn car(store: &Arc<dyn Store>, id: &str) -> Option<(u64, String)> {
    let key = EntityKey::new_unchecked("Car", id);
    let entity = store.entity(&key).await.expect("a read");
    entity.map(|entity| (entity.version, entity.data.replace(' ', "")))
}

async fn messages_become_events_in_order(db: Db) {
    let stream = Stream::default();
    for n in 0..600 {
        stream.add_merge(&format!("c{}", n % 3), n);
    }
    let running = stream.run(&config("cars"), db.parts("one"));
    acknowledged(&stream, 600).await;
    for (id, n) in [("c0", 597), ("c1", 598), ("c2", 599)] {
        assert_eq!(car(&db.store, id).await, Some((200, format!(r#"{{"n":{n}}}"#))));
    }
    let caught_up = |found: &Option<Connector>| {
        found
            .as_ref()
            .is_some_and(|found| found.report.caught_up && found.report.waiting == Some(0))
    };
    let found = until(async || source(&db.store, "cars").await, caught_up).await.expect("a source");
    assert_eq!((found.kind.as_str(), found.worker.as_deref()), ("redis-stream", Some("one")));
    assert_eq!((found.report.retrying, found.report.last_error), (false, None));
    let key = EntityKey::new_unchecked("Car", "c0");
    let first = LogRange { after: 0, up_to: 1, descending: false, entries: 1 };
    let log = db.store.log(&key, first).await.expect("a read");
    assert_eq!(log[0].source.as_deref(), Some("cars"), "the source's name");
    running.stop().await;
    assert_eq!(stream.readers(), (1, 1));
    assert_eq!(source(&db.store, "cars").await.expect("a source").worker, None);
}

async fn poison_becomes_dead_letters_and_the_rest_goes_on(db: Db) {
    let stream = Stream::default();
    stream.add_merge("a", 1);
    let broken = Body::Fields(vec![("data".into(), b"{".to_vec()), ("raw".into(), vec![0xff])]);
    stream.add(broken);
    stream.add_event(r#""entityId":"b","exists":true,"updatedAttributes":{}"#);
    stream.add(Body::Gone);
    stream.add(Body::Bytes(vec![b' '; (1 << 20) + 1]));
    stream.add_merge("a", 2);
    let running = stream.run(&config("cars"), db.parts("one"));
    acknowledged(&stream, 6).await;
    assert_eq!(car(&db.store, "a").await, Some((2, r#"{"n":2}"#.into())));
    let mut letters = db.letters().await;
    letters.sort_by_key(|letter| match &letter.letter.place {
        DeadLetterPlace::Message(place) => place.clone(),
        DeadLetterPlace::Change { .. } => String::new(),
    });
    let places = ["cars 1", "cars 2", "cars 3", "cars 4"];
    let errors = ["not valid JSON", "/eventBody/entities/0", "trimmed", "more than 1048576 bytes"];
    assert_eq!(letters.len(), 4, "{letters:?}");
    for ((found, place), error) in letters.iter().zip(places).zip(errors) {
        assert_eq!((found.role, found.connector.as_str()), (Role::Source, "cars"));
        assert_eq!(found.letter.place, DeadLetterPlace::Message(place.into()));
        assert_eq!((found.letter.state, found.letter.tries), (DeadLetterState::Dead, 1));
        assert!(found.letter.error.contains(error), "{found:?}");
    }
    let first = db.store.dead_letter(letters[0].id).await.expect("a read").expect("a letter");
    assert_eq!(first.letter.message, br#"{"data":"{","raw":{"base64":"/w=="}}"#);
    running.stop().await;
}

async fn what_was_not_acknowledged_comes_again_and_takes_effect_once(db: Db) {
    let stream = Stream::default();
    for n in 0..20 {
        stream.add_merge("a", n);
    }
    stream.add(Body::Fields(Vec::new()));
    stream.fail_to_acknowledge(true);
    let running = stream.run(&config("cars"), db.parts("one"));
    let failed = |found: &Option<Connector>| {
        found.as_ref().is_some_and(|found| {
            found.report.retrying && found.dead_letters == 1 && found.report.last_error.is_some()
        })
    };
    until(async || source(&db.store, "cars").await, failed).await;
    until(async || car(&db.store, "a").await, |car| car.as_ref().is_some_and(|car| car.0 == 20))
        .await;
    running.kill().await;
    assert_eq!(stream.acknowledged(), 0);
    stream.fail_to_acknowledge(false);
    let running = stream.run(&config("cars"), db.parts("two"));
    acknowledged(&stream, 21).await;
    assert_eq!(car(&db.store, "a").await, Some((20, r#"{"n":19}"#.into())));
    assert_eq!(db.letters().await.len(), 1);
    running.stop().await;
}

async fn a_source_pauses_and_resumes(db: Db) {
    let stream = Stream::default();
    let running = stream.run(&config("cars"), db.parts("one"));
    stream.add_merge("a", 1);
    acknowledged(&stream, 1).await;
    assert!(db.store.set_paused(Role::Source, "cars", true).await.expect("paused"));
    let began = Instant::now();
    until(async || stream.readers(), |readers| *readers == (1, 1)).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    stream.add_merge("a", 2);
    until(
        async || source(&db.store, "cars").await,
        |found| found.as_ref().is_some_and(|found| !found.report.caught_up),
    )
    .await;
    assert_eq!((stream.acknowledged(), stream.readers()), (1, (1, 1)), "it reads nothing");
    assert!(db.store.set_paused(Role::Source, "cars", false).await.expect("resumed"));
    let began = Instant::now();
    acknowledged(&stream, 2).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    running.stop().await;
}

async fn one_worker_runs_a_stream_and_another_takes_over(db: Db) {
    let stream = Stream::default();
    let run = |worker: &str| stream.run(&config("cars"), db.parts(worker));
    let worker = async || source(&db.store, "cars").await.and_then(|source| source.worker);
    let one = run("one");
    until(&worker, |worker| worker.as_deref() == Some("one")).await;
    let two = run("two");
    stream.add_merge("a", 1);
    acknowledged(&stream, 1).await;
    assert_eq!(stream.readers().0, 1, "the other one waits");
    let began = Instant::now();
    one.stop().await;
    until(&worker, |worker| worker.as_deref() == Some("two")).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let three = run("three");
    two.kill().await;
    until(&worker, |worker| worker.as_deref() == Some("three")).await;
    stream.add_merge("a", 2);
    acknowledged(&stream, 2).await;
    assert_eq!(car(&db.store, "a").await, Some((2, r#"{"n":2}"#.into())));
    three.stop().await;
}

async fn workers_share_a_topic(db: Db) {
    let mut config = config("topic");
    config.kind = SourceKind::Kafka {
        url: producer_worker::config::Secret::from(String::new()),
        topic: "cars".into(),
        group: "producer".into(),
        from: producer_worker::config::SourceStart::Start,
        properties: std::collections::BTreeMap::new(),
    };
    // each has partitions of its own
    let (left, right) = (Stream::default(), Stream::default());
    let running = [(&left, "one"), (&right, "two")]
        .map(|(stream, worker)| stream.run(&config, db.parts(worker)));
    left.add_event(r#""entityId":"l","updatedAttributes":{}"#);
    right.add(Body::Bytes(b"{".to_vec()));
    // the only field of a Kafka message is its value
    until(async || left.acknowledged() + right.acknowledged(), |both| *both == 2).await;
    assert!(db.store.set_paused(Role::Source, "topic", true).await.expect("paused"));
    until(async || (left.readers(), right.readers()), |all| *all == ((1, 1), (1, 1))).await;
    for running in running {
        running.stop().await;
    }
    assert_eq!(db.letters().await.len(), 1);
}

async fn a_stream_that_is_away_is_tried_again(db: Db) {
    let stream = Stream::default();
    stream.fail_to_receive(true);
    let running = stream.run(&config("cars"), db.parts("one"));
    until(
        async || retried_error(&db.store).await,
        |error| error.as_deref() == Some("the stream is away"),
    )
    .await;
    stream.add_merge("a", 1);
    stream.fail_to_receive(false);
    acknowledged(&stream, 1).await;
    let retrying = async || source(&db.store, "cars").await.map(|found| found.report.retrying);
    until(retrying, |retrying| *retrying == Some(false)).await;
    running.stop().await;
}

async fn a_source_that_cant_be_opened_says_so(db: Db) {
    let stream = Stream::default();
    stream.fail_to_open(true);
    let running = stream.run(&config("cars"), db.parts("one"));
    until(
        async || retried_error(&db.store).await,
        |error| error.as_deref() == Some("the settings can't work"),
    )
    .await;
    let began = Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

async fn dead_letters_are_tried_again_when_asked(db: Db) {
    let stream = Stream::default();
    stream.add_event(r#""entityId":"a","exists":true,"updatedAttributes":{"late":true}"#);
    stream.add(Body::Fields(vec![("data".into(), b"[]".to_vec())]));
    let running = stream.run(&config("cars"), db.parts("one"));
    acknowledged(&stream, 2).await;
    db.merge("a", 1).await;
    let asked = db.store.replay_dead_letters((Role::Source, "cars"), 100).await;
    assert_eq!(asked, Ok(2));
    let tried_again = |letters: &[producer_core::worker::DeadLetter]| matches!(letters, [only] if only.letter.state == DeadLetterState::Dead && only.letter.tries == 2);
    let letters = db.letters_become(tried_again).await;
    assert_eq!(letters[0].letter.place, DeadLetterPlace::Message("cars 1".into()));
    let car = car(&db.store, "a").await.expect("a car");
    assert_eq!(car.0, 2, "{car:?}");
    assert!(car.1.contains(r#""late":true"#), "{car:?}");
    running.stop().await;
}

/// The database goes away and comes back while messages come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_is_waited_for() {
    let server = Postgres::own();
    let database = server.fresh_database().await;
    let store = migrated(database.url()).await;
    let limits = Limits {
        queue_events: 20_000,
        queue_bytes: 64 << 20,
        queue_age: Duration::from_secs(1),
        request_timeout: Duration::from_secs(1),
        log_progress_every: 0,
    };
    let ingest = Ingest::start(store.clone(), limits, &Handle::current());
    let stream = Stream::default();
    let running = stream.run(&config("cars"), parts(&store, &ingest, "one"));
    stream.add_merge("a", 0);
    acknowledged(&stream, 1).await;
    server.kill();
    for n in 1..2000 {
        stream.add_merge(&format!("{}", n % 5), n);
    }
    stream.add(Body::Gone);
    sleep(OUTAGE).await;
    assert!(stream.acknowledged() < 2001);
    server.start();
    acknowledged(&stream, 2001).await;
    for (id, n) in [("0", 1995), ("4", 1999)] {
        let (_, document) = car(&store, id).await.expect("a car");
        assert_eq!(document, format!(r#"{{"n":{n}}}"#), "the last one counts");
    }
    let versions: u64 = {
        let mut all = 0;
        for id in ["0", "1", "2", "3", "4"] {
            all += car(&store, id).await.expect("a car").0;
        }
        all
    };
    assert_eq!(versions, 1999, "each took effect once");
    assert_eq!(source(&store, "cars").await.expect("a source").dead_letters, 1);
    running.stop().await;
}
