//! Files that do not fit what the database has, or each other.

use producer_e2e::{
    Binary, Database, Load, RedisTarget, Service, Signal, StreamLog, Worker, eventually,
};

use super::{cache_sink, stream_has_all, stream_sink};

#[tokio::test]
async fn a_name_of_another_kind_is_said_and_others_run() {
    let database = Database::sqlite();
    let redis = RedisTarget::start().await;
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let worker = Worker::start(&database.settings(), &stream_sink("events", &redis)).await;
    worker.runs(&["events"]).await;
    worker.stop().await;

    let config = [cache_sink("events", &redis), stream_sink("others", &redis)].concat();
    let worker = Worker::start(&database.settings(), &config).await;
    let said =
        "the database has a sink of this name and of the kind redis-stream: choose another name";
    eventually("it is said", async || worker.process.log().contains(said)).await;
    let load = Load::start(&[rest.rest().into()], 2, 5);
    load.history().more_done(20).await;
    let history = load.stop().await;
    stream_has_all(&mut StreamLog::new("others"), &redis, &history).await;
    let events = rest.rest().connector("sinks/events").await;
    assert_eq!((&events["kind"], &events["state"]), (&"redis-stream".into(), &"unassigned".into()));
    assert!(redis.cached().await.unwrap().is_empty());
    worker.stop().await;
    rest.stop().await;
}

#[tokio::test]
async fn another_file_is_said() {
    const SAID: &str = "the settings are not those that it ran with before";
    let database = Database::sqlite();
    let redis = RedisTarget::start().await;
    let config = stream_sink("events", &redis);
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let has_reported = async |worker: &Worker| {
        eventually("the worker has reported", async || {
            let sink = rest.rest().connector("sinks/events").await;
            sink["caughtUp"] == true && sink["worker"] == worker.name()
        })
        .await;
    };
    let first = Worker::start(&database.settings(), &config).await;
    has_reported(&first).await;
    let same = Worker::start(&database.settings(), &config).await;
    first.stop().await;
    has_reported(&same).await;
    let other = config.replace("stream = \"events\"", "stream = \"elsewhere\"");
    let other = Worker::start(&database.settings(), &other).await;
    same.process.signal(Signal::TERM);
    other.runs(&["events"]).await;
    eventually("it is said", async || other.process.log().contains(SAID)).await;
    assert!(!same.process.log().contains(SAID));
    other.stop().await;
}
