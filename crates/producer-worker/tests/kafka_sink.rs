//! The Kafka sink against a real broker.

mod kafka_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kafka_support::*;
use producer_test_support::Kafka;
use producer_worker::config::Form;
use producer_worker::sink::NotDelivered;

#[tokio::test]
async fn a_change_is_a_record_with_a_cloud_event_in_binary_mode() {
    let kafka = Kafka::shared();
    kafka.create_topic("Order", 3, &[]).await;
    let sink = sink(kafka, &Settings::default());
    sink.check().await.expect("it can be reached");
    let updates =
        [change("Order", "o-1", 1, 5), change("Order", "o-2", 1, 5), deletion("Order", "o-1", 2)];
    let results = sink.deliver(&updates).await.expect("delivered");
    assert_eq!(words(&results), ["delivered"; 3]);

    let records = records(kafka, "Order").await;
    let of_first: Vec<_> = records.iter().filter(|record| record.key == "Order/o-1").collect();
    let [created, deleted, tombstone] = of_first.as_slice() else { panic!("{records:?}") };
    let expected = [
        ("ce_id", "00000000-0000-0000-0000-000000000001/0"),
        ("ce_partitionkey", "Order/o-1"),
        ("ce_sequence", "00000000000000000001"),
        ("ce_source", "/producer"),
        ("ce_specversion", "1.0"),
        ("ce_subject", "Order/o-1"),
        ("ce_time", "2024-01-15T10:30:05.123456Z"),
        ("ce_type", "producer.entity.created"),
        ("content-type", "application/json"),
    ];
    let headers: Vec<_> =
        created.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(headers, expected);
    let value = created.value.as_deref().expect("a value");
    let value: serde_json::Value = serde_json::from_str(value).expect("JSON");
    assert_eq!((&value["kind"], &value["data"]["n"]), (&"change".into(), &1.into()));
    assert_eq!(deleted.headers["ce_type"], "producer.entity.deleted");
    assert!(deleted.value.is_some());
    assert_eq!(tombstone.value, None, "a compacted topic forgets the entity");
    let partitions = of_first.iter().map(|record| record.partition);
    assert!(partitions.clone().all(|partition| Some(partition) == partitions.clone().next()));
}

#[tokio::test]
async fn the_plain_form_is_the_value_and_tombstones_can_be_off() {
    let kafka = Kafka::shared();
    kafka.create_topic("Plain", 1, &[]).await;
    let settings = Settings { form: Form::Plain, tombstones: false, ..Settings::default() };
    let sink = sink(kafka, &settings);
    let updates = [change("Plain", "p-1", 1, 5), deletion("Plain", "p-1", 2)];
    sink.deliver(&updates).await.expect("delivered");
    let records = records(kafka, "Plain").await;
    let values: Vec<serde_json::Value> = records
        .iter()
        .map(|record| {
            serde_json::from_str(record.value.as_deref().expect("a value")).expect("JSON")
        })
        .collect();
    let types: Vec<_> = values.iter().map(|value| &value["event_type"]).collect();
    assert_eq!(types, ["plain.created", "plain.deleted"]);
    assert!(records.iter().all(|record| record.headers.is_empty()));
}

#[tokio::test]
async fn forbidden_characters_of_topics_are_replaced() {
    let kafka = Kafka::shared();
    let entity_type = "Größe/m²";
    let update = change(entity_type, "g-1", 1, 5);
    let topic = template("by.{type}").topic((&update).into());
    assert!(topic.starts_with("by.Gr__e_m_-"), "{topic}");
    kafka.create_topic(&topic, 1, &[]).await;
    let sink = sink(kafka, &Settings { topic: "by.{type}", ..Settings::default() });
    let results = sink.deliver(&[update]).await.expect("delivered");
    assert_eq!(words(&results), ["delivered"]);
    assert_eq!(records(kafka, &topic).await[0].key, "Größe/m²/g-1");
}

#[tokio::test]
async fn an_unknown_topic_waits_until_it_is_created() {
    let kafka = Kafka::shared();
    kafka.create_topic("Known", 1, &[]).await;
    let sink = sink(kafka, &Settings::default());
    let updates =
        [change("Known", "k-1", 1, 5), change("Later", "l-1", 1, 5), change("Later", "l-1", 2, 5)];
    let results = sink.deliver(&updates).await.expect("one is delivered");
    assert_eq!(words(&results), ["delivered", "failed", "failed"]);
    let Err(NotDelivered::Failed(failure)) = &results[1] else { panic!("{results:?}") };
    assert_eq!(failure.detail, "Kafka has no topic Later: create it");
    let failure = sink.deliver(&updates[1..]).await.expect_err("none is delivered");
    assert_eq!(failure.detail, "Kafka has no topic Later: create it");

    kafka.create_topic("Later", 1, &[]).await;
    let results = sink.deliver(&updates[1..]).await.expect("delivered");
    assert_eq!(words(&results), ["delivered"; 2]);
    assert_eq!(versions(&records(kafka, "Later").await, "Later/l-1"), [1, 2]);
}

