//! What the receiver's answers do.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use producer_test_support::free_port;
use producer_worker::sink::{Failure, NotDelivered, Sink};

use crate::receiver::{Raw, Received, Receiver};
use crate::sinks::{Names, SECRET, Settings, change, deliver, failure, open, surroundings};

fn with_text(status: u16, text: impl Into<String>) -> Response {
    let mut response = Received::answer(status);
    *response.body_mut() = axum::body::Body::from(text.into());
    response
}

#[tokio::test]
async fn success_is_delivered() {
    for status in [200, 201, 202, 204, 299] {
        let receiver = Receiver::answering(status).await;
        assert_eq!(deliver(&open(receiver.url()), change("o-1", 1)).await, Ok(()), "{status}");
    }
}

#[tokio::test]
async fn a_refused_message_is_kept() {
    for status in [400, 409, 413, 415, 422] {
        let text = format!("no\nsuch\x1b order {}", "é".repeat(200));
        let receiver = Receiver::start(move |_| with_text(status, text.clone())).await;
        let refused = deliver(&open(receiver.url()), change("o-1", 1)).await;
        let Err(NotDelivered::Refused { detail, message }) = refused else {
            panic!("{status}: {refused:?}")
        };
        let start = format!("127.0.0.1:{} answered {status} ", receiver.port());
        assert!(detail.starts_with(&start), "{detail}");
        let text = detail.split_once(": ").unwrap().1;
        assert!(text.starts_with("no such order éé") && text.len() <= 200, "{detail}");
        assert_eq!(message, receiver.received()[0].body);
    }
}

