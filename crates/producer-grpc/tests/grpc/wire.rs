//! Requests on the wire: bytes that can't be decoded, limits, compression, metadata.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::{iter, once};
use http_body::Frame;
use http_body_util::StreamBody;
use producer_grpc::proto::v1::{EntityUpdate, EventBody, EventRequest, EventResult, EventStatus};
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::sync::oneshot;
use tokio_stream::StreamExt;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::app::{Service, error_info, event, event_of};
use crate::raw::{PROCESS, STREAM, answered_call, exchange, framed, raw, unframed};

#[tokio::test]
async fn bytes_that_cannot_be_decoded_are_the_clients_error() {
    let service = Service::start().await;
    let bad_utf8 = [0x0a, 0x03, 0x12, 0x01, 0xff];
    let bodies = [
        (framed(0, &[0xff; 9]), "MALFORMED"),
        (framed(0, &bad_utf8), "MALFORMED"),
        (framed(7, b""), "MALFORMED"),
        (framed(1, b""), "MALFORMED"),
        (framed(0, b"")[..4].to_vec(), "MALFORMED"),
        (vec![], "MALFORMED"),
        ([framed(0, b""), framed(0, b"")].concat(), "MALFORMED"),
    ];
    for (body, reason) in bodies {
        let status = raw(service.address, PROCESS, &[], body.clone()).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{body:?} {status}");
        assert_eq!(error_info(&status).reason, reason);
    }
    // also where events aren't read, and where the codec isn't ours
    for path in [
        "/producer.v1.EventService/GetEvent",
        "/producer.v1.EntityService/CreateEntity",
        "/producer.v1.EntityService/DeleteEntity",
        "/producer.v1.ChangeService/ListChanges",
        "/producer.v1.ChangeService/WatchChanges",
        "/grpc.health.v1.Health/Check",
    ] {
        let status = raw(service.address, path, &[], framed(0, &[0xff; 9])).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{path} {status}");
        assert_eq!(error_info(&status).reason, "MALFORMED");
    }
}

/// An event whose attributes are a Struct of so many levels.
fn nested(levels: usize) -> EventRequest {
    let object = (1..levels).fold(Struct::default(), |inner, _| {
        let value = Value { kind: Some(Kind::StructValue(inner)) };
        Struct { fields: [("a".to_owned(), value)].into() }
    });
    let mut event = event("", "1", "");
    event.event_body.as_mut().expect("a body").entities[0].attributes = Some(object);
    event
}

#[tokio::test]
async fn a_struct_too_deep_to_store_is_invalid_and_one_too_deep_to_decode_malformed() {
    let service = Service::start().await;
    for (levels, reason) in [(31, "VALIDATION"), (33, "VALIDATION"), (34, "MALFORMED")] {
        let status = service.client().await.process_event(nested(levels)).await.expect_err("400");
        let got = (status.code(), error_info(&status).reason);
        assert_eq!(got, (Code::InvalidArgument, reason.to_owned()), "{levels} levels");
    }
}