#[tokio::test]
async fn what_is_too_large_for_the_producer_is_refused_before_what_is_behind_it() {
    let kafka = Kafka::shared();
    kafka.create_topic("Local", 1, &[]).await;
    let sink = sink(
        kafka,
        &Settings { properties: &[("message.max.bytes", "20000")], ..Settings::default() },
    );
    let updates = [
        change("Local", "a", 1, 5),
        change("Local", "b", 1, 5),
        change("Local", "a", 2, 15_000),
        change("Local", "a", 3, 5),
        change("Local", "b", 2, 5),
    ];
    let results = sink.deliver(&updates).await.expect("some are delivered");
    assert_eq!(words(&results), ["delivered", "delivered", "refused", "failed", "delivered"]);
    let Err(NotDelivered::Refused { detail, message }) = &results[2] else { panic!("{results:?}") };
    assert_eq!(detail, "Kafka refuses the record: Broker: Message size too large");
    let message: serde_json::Value = serde_json::from_slice(message).expect("JSON");
    assert_eq!(message["version"], 2);
    let records = records(kafka, "Local").await;
    assert_eq!(
        (versions(&records, "Local/a"), versions(&records, "Local/b")),
        (vec![1], vec![1, 2])
    );
}

#[tokio::test]
async fn what_is_too_large_for_the_topic_is_found_among_others() {
    let kafka = Kafka::shared();
    kafka.create_topic("Topic", 1, &[("max.message.bytes", "20000")]).await;
    let sink = sink(kafka, &Settings::default());
    let stop = Arc::new(AtomicBool::new(false));
    // other deliveries, whose records share batches with these
    let beside = {
        let (sink, stop) = (Arc::clone(&sink), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut version = 0;
            while !stop.load(Ordering::Relaxed) {
                let updates: Vec<_> =
                    (1..=20).map(|next| change("Topic", "beside", version + next, 5)).collect();
                let results = sink.deliver(&updates).await.expect("nothing is wrong with these");
                assert_eq!(words(&results), ["delivered"; 20]);
                version += 20;
            }
            version
        })
    };
    for round in 0..5 {
        let id = format!("t-{round}");
        let mut updates: Vec<_> =
            (1..=40).map(|version| change("Topic", &id, version, 5)).collect();
        updates[19] = change("Topic", &id, 20, 15_000);
        updates.extend((1..=40).map(|version| change("Topic", &format!("u-{round}"), version, 5)));
        let results = sink.deliver(&updates).await.expect("some are delivered");
        let words = words(&results);
        assert_eq!(words[..19], ["delivered"; 19]);
        assert_eq!(words[19], "refused", "{:?}", results[19]);
        assert_eq!(words[20..40], ["failed"; 20]);
        assert_eq!(words[40..], ["delivered"; 40]);
        // it is a dead letter now, and `on_dead = "continue"` goes on behind it
        let results = sink.deliver(&updates[20..40]).await.expect("the rest is delivered");
        assert_eq!(self::words(&results), ["delivered"; 20]);
    }
    stop.store(true, Ordering::Relaxed);
    let last = beside.await.expect("no panic");
    let records = records(kafka, "Topic").await;
    assert_in_order(&versions(&records, "Topic/beside"), last);
    for round in 0..5 {
        assert_in_order(&versions(&records, &format!("Topic/u-{round}")), 40);
        let mut seen = versions(&records, &format!("Topic/t-{round}"));
        assert!(!seen.contains(&20), "{seen:?}");
        // as if the refused one did not exist
        seen.iter_mut().for_each(|version| *version -= u64::from(*version > 20));
        assert_in_order(&seen, 39);
    }
}

#[tokio::test]
async fn a_delivery_may_be_larger_than_the_queue() {
    let kafka = Kafka::shared();
    kafka.create_topic("Queue", 2, &[]).await;
    let properties = [("queue.buffering.max.messages", "7")];
    let sink = sink(kafka, &Settings { properties: &properties, ..Settings::default() });
    let deliver = |id: &'static str| {
        let sink = Arc::clone(&sink);
        async move {
            let updates: Vec<_> =
                (1..=100).map(|version| change("Queue", id, version, 5)).collect();
            let results = sink.deliver(&updates).await.expect("delivered");
            assert_eq!(words(&results), ["delivered"; 100]);
        }
    };
    tokio::join!(deliver("a"), deliver("b"), deliver("c"));
    let records = records(kafka, "Queue").await;
    for key in ["Queue/a", "Queue/b", "Queue/c"] {
        assert_in_order(&versions(&records, key), 100);
    }
}

#[tokio::test]
async fn failures_have_no_password() {
    let kafka = Kafka::shared();
    let properties = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanisms", "PLAIN"),
        ("sasl.username", "shop"),
        ("sasl.password", "correct-horse-battery"),
    ];
    let sink =
        sink(kafka, &Settings { topic: "secret", properties: &properties, ..Settings::default() });
    for failure in [
        sink.check().await.expect_err("the broker takes no password"),
        sink.deliver(&[change("Secret", "s", 1, 5)]).await.expect_err("not delivered"),
    ] {
        assert!(failure.detail.starts_with("Kafka does not answer: "), "{failure}");
        assert!(!format!("{failure:?}").contains("correct-horse"), "{failure:?}");
    }
}