#[tokio::test]
async fn everything_else_is_tried_again() {
    for status in [300, 304, 401, 403, 404, 408, 418, 429, 500, 501, 502, 503, 504, 599] {
        let receiver = Receiver::answering(status).await;
        let failure = failure(&open(receiver.url())).await;
        assert!(failure.detail.contains(&format!(" answered {status}")), "{failure}");
        assert_eq!((failure.retry_after, failure.pauses), (None, false), "{status}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_pauses_the_sink() {
    let receiver = Receiver::answering(410).await;
    let failure = failure(&open(receiver.url())).await;
    let detail = format!("127.0.0.1:{} answered 410 Gone", receiver.port());
    assert_eq!(failure, Failure { pauses: true, ..Failure::new(detail) });
}

#[tokio::test]
async fn the_receiver_may_ask_for_a_pause() {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let now = 784_111_777;
    for (status, text, seconds) in [
        (429, "7", Some(7)),
        (503, "7", Some(7)),
        (503, "Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        (429, "86400", Some(3600)),
        (429, "Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
        (429, "soon", None),
        (500, "7", None),
    ] {
        let receiver = Receiver::start(move |_| {
            let mut answer = Received::answer(status);
            answer.headers_mut().insert("retry-after", text.parse().unwrap());
            answer
        });
        let receiver = receiver.await;
        let surroundings = surroundings(now, Names::at(&[]));
        let sink = Settings { surroundings, ..Settings::new(receiver.url()) }.open();
        let failure = failure(&sink).await;
        assert_eq!(failure.retry_after, seconds.map(Duration::from_secs), "{status} {text}");
    }
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let receiver = Receiver::answering(204).await;
    let mut update = change("o-1", 1);
    let text = "é".repeat(4 * 1024 * 1024);
    let mut state = update.state.as_deref().cloned().unwrap();
    state.data = format!("{{\"text\":\"{text}\"}}");
    update.state = Some(Arc::new(state));
    assert_eq!(deliver(&open(receiver.url()), update).await, Ok(()));
    let received = receiver.received()[0].json();
    assert!(received["data"]["data"]["text"] == text.as_str());
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Receiver::answering(204).await;
    let to = format!("http://localhost:{}/there?token=hidden", elsewhere.port());
    for status in [301, 302, 303, 307, 308] {
        let to = to.clone();
        let receiver = Receiver::start(move |_| {
            let mut answer = with_text(status, "moved");
            answer.headers_mut().insert("location", to.parse().unwrap());
            answer
        });
        let receiver = receiver.await;
        let failure = failure(&open(receiver.url())).await;
        let end = ": redirects are not followed; this one goes to localhost";
        assert!(failure.detail.ends_with(end), "{failure}");
        assert!(failure.detail.contains(&format!(" answered {status} ")), "{failure}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn no_answer_within_the_time_is_a_failure() {
    // it accepts connections, and reads and answers nothing
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let timeout = Duration::from_millis(200);
    let sink = Settings { timeout, ..Settings::new(format!("http://{address}")) }.open();
    let before = tokio::time::Instant::now();
    let failure = failure(&sink).await;
    assert_eq!(failure, Failure::new(format!("no answer from {address} within 200ms")));
    assert!(before.elapsed() >= timeout);
}

#[tokio::test]
async fn an_answer_without_the_end_of_its_body_counts() {
    let timeout = Duration::from_millis(200);
    let raw = Raw::start(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegins").await;
    let sink = Settings { timeout, ..Settings::new(raw.url()) }.open();
    assert_eq!(deliver(&sink, change("o-1", 1)).await, Ok(()));
    let raw = Raw::start(b"HTTP/1.1 500 Oh\r\nContent-Length: 1000\r\n\r\nbegins").await;
    let sink = Settings { timeout, ..Settings::new(raw.url()) }.open();
    let detail = format!("{} answered 500 Internal Server Error: begins", raw.address);
    assert_eq!(failure(&sink).await, Failure::new(detail));
}

#[tokio::test]
async fn a_body_without_end_is_not_read_on() {
    let endless = |status| {
        Receiver::start(move |_| {
            let parts = futures_util::stream::repeat_with(|| {
                Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b'a'; 4096]))
            });
            let mut answer = Received::answer(status);
            *answer.body_mut() = axum::body::Body::from_stream(parts);
            answer
        })
    };
    let receiver = endless(200).await;
    assert_eq!(deliver(&open(receiver.url()), change("o-1", 1)).await, Ok(()));
    let receiver = endless(500).await;
    let failure = failure(&open(receiver.url())).await;
    assert!(failure.detail.ends_with(&"a".repeat(200)), "{failure}");
}

#[tokio::test]
async fn broken_connections_are_failures() {
    let closed = format!("127.0.0.1:{}", free_port());
    let refused = failure(&open(format!("http://{closed}"))).await;
    let start = format!("no connection to {closed}: Connection refused");
    assert!(refused.detail.starts_with(&start), "{refused}");

    let raw = Raw::start(b"").await;
    let broken = failure(&open(raw.url())).await;
    let start = format!("the connection to {} broke: ", raw.address);
    assert!(broken.detail.starts_with(&start), "{broken}");

    let raw = Raw::start(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    let other = failure(&open(raw.url())).await;
    let start = format!("the connection to {} broke: ", raw.address);
    assert!(other.detail.starts_with(&start), "{other}");

    let unknown = surroundings(0, Names::at(&[]));
    let sink = Settings { surroundings: unknown, ..Settings::new("http://nowhere.test") }.open();
    let detail = "no connection to nowhere.test: the name has no address";
    assert_eq!(failure(&sink).await, Failure::new(detail));
}

#[tokio::test]
async fn errors_show_no_secret() {
    // an answer that repeats everything that it was sent
    let receiver = Receiver::start(|request| {
        let mut text = format!("{} ", request.path);
        for name in ["authorization", "x-key"] {
            text.push_str(request.header(name));
            text.push(' ');
        }
        with_text(400, text)
    });
    let receiver = receiver.await;
    let url = receiver.url().replace("http://", "http://shop-1:passw0rd@");
    let settings = Settings {
        secrets: vec![SECRET.into()],
        headers: vec![("X-Key", "key-123456")],
        ..Settings::new(format!("{url}/services/T0/abcdefghijklmnopq?token=t0ken-1"))
    };
    let sink = settings.open();
    let shown = format!("{sink:?} {:?}", deliver(&sink, change("o-1", 1)).await);
    assert!(shown.contains("400 Bad Request: …?… Basic … …"), "{shown}");
    let hidden = ["passw0rd", "key-123456", "abcdefghijklmnopq", "t0ken-1", "MfKQ9r8G", "c2hvcC0x"];
    for secret in hidden {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    let request = &receiver.received()[0];
    assert_eq!(request.path, "/hook/services/T0/abcdefghijklmnopq?token=t0ken-1");
    assert_eq!(request.header("authorization"), "Basic c2hvcC0xOnBhc3N3MHJk");

    let url = "http://shop-1:passw0rd@127.0.0.1:1/abcdefghijklmnopq?token=t0ken-1";
    let failure = failure(&open(url)).await;
    assert!(failure.detail.starts_with("no connection to 127.0.0.1:1: "), "{failure}");
}

#[tokio::test]
async fn a_batch_goes_in_order_until_something_fails() {
    let receiver = Receiver::start(|request| {
        Received::answer(match request.json()["subject"].as_str() {
            Some("Order/refused") => 422,
            Some("Order/failing") => 500,
            _ => 204,
        })
    });
    let receiver = receiver.await;
    let sink = Settings { batch: 10, ..Settings::new(receiver.url()) }.open();
    let updates = [
        change("a", 1),
        change("refused", 2),
        change("refused", 3),
        change("a", 4),
        change("failing", 5),
        change("a", 6),
    ];
    let results = sink.deliver(&updates).await.unwrap();
    let subjects: Vec<_> =
        receiver.received().iter().map(|sent| sent.json()["sequence"].clone()).collect();
    let sent = [1, 2, 4, 5].map(|version| format!("{version:020}"));
    assert_eq!(subjects, sent);
    let is_failure = |result: &Result<(), NotDelivered>| matches!(result, Err(NotDelivered::Failed(failure)) if failure.detail.contains(" 500 "));
    assert_eq!(results.len(), 6);
    assert_eq!((&results[0], &results[3]), (&Ok(()), &Ok(())));
    assert!(matches!(&results[1], Err(NotDelivered::Refused { .. })));
    let behind = Failure::new("an earlier change of the entity was refused");
    assert_eq!(results[2], Err(behind.into()));
    assert!(is_failure(&results[4]) && is_failure(&results[5]), "{results:?}");
    // nothing was delivered: all of it failed
    let failure = sink.deliver(&[change("failing", 1), change("a", 2)]).await.unwrap_err();
    assert!(failure.detail.contains(" 500 "), "{failure}");
    assert_eq!(sink.deadline(), Duration::from_secs(201));
}

#[tokio::test]
async fn each_try_is_signed_anew() {
    let receiver = Receiver::answering(500).await;
    let mut sent = Vec::new();
    for seconds in [1_767_225_600, 1_767_225_700] {
        let surroundings = surroundings(seconds, Names::at(&[]));
        let secrets = vec![SECRET.to_owned()];
        let sink = Settings { surroundings, secrets, ..Settings::new(receiver.url()) }.open();
        failure(&sink).await;
        sent = receiver.received();
        assert_eq!(sent[sent.len() - 1].header("webhook-timestamp"), seconds.to_string());
    }
    assert_eq!(sent[0].header("webhook-id"), sent[1].header("webhook-id"));
    assert_ne!(sent[0].header("webhook-signature"), sent[1].header("webhook-signature"));
    assert_eq!(sent[0].body, sent[1].body);
}