#[tokio::test]
async fn fields_that_come_in_parts_are_merged_and_the_last_value_counts() {
    let service = Service::start().await;
    let update = |id: &str, key: &str, value: &str| EntityUpdate {
        entity_type: "Loan".into(),
        entity_id: id.into(),
        updated_attributes: [(key.to_owned(), value.to_owned())].into(),
        ..EntityUpdate::default()
    };
    // an entity in parts: its id and a key of its map occur twice
    let parts = [update("1", "a", "1"), update("2", "a", "2"), update("2", "b", "3")];
    let entity = parts.iter().flat_map(Message::encode_to_vec).collect::<Vec<_>>();
    let entity = [&[0x0a][..], &[u8::try_from(entity.len()).expect("short")], &entity].concat();
    let body = |bytes: &[u8]| [&[0x12, u8::try_from(bytes.len()).expect("short")], bytes].concat();
    let other = EventBody { entities: vec![update("3", "c", "4")] }.encode_to_vec();
    let header = event_of("", vec![])
        .event_header
        .map(|header| EventRequest { event_header: Some(header), event_body: None });
    let header = header.expect("a header").encode_to_vec();
    // and an event in parts: its body, partly before the header
    let message = [body(&entity), header, body(&other)].concat();
    let status = raw(service.address, PROCESS, &[], framed(0, &message)).await;
    assert_eq!(status.code(), Code::Ok, "{status}");
    assert_eq!(service.entity("Loan", "1").await, None);
    let two = r#"{"a":"2","b":"3"}"#.to_owned();
    assert_eq!(service.entity("Loan", "2").await, Some((1, two)));
    assert_eq!(service.entity("Loan", "3").await, Some((1, r#"{"c":"4"}"#.into())));
}

#[tokio::test]
async fn a_stream_ends_with_garbage_after_the_results_of_what_came_before() {
    let service = Service::start().await;
    let good = framed(0, &event("", "1", "{}").encode_to_vec());
    let deep = framed(0, &nested(34).encode_to_vec());
    for garbage in [framed(0, &[0xff; 9]), framed(7, b""), good[..9].to_vec(), deep] {
        let body = [&good[..], &good, &garbage].concat();
        let (status, results) = exchange(service.address, STREAM, &[], body).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(error_info(&status).reason, "MALFORMED");
        let results = unframed::<EventResult>(results);
        let got: Vec<_> = results.iter().map(|result| (result.index, result.status())).collect();
        assert_eq!(got, [(0, EventStatus::Processed), (1, EventStatus::Processed)]);
    }
}

#[tokio::test]
async fn unknown_encodings_and_methods_have_their_status() {
    let service = Service::start().await;
    let status = raw(service.address, PROCESS, &[("grpc-encoding", "br")], framed(0, b"")).await;
    assert_eq!(error_info(&status).reason, "MEDIA_TYPE");
    let status = raw(service.address, "/producer.v1.EventService/Nope", &[], framed(0, b"")).await;
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::Unimplemented, "METHOD")
    );
    let status = raw(service.address, "/", &[], vec![]).await;
    assert_eq!(status.code(), Code::Unimplemented);
    // an invalid deadline is no reason to refuse the event
    let body = framed(0, &event("", "1", "{}").encode_to_vec());
    let status = raw(service.address, PROCESS, &[("grpc-timeout", "soon")], body).await;
    assert_eq!(status.code(), Code::Ok);
}

#[tokio::test]
async fn compressed_messages_are_accepted_within_the_limit() {
    let service = Service::start_with(&["--max-body-bytes", "64KiB"]).await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = service.client().await.send_compressed(encoding);
        client.process_event(event("", "1", r#"{"a":1}"#)).await.expect("a receipt");
        let bomb = event("", "1", &format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000)));
        let status = client.process_event(bomb).await.expect_err("too large");
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(error_info(&status).reason, "TOO_LARGE");
    }
    for encoding in ["gzip", "zstd"] {
        let body = framed(1, b"neither");
        let status = raw(service.address, PROCESS, &[("grpc-encoding", encoding)], body).await;
        assert_eq!(error_info(&status).reason, "MALFORMED");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_out_of_range() {
    let service = Service::start_with(&["--max-body-bytes", "64KiB"]).await;
    let large = event("", "1", &format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000)));
    let status = service.client().await.process_event(large).await.expect_err("too large");
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::OutOfRange, "TOO_LARGE")
    );
}

