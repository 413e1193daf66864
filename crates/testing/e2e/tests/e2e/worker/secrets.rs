//! Secrets of `worker.toml` in what a worker says.

use producer_e2e::{
    Answer, Binary, Database, Outcome, RedisTarget, SentEvent, Service, Webhook, Worker, eventually,
};
use redis::cmd;
use serde_json::{Value, json};

/// Where each secret is used, by the variable that has it.
const IN_VARIABLES: [(&str, &str); 8] = [
    ("UNREACHABLE_PASSWORD", "pwUnreachable4711"),
    ("REFUSED_PASSWORD", "pwRefused4711"),
    ("HOOK_TOKEN", "tokenOfTheHook4711"),
    ("HOOK_SECRET", "whsec_c2VjcmV0U2VjcmV0U2VjcmV0U2VjcmV0U2Vj"),
    ("SEARCH_PASSWORD", "pwSearch4711"),
    ("KAFKA_PASSWORD", "pwKafka4711"),
    ("SOURCE_PASSWORD", "pwSource4711"),
    ("HEADER_KEY", "keyInAHeader4711"),
];
const IN_FILE: &str = "bearerInAFile4711";
/// `ops:pwSearch4711` as HTTP sends it.
const BASIC: &str = "b3BzOnB3U2VhcmNoNDcxMQ==";

#[tokio::test]
async fn no_secret_is_shown_anywhere() {
    let database = Database::sqlite();
    let redis = RedisTarget::start().await;
    let hook = Webhook::start(Answer::Status(400, String::new())).await;
    let search = Webhook::start(Answer::Status(401, "Basic b3BzOnB3U2VhcmNoNDcxMQ==".into())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bearer");
    std::fs::write(&file, format!("{IN_FILE}\n")).unwrap();
    redis.query::<()>(cmd("CONFIG").arg("SET").arg("requirepass").arg("other")).await.unwrap();
    let config = format!(
        r#"
[[sink]]
name = "unreachable"
kind = "redis-stream"
url = "redis://ops:${{UNREACHABLE_PASSWORD}}@127.0.0.1:9"
stream = "s"
from = "start"
[[sink]]
name = "refused"
kind = "redis-cache"
url = "redis://ops:${{REFUSED_PASSWORD}}@{redis}"
[[sink]]
name = "hook"
kind = "webhook"
url = "{hook}?token=${{HOOK_TOKEN}}"
secrets = ["${{HOOK_SECRET}}"]
headers = {{ authorization = "Bearer ${{file:{file}}}", x-api-key = "${{HEADER_KEY}}" }}
allow_private = true
from = "start"
[[sink]]
name = "hook-away"
kind = "webhook"
url = "http://127.0.0.1:9/?token=${{HOOK_TOKEN}}"
headers = {{ authorization = "Bearer ${{file:{file}}}" }}
allow_private = true
from = "start"
[[sink]]
name = "search"
kind = "opensearch"
url = "http://ops:${{SEARCH_PASSWORD}}@{search}"
[[sink]]
name = "search-away"
kind = "opensearch"
url = "http://ops:${{SEARCH_PASSWORD}}@127.0.0.1:9"
[[sink]]
name = "records"
kind = "kafka"
url = "127.0.0.1:9"
topic = "t"
from = "start"
properties = {{ "security.protocol" = "SASL_PLAINTEXT", "sasl.mechanism" = "PLAIN", "sasl.username" = "ops", "sasl.password" = "${{KAFKA_PASSWORD}}" }}
[[source]]
name = "shop"
kind = "redis-stream"
url = "redis://ops:${{SOURCE_PASSWORD}}@{redis}"
stream = "s"
[[source]]
name = "shop-records"
kind = "kafka"
url = "127.0.0.1:9"
topic = "t"
properties = {{ "security.protocol" = "SASL_PLAINTEXT", "sasl.mechanism" = "PLAIN", "sasl.username" = "ops", "sasl.password" = "${{KAFKA_PASSWORD}}" }}
"#,
        redis = redis.url().trim_start_matches("redis://"),
        hook = hook.url(),
        file = file.display(),
        search = search.address(),
    );
    // a receiver may say what it got
    let got = format!("refused: {IN_FILE} tokenOfTheHook4711 keyInAHeader4711");
    hook.set(Answer::Status(400, got));
    let settings = [&database.settings()[..], &IN_VARIABLES[..], &[("RUST_LOG", "trace")]].concat();
    let rest = Service::start(Binary::Rest, &database.settings()).await;
    let client = rest.rest();
    let outcome = client.send(&SentEvent::new("Car", "car-1", json!({"n": 1}))).await;
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    let worker = Worker::start(&settings, &config).await;
    let has_failed = |connector: &Value| {
        connector["lastError"]["detail"].is_string() || connector["deadLetters"] == 1
    };
    let mut shown = Vec::new();
    for (path, members) in [("sinks", 7), ("sources", 2)] {
        let mut answer = Value::Null;
        eventually("all fail", async || {
            answer = client.get(&format!("/api/v1/{path}")).await.1;
            let all = answer[path].as_array().unwrap();
            all.len() == members && all.iter().all(has_failed)
        })
        .await;
        shown.push((format!("GET {path}"), answer.to_string()));
    }
    let (_, letters) = client.get("/api/v1/dead-letters?sink=hook").await;
    let id = letters["deadLetters"][0]["id"].as_str().unwrap().to_owned();
    let (_, letter) = client.get(&format!("/api/v1/dead-letters/{id}")).await;
    let (_, metrics) = worker.process.rest().get("/metrics").await;
    shown.push(("letters".into(), format!("{letters} {letter}")));
    shown.push(("metrics".into(), metrics.to_string()));
    for command in [&["check"][..], &["status"], &["status", "--json"]] {
        let output = worker.process.run(command).await;
        let text = [output.stdout, output.stderr].concat();
        shown.push((command.join(" "), String::from_utf8_lossy(&text).into_owned()));
    }
    shown.push(("the log".into(), worker.process.log()));

    let log = worker.process.log();
    assert!(log.contains("\"TRACE\"") && log.contains("\"DEBUG\""), "the log has everything");

    // the receivers got them
    let got = &hook.delivered()[0].headers;
    assert_eq!(got["authorization"], format!("Bearer {IN_FILE}"));
    assert_eq!(got["x-api-key"], "keyInAHeader4711");
    assert_eq!(search.delivered()[0].headers["authorization"], format!("Basic {BASIC}"));
    let (_, key) = IN_VARIABLES[3].1.split_once('_').unwrap();
    let secrets = IN_VARIABLES.iter().map(|(_, secret)| *secret).chain([IN_FILE, BASIC, key]);
    for secret in secrets {
        for (place, text) in &shown {
            let at = text.find(secret);
            let line = at.map(|at| text[..at].lines().next_back().unwrap_or_default());
            assert!(at.is_none(), "{secret} in {place}: {}", line.unwrap_or_default());
        }
    }
    worker.stop().await;
    rest.stop().await;
}
