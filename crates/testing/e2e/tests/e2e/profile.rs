//! CPU profiles, taken on the admin port under load.

use std::io::Read;
use std::time::Duration;

use flate2::read::GzDecoder;
use producer_e2e::{Api, Binary, Database, Load, Service, eventually};
use producer_test_support::http_client;
use prost::Message;
use reqwest::{Response, StatusCode};
use serde_json::Value;

const WRITERS: usize = 8;
const ENTITIES: usize = 20;

/// The part of pprof's `Profile` with the names of functions.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(int64, tag = "2")]
    name: i64,
}

impl Profile {
    fn read(gzipped: &[u8]) -> Self {
        let mut bytes = Vec::new();
        GzDecoder::new(gzipped).read_to_end(&mut bytes).unwrap();
        Self::decode(&*bytes).unwrap()
    }

    fn functions(&self) -> Vec<&str> {
        let places = self.function.iter().map(|function| usize::try_from(function.name).unwrap());
        places.map(|place| &*self.string_table[place]).collect()
    }
}

/// A service with an admin port, on its own database.
struct Profiled {
    service: Service,
    admin: String,
    _database: Database,
}

impl Profiled {
    async fn start(binary: Binary) -> Self {
        let database = Database::sqlite();
        let mut settings = database.settings().to_vec();
        settings.push(("ADMIN_PORT", "0"));
        let service = Service::start(binary, &settings).await;
        let log = service.log_tail();
        let line = log.lines().find(|line| line.contains("serving the admin port")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        let admin = line["address"].as_str().unwrap().to_owned();
        Self { service, admin, _database: database }
    }

    async fn profile(&self, query: &str) -> Response {
        let url = format!("http://{}/debug/pprof/profile{query}", self.admin);
        http_client().get(url).send().await.unwrap()
    }

    /// Requests a profile of a minute and waits until it is being taken.
    async fn begin(&self) -> tokio::task::JoinHandle<reqwest::Result<Response>> {
        let url = format!("http://{}/debug/pprof/profile?seconds=60", self.admin);
        let asked = tokio::spawn(async move {
            // one of the requests of the check below may have been first
            loop {
                let answer = http_client().get(&url).send().await?;
                if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                    return Ok(answer);
                }
            }
        });
        eventually("a profile is being taken", async || {
            self.profile("?seconds=1").await.status() == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        asked
    }
}

async fn a_profile_names_our_functions(binary: Binary, api: impl Fn(&Service) -> Api) {
    let profiled = Profiled::start(binary).await;
    let load = Load::start(&[api(&profiled.service)], WRITERS, ENTITIES);
    load.history().more_done(WRITERS).await;

    // a second has few samples on a busy machine
    eventually("a profile that names our functions", async || {
        let answer = profiled.profile("?seconds=1").await;
        assert_eq!(answer.status(), StatusCode::OK);
        let profile = Profile::read(&answer.bytes().await.unwrap());
        assert!(profile.sample.iter().all(|sample| !sample.location_id.is_empty()));
        assert!(profile.sample.iter().all(|sample| sample.value[0] > 0 && sample.value[1] > 0));
        profile.functions().iter().any(|name| name.contains("producer_core::"))
    })
    .await;
    eventually("a flame graph that names our functions", async || {
        let answer = profiled.profile("?seconds=1&format=svg").await;
        assert_eq!(answer.headers()["content-type"], "image/svg+xml");
        let picture = answer.text().await.unwrap();
        assert!(picture.contains("<svg"), "{picture}");
        picture.contains("producer_core::")
    })
    .await;

    load.history().more_done(WRITERS).await;
    load.stop().await.assert_all_answered();
    profiled.service.stop().await;
}

#[tokio::test]
async fn a_profile_of_rest_names_our_functions_and_no_request_fails() {
    a_profile_names_our_functions(Binary::Rest, |service| service.rest().into()).await;
}

#[tokio::test]
async fn a_profile_of_grpc_names_our_functions_and_no_request_fails() {
    a_profile_names_our_functions(Binary::Grpc, |service| service.grpc().into()).await;
}

#[tokio::test]
async fn one_profile_at_a_time_and_an_aborted_request_ends_it() {
    let profiled = Profiled::start(Binary::Rest).await;
    let asked = profiled.begin().await;
    let refused = profiled.profile("").await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["type"], "urn:producer:problem:unavailable");

    asked.abort();
    eventually("the next profile is taken", async || {
        profiled.profile("?seconds=1").await.status() == StatusCode::OK
    })
    .await;
    profiled.service.stop().await;
}

#[tokio::test]
async fn a_service_that_is_stopped_does_not_wait_for_a_profile() {
    let mut profiled = Profiled::start(Binary::Rest).await;
    let _asked = profiled.begin().await;
    profiled.service.signal(producer_e2e::Signal::TERM);
    // closing may take 2 s, plus slack
    assert!(profiled.service.exit(Duration::from_secs(4)).await.success());
}

#[tokio::test]
async fn invalid_parameters_are_refused() {
    let profiled = Profiled::start(Binary::Rest).await;
    for (query, word) in [
        ("?seconds=0", "seconds"),
        ("?seconds=61", "seconds"),
        ("?seconds=-1", "seconds"),
        ("?seconds=1.5", "seconds"),
        ("?seconds=", "seconds"),
        ("?seconds=1&format=png", "format"),
    ] {
        let answer = profiled.profile(query).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:producer:problem:malformed", "{query}");
        assert!(problem["detail"].as_str().unwrap().starts_with(word), "{problem}");
    }
}

#[tokio::test]
async fn clients_cannot_ask_for_a_profile() {
    let (rest, grpc) = (Profiled::start(Binary::Rest).await, Profiled::start(Binary::Grpc).await);
    let path = "/debug/pprof/profile?seconds=1";
    assert_eq!(rest.service.rest().get(path).await.0, 404);
    let url = format!("http://{}{path}", grpc.service.address());
    let asked = http_client().get(url).header("content-type", "application/grpc");
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12", "unimplemented: {answer:?}");
}