#[tokio::test]
async fn a_body_over_the_budget_is_refused_and_the_next_one_accepted() {
    let service = Service::start_with(&["--body-buffer-bytes", "64KiB"]).await;
    let mut client = service.client().await;
    let large = event("", "1", &format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000)));
    let status = client.process_event(large).await.expect_err("over the budget");
    assert_eq!(
        (status.code(), error_info(&status).reason.as_str()),
        (Code::Unavailable, "OVERLOADED")
    );
    for _ in 0..4 {
        let event = event("", "1", &format!(r#"{{"a":"{}"}}"#, "x".repeat(30_000)));
        client.process_event(event).await.expect("the leased bytes are returned");
    }
}

#[tokio::test]
async fn a_call_over_the_concurrency_limit_is_refused_and_health_still_answers() {
    let service = Service::start_with(&["--max-concurrent-requests", "1"]).await;
    let message = Bytes::from(framed(0, &event("", "1", "{}").encode_to_vec()));
    let call = || {
        let (go_on, rest) = oneshot::channel::<Bytes>();
        let rest = async { Ok::<_, Infallible>(Frame::data(rest.await.unwrap_or_default())) };
        let body = iter([Ok(Frame::data(message.slice(..7)))]).chain(once(rest));
        let body = StreamBody::new(Box::pin(body));
        (go_on, Box::pin(answered_call(service.address, PROCESS, body)))
    };
    let ((go_on, call), (other_go_on, other_call)) = (call(), call());
    let (refused, admitted, go_on) = match select(call, other_call).await {
        Either::Left(((status, _), admitted)) => (status, admitted, other_go_on),
        Either::Right(((status, _), admitted)) => (status, admitted, go_on),
    };
    assert_eq!(
        (refused.code(), error_info(&refused).reason.as_str()),
        (Code::Unavailable, "OVERLOADED")
    );
    let mut health = HealthClient::new(service.channel().await);
    let answer = health.check(HealthCheckRequest::default()).await;
    assert_eq!(answer.expect("an answer").get_ref().status(), ServingStatus::Serving);
    go_on.send(message.slice(7..)).expect("the call goes on");
    assert_eq!(admitted.await.0.code(), Code::Ok, "the admitted call is served");
    let next = service.client().await.process_event(event("", "1", "{}")).await;
    next.expect("its slot is free");
}

#[tokio::test]
async fn an_error_stays_below_four_kib_as_sent() {
    let service = Service::start().await;
    let long = "€\"%".repeat(200);
    let update = EntityUpdate {
        entity_type: "Loan".into(),
        attributes_json: Some(format!(r#"{{"{0}":1e999,"x{0}":1e999}}"#, long.replace('"', "'"))),
        ..EntityUpdate::default()
    };
    let status = service
        .client()
        .await
        .process_event(event_of(&long, vec![update; 100]))
        .await
        .expect_err("many broken rules");
    let headers = status.into_http::<()>().headers().clone();
    let size: usize = ["grpc-message", "grpc-status-details-bin"]
        .iter()
        .map(|name| name.len() + headers[*name].len())
        .sum();
    assert!((3000..4096).contains(&size), "{size}");
}

#[tokio::test]
async fn the_request_id_is_the_clients_if_it_is_valid() {
    let service = Service::start().await;
    let mut client = service.client().await;
    let mut call = Request::new(event("", "1", "{}"));
    call.metadata_mut().insert("x-request-id", "mine".parse().expect("ASCII"));
    let answer = client.process_event(call).await.expect("a receipt");
    assert_eq!(answer.metadata().get("x-request-id").map(|id| id.as_bytes()), Some(&b"mine"[..]));

    let mut call = Request::new(event("", "", "{}"));
    call.metadata_mut().insert("x-request-id", "not mine".parse().expect("ASCII"));
    let status = client.process_event(call).await.expect_err("422");
    let id = &error_info(&status).metadata["request_id"];
    assert_ne!(id, "not mine");
    assert_eq!(status.metadata().get("x-request-id").map(|id| id.as_bytes()), Some(id.as_bytes()));
}

#[tokio::test]
async fn both_reflections_list_the_services() {
    let service = Service::start().await;
    let channel = service.channel().await;
    macro_rules! listed {
        ($version:ident) => {{
            use tonic_reflection::pb::$version as pb;
            let request = pb::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(pb::server_reflection_request::MessageRequest::ListServices(
                    String::new(),
                )),
            };
            let mut client =
                pb::server_reflection_client::ServerReflectionClient::new(channel.clone());
            let answers = client.server_reflection_info(tokio_stream::once(request)).await;
            let answer = answers.expect("answers").into_inner().next().await;
            match answer.expect("one").expect("an answer").message_response {
                Some(pb::server_reflection_response::MessageResponse::ListServicesResponse(
                    list,
                )) => list.service.into_iter().map(|one| one.name).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        }};
    }
    for names in [listed!(v1), listed!(v1alpha)] {
        for name in [
            "producer.v1.EventService",
            "producer.v1.EntityService",
            "producer.v1.ChangeService",
            "com.example.grpc.EventService",
            "grpc.health.v1.Health",
        ] {
            assert!(names.iter().any(|one| one == name), "{name} in {names:?}");
        }
    }
}
