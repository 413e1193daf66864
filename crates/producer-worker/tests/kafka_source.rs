//! The Kafka source against a real broker.

mod kafka_support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kafka_support::PATIENCE;
use kafka_support::reading::*;
use producer_test_support::Kafka;
use producer_worker::config::SourceStart::{Now, Start};
use tokio::time::sleep;

/// Set for the process that [`a_killed_member`] is in.
const MEMBER: &str = "PRODUCER_TEST_KAFKA_MEMBER";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_contiguous_and_settled_is_committed() {
    let kafka = Kafka::shared();
    kafka.create_topic("contiguous", 1, &[]).await;
    send(kafka, "contiguous", 0, &texts("m", 10)).await;
    let mut source = source(&kafka.url(), "contiguous", "contiguous", Start, &[]);
    source.check().await.expect("the topic is there");
    let messages = receive(&mut source, 10).await;
    assert_eq!(messages.iter().map(text).collect::<Vec<_>>(), texts("m", 10));
    assert_eq!(
        (messages[3].place.stream.as_str(), messages[3].place.id.as_str()),
        ("contiguous/0", "3")
    );
    let places = places(&messages);
    let group = Group::new(kafka, "contiguous", "contiguous", 1);
    source.acknowledge(&places[..2]).await.expect("noted");
    group.reaches(&[(0, 2)]).await;
    source.acknowledge(&places[3..9]).await.expect("noted");
    let lag = source.lag().await.expect("a lag");
    assert_eq!(lag.messages, 8);
    assert!(lag.age.is_some_and(|age| age < PATIENCE), "{lag:?}");
    source.acknowledge(&places[2..3]).await.expect("noted");
    group.reaches(&[(0, 9)]).await;
    source.acknowledge(&places[9..]).await.expect("noted");
    assert_eq!(source.lag().await.map(|lag| (lag.messages, lag.age)), Some((0, None)));
    source.close().await;
    assert_eq!(group.committed().get(&0), Some(&10), "closing commits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_settled_comes_again() {
    let kafka = Kafka::shared();
    kafka.create_topic("again", 1, &[]).await;
    send(kafka, "again", 0, &texts("m", 4)).await;
    let mut first = source(&kafka.url(), "again", "again", Start, &[]);
    let messages = receive(&mut first, 4).await;
    first.acknowledge(&places(&messages)[..2]).await.expect("noted");
    first.close().await;
    let mut second = source(&kafka.url(), "again", "again", Start, &[]);
    let messages = receive(&mut second, 2).await;
    assert_eq!(messages.iter().map(text).collect::<Vec<_>>(), ["m-2", "m-3"]);
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_from_now_skips_nothing_that_comes_later() {
    let kafka = Kafka::shared();
    kafka.create_topic("now", 2, &[]).await;
    send(kafka, "now", 0, &texts("old", 3)).await;
    let mut first = source(&kafka.url(), "now", "now", Now, &[]);
    let group = Group::new(kafka, "now", "now", 2);
    let begun = async {
        // polls it until it has joined
        let deadline = Instant::now() + PATIENCE;
        while tokio::task::block_in_place(|| group.committed()).is_empty() {
            assert!(Instant::now() < deadline, "the group has not begun");
            let _ = first.receive(10).await;
        }
    };
    begun.await;
    group.reaches(&[(0, 3), (1, 0)]).await;
    send(kafka, "now", 0, &texts("new", 2)).await;
    assert_eq!(text(&receive(&mut first, 1).await[0]), "new-0");
    // nothing is settled yet, and this comes while nobody reads
    first.close().await;
    send(kafka, "now", 1, &texts("meanwhile", 1)).await;
    let mut second = source(&kafka.url(), "now", "now", Now, &[]);
    let mut received: Vec<_> = receive(&mut second, 3).await.iter().map(text).collect();
    received.sort();
    assert_eq!(received, ["meanwhile-0", "new-0", "new-1"]);
    second.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_does_not_receive_stays_a_member_and_rebalances_go_on() {
    const MESSAGES: usize = 6_000;
    let kafka = Kafka::shared();
    kafka.create_topic("slow", 2, &[]).await;
    for partition in 0..2 {
        send(kafka, "slow", partition, &texts(&format!("p{partition}"), MESSAGES)).await;
    }
    // a member that did not poll for 6 s would be thrown out
    let limits = [("session.timeout.ms", "6000"), ("max.poll.interval.ms", "6000")];
    let mut slow = source(&kafka.url(), "slow", "slow", Start, &limits);
    let mut settled = receive(&mut slow, 1).await;
    slow.acknowledge(&places(&settled)).await.expect("noted");
    sleep(Duration::from_secs(8)).await;
    // it still is a member: a second one gets one of the partitions, and soon
    let mut quick = source(&kafka.url(), "slow", "slow", Start, &limits);
    let begun = Instant::now();
    let theirs = receive(&mut quick, MESSAGES).await;
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    quick.acknowledge(&places(&theirs)).await.expect("noted");
    let stream = &theirs[0].place.stream;
    assert!(theirs.iter().all(|message| message.place.stream == *stream), "one of two partitions");
    settled.extend(theirs);
    // what the slow one has is complete, with nothing left out where it was paused
    while settled.len() < 2 * MESSAGES {
        let received = receive(&mut slow, 1).await;
        slow.acknowledge(&places(&received)).await.expect("noted");
        settled.extend(received);
        let more = slow.receive(500).await.expect("messages");
        slow.acknowledge(&places(&more)).await.expect("noted");
        settled.extend(more);
    }
    let mut offsets: Vec<_> = settled.iter().map(|message| at(&message.place)).collect();
    offsets.sort_unstable();
    offsets.dedup();
    assert_eq!(offsets.len(), 2 * MESSAGES);
    slow.close().await;
    quick.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_revoked_partitions_old_owner_settles_late_is_not_committed() {
    let kafka = Kafka::shared();
    kafka.create_topic("revoked", 2, &[]).await;
    for partition in 0..2 {
        send(kafka, "revoked", partition, &texts("m", 20)).await;
    }
    let mut old = source(&kafka.url(), "revoked", "revoked", Start, &[]);
    // some of both partitions, which it settles far too late
    let messages = receive(&mut old, 40).await;
    let mut new = source(&kafka.url(), "revoked", "revoked", Start, &[]);
    let theirs = receive(&mut new, 20).await;
    let (moved, _) = at(&theirs[0].place);
    new.acknowledge(&places(&theirs)).await.expect("noted");
    let group = Group::new(kafka, "revoked", "revoked", 2);
    group.reaches(&[(moved, 20)]).await;
    // first those of the partition that it has lost, then all of the other
    let (late, own): (Vec<_>, Vec<_>) =
        places(&messages).into_iter().partition(|place| at(place).0 == moved);
    old.acknowledge(&late[..10]).await.expect("ignored");
    old.acknowledge(&own).await.expect("noted");
    group.reaches(&[(moved, 20), (1 - moved, 20)]).await;
    old.close().await;
    new.close().await;
    assert_eq!(group.committed().get(&moved), Some(&20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstones_are_empty_messages() {
    let kafka = Kafka::shared();
    kafka.create_topic("tombstones", 1, &[]).await;
    let producer: rdkafka::producer::FutureProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", kafka.url())
        .create()
        .expect("a producer");
    let record = rdkafka::producer::FutureRecord::<str, [u8]>::to("tombstones").key("Order/o-1");
    producer.send(record, PATIENCE).await.expect("sent");
    let mut source = source(&kafka.url(), "tombstones", "tombstones", Start, &[]);
    assert_eq!(text(&receive(&mut source, 1).await[0]), "");
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_topic_is_a_failure_until_it_is_created() {
    let kafka = Kafka::shared();
    let mut source = source(&kafka.url(), "absent", "absent", Start, &[]);
    let expected = "Kafka has no topic absent: create it";
    assert_eq!(source.check().await.expect_err("no topic").detail, expected);
    let deadline = Instant::now() + PATIENCE;
    let failure = loop {
        assert!(Instant::now() < deadline, "no failure");
        match source.receive(10).await {
            Ok(messages) => assert!(messages.is_empty()),
            Err(failure) => break failure,
        }
    };
    assert_eq!(failure.detail, expected);
    kafka.create_topic("absent", 1, &[]).await;
    send(kafka, "absent", 0, &texts("m", 1)).await;
    assert_eq!(text(&receive(&mut source, 1).await[0]), "m-0");
    source.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_members_messages_are_taken_over_within_30_seconds() {
    let kafka = Kafka::shared();
    kafka.create_topic("killed", 2, &[]).await;
    for partition in 0..2 {
        send(kafka, "killed", partition, &texts("m", 5)).await;
    }
    let mut member = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "a_killed_member", "--nocapture"])
        .env(MEMBER, kafka.url())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let lines = BufReader::new(member.stdout.take().expect("its output")).lines();
    let has_all = lines.map_while(Result::ok).any(|line| line.contains("received all"));
    assert!(has_all, "the member ended");
    member.kill().expect("killed");
    member.wait().expect("ended");

    let mut source = source(&kafka.url(), "killed", "killed", Start, &[]);
    let begun = Instant::now();
    let messages = receive(&mut source, 10).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    source.acknowledge(&places(&messages)).await.expect("noted");
    source.close().await;
    let group = Group::new(kafka, "killed", "killed", 2);
    group.reaches(&[(0, 5), (1, 5)]).await;
}

/// The member of the test above, in a process of its own.
#[tokio::test]
async fn a_killed_member() {
    let Ok(url) = std::env::var(MEMBER) else { return };
    let mut source = source(&url, "killed", "killed", Start, &[]);
    receive(&mut source, 10).await;
    println!("received all");
    loop {
        let _ = source.receive(10).await;
    }
}
