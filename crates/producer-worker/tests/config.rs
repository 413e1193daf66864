//! `worker.toml`: what it means, and the exact report of everything that is wrong with it.

use std::time::Duration;

use producer_core::feed::Start;
use producer_worker::config::{
    Config, Form, Mode, OnDead, Rate, Retry, SinkConfig, SinkKind, SourceKind, SourceStart,
    Template, TimeUnit,
};

const SECRET: &str = "s3cret";

fn environment(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(SECRET.to_owned()),
        "REDIS" => Some("redis://user:s3cret@cache:6380/2".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Config {
    let config = Config::parse(text, "worker.toml", &environment);
    config.map_err(|errors| errors.to_string()).expect("nothing is wrong")
}

#[track_caller]
fn sink(text: &str) -> SinkConfig {
    parse(text).sinks.pop().expect("a sink")
}

#[track_caller]
fn report(text: &str) -> String {
    let report = Config::parse(text, "worker.toml", &environment).expect_err(text).to_string();
    assert!(!report.contains(SECRET), "{report}");
    report
}

/// The report has these lines.
#[track_caller]
fn wrong(text: &str, expected: &[&str]) {
    let report = report(text);
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines, expected, "{text}");
}

#[test]
fn a_kind_has_its_defaults() {
    let redis = "url = \"redis://localhost\"";
    let cases = [
        (format!("kind = \"redis-stream\"\n{redis}\nstream = \"s\""), Mode::Log, Start::Now, 500),
        (format!("kind = \"redis-cache\"\n{redis}"), Mode::Latest, Start::Snapshot, 500),
        ("kind = \"kafka\"\nurl = \"a:1,b:2\"\ntopic = \"t\"".into(), Mode::Log, Start::Now, 500),
        ("kind = \"opensearch\"\nurl = \"http://h\"".into(), Mode::Latest, Start::Snapshot, 500),
        ("kind = \"webhook\"\nurl = \"https://h/p\"".into(), Mode::Log, Start::Now, 1),
        ("kind = \"stdout\"".into(), Mode::Log, Start::Now, 500),
    ];
    for (text, mode, from, batch) in cases {
        let sink = sink(&format!("[[sink]]\nname = \"x\"\n{text}"));
        let on_dead = if mode == Mode::Log { OnDead::Hold } else { OnDead::Continue };
        assert_eq!((sink.mode, sink.from, sink.batch), (mode, from, batch), "{text}");
        assert_eq!((sink.lanes, sink.rate, sink.on_dead), (16, None, on_dead), "{text}");
        assert_eq!((sink.retry, sink.filter.is_none()), (Retry::default(), true), "{text}");
        assert_eq!(sink.types.names(), None, "{text}");
        let format = sink.format;
        assert_eq!(
            (format.form, format.timestamp_unit),
            (Form::CloudEvents, TimeUnit::Milliseconds)
        );
        assert_eq!((format.event_type, &*format.cloudevents_source), (None, "/producer"));
    }
}

#[test]
fn names_have_defaults() {
    let all = |text: &str| {
        use producer_worker::config::Part;
        Template::parse(text, &[Part::Type, Part::Id, Part::EventName]).expect(text)
    };
    let kind = |text: &str| sink(&format!("[[sink]]\nname = \"x\"\n{text}")).kind;
    match kind("kind = \"redis-cache\"\nurl = \"redis://localhost\"") {
        SinkKind::RedisCache { key, ttl: None, .. } => assert_eq!(key, all("entity:{type}:{id}")),
        other => panic!("{other:?}"),
    }
    match kind("kind = \"kafka\"\nurl = \"a:1\"\ntopic = \"t\"") {
        SinkKind::Kafka { key, tombstones: true, properties, .. } => {
            assert_eq!((key, properties.len()), (all("{type}/{id}"), 0));
        }
        other => panic!("{other:?}"),
    }
    match kind("kind = \"opensearch\"\nurl = \"http://localhost:9200\"") {
        SinkKind::OpenSearch { index, template: None, .. } => {
            assert_eq!(index, all("entities-{type}"));
        }
        other => panic!("{other:?}"),
    }
    match kind("kind = \"webhook\"\nurl = \"https://h\"") {
        SinkKind::Webhook { secrets, headers, timeout, allow_private: false, .. } => {
            assert_eq!((secrets.len(), headers.len(), timeout), (0, 0, Duration::from_secs(15)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_can_be_said() {
    let file = r#"
[[sink]]
name = "hooks-1"
kind = "webhook"
url = "https://partner.example/hook?key=${SECRET}"
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]
headers = { authorization = "Bearer ${SECRET}" }
timeout = "2s"
allow_private = true
types = ["Order", "Car"]
filter = 'touches("data.status")'
from = "2026-01-31T08:00:00Z"
mode = "latest"
format = "plain"
event_type = "{type}.{eventName}"
timestamp_unit = "s"
batch = 10_000
lanes = 1
rate = "50/m"
on_dead = "continue"
retry = { initial = "1s", max = "1m", max_age = "90d", breaker_failures = 1, breaker_pause = "5s" }

[[source]]
name = "hooks-1"
kind = "redis-stream"
url = "${REDIS}"
stream = "orders:events"
map = { entityType = "Order", entityId = "/data/id", eventName = "/event_type", attributes = "/data" }

[[source]]
name = "topic"
kind = "kafka"
url = "a:9092, [::1]:9092"
topic = "orders"
group = "g"
from = "now"
properties = { "isolation.level" = "read_uncommitted", "fetch.min.bytes" = 1, "check.crcs" = true }
"#;
    let Config { sinks, sources } = parse(file).with_cloudevents_source("/shop");
    let [sink] = sinks.try_into().expect("one sink");
    assert_eq!((&*sink.name, sink.batch, sink.lanes), ("hooks-1", 10_000, 1));
    assert_eq!(sink.rate, Some(Rate { changes: 50, per: Duration::from_secs(60) }));
    assert_eq!((sink.mode, sink.on_dead), (Mode::Latest, OnDead::Continue));
    assert!(matches!(sink.from, Start::Time(_)) && sink.filter.is_some());
    assert_eq!(sink.types.names().map(<[_]>::len), Some(2));
    assert_eq!(sink.format.form, Form::Plain);
    assert_eq!(sink.format.timestamp_unit, TimeUnit::Seconds);
    assert_eq!(sink.format.cloudevents_source, "/shop");
    assert!(sink.format.event_type.is_some());
    let seconds = Duration::from_secs;
    let retry = Retry {
        initial: seconds(1),
        max: seconds(60),
        max_age: Some(seconds(90 * 86_400)),
        breaker_failures: 1,
        breaker_pause: seconds(5),
    };
    assert_eq!(sink.retry, retry);
    match &sink.kind {
        SinkKind::Webhook { url, secrets, headers, timeout, allow_private } => {
            assert_eq!(url.expose(), "https://partner.example/hook?key=s3cret");
            assert_eq!((secrets.len(), *timeout, *allow_private), (2, seconds(2), true));
            assert_eq!(headers["authorization"].expose(), "Bearer s3cret");
        }
        other => panic!("{other:?}"),
    }
    assert!(!format!("{sink:?}").contains(SECRET), "{sink:?}");
    match &sources[0].kind {
        SourceKind::RedisStream { url, stream, group, from } => {
            assert_eq!(url.expose(), "redis://user:s3cret@cache:6380/2");
            assert_eq!((&**stream, &**group), ("orders:events", "producer"));
            assert_eq!((*from, sources[0].map.is_some()), (SourceStart::Start, true));
        }
        other => panic!("{other:?}"),
    }
    match &sources[1].kind {
        SourceKind::Kafka { group, from: SourceStart::Now, properties, .. } => {
            let values: Vec<_> = properties
                .iter()
                .map(|(name, value)| format!("{name}={}", value.expose()))
                .collect();
            assert_eq!(group, "g");
            assert_eq!(
                values,
                ["check.crcs=true", "fetch.min.bytes=1", "isolation.level=read_uncommitted"]
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let file = r#"
sinks = 1
[[sink]]
name = "Orders"
kind = "redis-steam"
url = 5
batch = 0

[[sink]]
name = "orders"
kind = "redis-stream"
url = "http://user:s3cret@host/path"
maxlen = -1
ttl = "1h"
types = []
filter = "data.x =="
from = "yesterday"
mode = "newest"
lanes = 1.5
rate = "50"
retry = { initial = "1m", max = "1s", max_age = "never", breaker_failure = 1 }
on_daed = "hold"
timestamp_unit = "s"

[[sink]]
name = "orders"
kind = "webhook"
url = "https://h"
secrets = ["s3cret"]
headers = { "Content-Type" = "text/plain", "x y" = "z", ok = "ä" }
timeout = "5"

[[source]]
kind = "kafka"
url = "kafka"
topic = "t"
properties = { a = [] }

[[source]]
name = "shop"
kind = "redis-stream"
url = "redis://h"
stream = "s"
map = { entityType = "Order", eventName = "${NONE}", attributes = "data",
        entityId = "/id", uid = "/uuid" }
"#;
    wrong(
        file,
        &[
            "worker.toml:2: sinks: is unknown; did you mean sink?",
            "worker.toml:4: sink \"Orders\": name: must have 1 to 63 characters of a-z, 0-9 and -",
            "worker.toml:5: sink \"Orders\": kind: must be \"redis-stream\", \"redis-cache\", \"kafka\", \"opensearch\", \"webhook\" or \"stdout\", not \"redis-steam\"; did you mean \"redis-stream\"?",
            "worker.toml:7: sink \"Orders\": batch: must be 1 to 10,000, not 0",
            "worker.toml:9: sink \"orders\": stream: is missing",
            "worker.toml:12: sink \"orders\": url: must be redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS, not http://host…",
            "worker.toml:13: sink \"orders\": maxlen: must be a whole number from 1, not -1",
            "worker.toml:14: sink \"orders\": ttl: is an option of redis-cache, not of redis-stream",
            "worker.toml:15: sink \"orders\": types: must name a type, or be left out for all of them",
            "worker.toml:16: sink \"orders\": filter: column 10: expected a value to compare with",
            "worker.toml:17: sink \"orders\": from: must be \"start\", \"now\", \"snapshot\" or a time such as \"2026-01-31T08:00:00Z\", not \"yesterday\"",
            "worker.toml:18: sink \"orders\": mode: must be \"log\" or \"latest\", not \"newest\"",
            "worker.toml:19: sink \"orders\": lanes: must be a whole number, not a number with a fraction",
            "worker.toml:20: sink \"orders\": rate: must be a number of changes in s, m or h, such as \"50/s\", not \"50\"",
            "worker.toml:21: sink \"orders\": retry: max_age: must be off or a duration from 1ms to 36500d, such as 12h or 90d, not \"never\"",
            "worker.toml:21: sink \"orders\": retry: initial: must be at most max, which is 1s",
            "worker.toml:21: sink \"orders\": retry: breaker_failure: is unknown; did you mean breaker_failures?",
            "worker.toml:22: sink \"orders\": on_daed: is unknown; did you mean on_dead?",
            "worker.toml:23: sink \"orders\": timestamp_unit: is only for format = \"plain\"",
            "worker.toml:26: sink \"orders\": name: is that of the sink in line 10 too",
            "worker.toml:29: sink \"orders\": secrets: must be whsec_ and base64 of 24 to 64 bytes each",
            "worker.toml:30: sink \"orders\": headers: Content-Type: is set by the sink itself",
            "worker.toml:30: sink \"orders\": headers: ok: must be visible characters of ASCII",
            "worker.toml:30: sink \"orders\": headers: x y: is no name of a header",
            "worker.toml:31: sink \"orders\": timeout: must be a duration from 1ms to 24h, such as 500ms or 2s, not \"5\"",
            "worker.toml:33: source 1: name: is missing",
            "worker.toml:35: source 1: url: must be HOST:PORT, with commas between several",
            "worker.toml:37: source 1: properties: a: must be a text, a whole number or true or false, not an array",
            "worker.toml:44: source \"shop\": map: attributes: must be a JSON Pointer, such as /data/id",
            "worker.toml:44: source \"shop\": map: eventName: ${NONE} is not set",
            "worker.toml:45: source \"shop\": map: uid: is unknown; must be entityType, entityId, attributes, eventName, eventType, createdDate, uuid, operation, actor or omit",
        ],
    );
}

#[test]
fn each_rule_has_its_report() {
    let (redis, cache) =
        ("kind = 'redis-stream'\nurl = 'redis://h'", "kind = 'redis-cache'\nurl = 'redis://h'");
    let opensearch = "kind = 'opensearch'\nurl = 'http://h'";
    for (kind, line, expected) in [
        (
            "kind = 'stdout'",
            "url = 'x'",
            "url: is an option of redis-stream, redis-cache, kafka, opensearch, webhook, not of stdout",
        ),
        ("kind = 'stdout'", "types = 'Order'", "types: must be an array of texts, not a text"),
        ("kind = 'stdout'", "types = ['Order', 1]", "types: must be a text, not a number"),
        ("kind = 'stdout'", "types = ['']", "types: must not be empty"),
        ("kind = 'stdout'", "retry = '1s'", "retry: must be a table, not a text"),
        (
            "kind = 'stdout'",
            "from = 2026-01-31T08:00:00Z",
            "from: must be a text, not a date or time; put it in quotes",
        ),
        (
            "kind = 'stdout'",
            "rate = '0/s'",
            "rate: must be a number of changes in s, m or h, such as \"50/s\", not \"0/s\"",
        ),
        (
            "kind = 'stdout'",
            "rate = '+5/s'",
            "rate: must be a number of changes in s, m or h, such as \"50/s\", not \"+5/s\"",
        ),
        (
            "kind = 'stdout'",
            "event_type = '{name}'",
            "event_type: must not have {name}, only {type}, {id} and {eventName}",
        ),
        (
            "kind = 'stdout'",
            "batch = 99999999999999999999",
            "batch: must be 1 to 10,000, not 99999999999999999999",
        ),
        ("kind = 'stdout'", "batch = 0x2711", "batch: must be 1 to 10,000, not 0x2711"),
        ("kind = 'stdout'", "filter = 'now > 1'", "filter: column 1: "),
        (
            "kind = 'stdout'",
            "mode = 'latest'\non_dead = 'hold'",
            "on_dead: must be \"continue\" in the mode latest, where a newer state replaces a dead letter",
        ),
        ("kind = 'stdout'", "from = 'AZ8'", "from: must be \"start\""),
        (
            "kind = 'kafka'\nurl = 'h:1'\ntopic = 't'",
            "properties = { acks = 1 }",
            "properties: acks: must not be set: with another value records could be lost or change their order",
        ),
        (
            "kind = 'kafka'\nurl = 'h:1'\ntopic = 't'",
            "properties = { 'linger.ms' = 's3cret' }",
            "properties: linger.ms: must have a value that librdkafka takes",
        ),
        (redis, "stream = ''", "stream: must not be empty"),
        (redis, "stream = '{type'", "stream: must have a } for each {, and {{ for a { itself"),
        (redis, "stream = 's${NONE}'", "stream: ${NONE} is not set"),
        (
            redis,
            "stream = 's${file:/no/such}'",
            "stream: ${file:/no/such} can't be read: No such file or directory (os error 2)",
        ),
        (
            cache,
            "ttl = '0s'",
            "ttl: must be a duration from 1ms to 36500d, such as 12h or 90d, not \"0s\"",
        ),
        (cache, "key = '{type}'", "key: must have {id}, else all entities have the same key"),
        (cache, "key = 'x:{id}'", "key: must have {type}, unless types names one type alone"),
        (
            cache,
            "key = '{type}{id}'",
            "key: must have a : between {type} and {id}, else two entities may have the same key",
        ),
        (cache, "key = '{id}:{eventName}'", "key: must not have {eventName}, only {type} and {id}"),
        (
            cache,
            "format = 'plain'",
            "format: is an option of redis-stream, kafka, webhook, stdout, not of redis-cache",
        ),
        (opensearch, "index = 'all'", "index: must have {type}, unless types names one type alone"),
        (opensearch, "index = '{type}-{id}'", "index: must not have {id}, only {type}"),
        (
            opensearch,
            "template = '/no/such'",
            "template: must be a file, not \"/no/such\": No such file or directory (os error 2)",
        ),
        (
            "kind = 'kafka'\nurl = 'h:9092'\ntopic = 't'",
            "tombstones = 'no'",
            "tombstones: must be true or false, not a text",
        ),
        (
            "kind = 'webhook'\nurl = 'https://h'",
            "secrets = ['${SECRET}', '', '']",
            "secrets: must be at most 2: one, and its successor while it is replaced",
        ),
    ] {
        let file = format!("[[sink]]\nname = 'x'\n{kind}\n{line}\n");
        let number = file.lines().count();
        let report = report(&file);
        let expected = format!("worker.toml:{number}: sink \"x\": {expected}");
        assert!(
            report.lines().next().is_some_and(|first| first.starts_with(&expected)),
            "{report}\n{expected}"
        );
    }
    for (cache, line) in [(cache, "key = 'x:{id}'"), (opensearch, "index = 'all'")] {
        parse(&format!("[[sink]]\nname = 'x'\n{cache}\n{line}\ntypes = ['Order']"));
    }
}

#[test]
fn a_file_that_is_no_toml_has_its_lines() {
    wrong(
        "[[sink]]\nname = s3cret\nkind = 's3cret\nurl = \"redis://s3cret\\q\"\nname = \"s3cret\"\n",
        &[
            "worker.toml:2: no TOML: string values must be quoted, expected literal string",
            "worker.toml:3: no TOML: invalid literal string, expected `'`",
            "worker.toml:4: no TOML: missing escaped value, expected `b`, `e`, `f`, `n`, `r`, `\\`, `\"`, `x`, `u`, `U`",
            "worker.toml:5: no TOML: duplicate key",
        ],
    );
}

#[test]
fn a_file_without_connectors_is_an_error() {
    for file in ["", "# nothing\n", "\u{feff}"] {
        wrong(file, &["worker.toml:1: there is no [[sink]] and no [[source]]"]);
    }
    wrong(
        "sink = []\nsource = 1",
        &["worker.toml:2: source: must be a table for each, [[source]], not a number"],
    );
    wrong(
        "[sink]\nname = 'x'",
        &["worker.toml:1: sink: must be a table for each, [[sink]], not a table"],
    );
}

/// Whatever holds a secret is never shown, neither where it stands in the file nor where it comes from outside.
#[test]
fn no_report_shows_a_secret() {
    for kind in
        ["redis-stream", "redis-cache", "kafka", "opensearch", "webhook", "stdout", "${SECRET}"]
    {
        for key in [
            "name",
            "kind",
            "url",
            "stream",
            "key",
            "topic",
            "index",
            "template",
            "ttl",
            "timeout",
            "filter",
            "from",
            "mode",
            "format",
            "event_type",
            "timestamp_unit",
            "rate",
            "on_dead",
            "batch",
            "lanes",
            "tombstones",
            "types",
            "secrets",
            "headers",
            "properties",
            "retry",
        ] {
            let key_kind = if key == "kind" { String::new() } else { format!("kind = '{kind}'\n") };
            for value in [
                "'${SECRET}'",
                "'{${SECRET}'",
                "'{${SECRET}}'",
                "'data.x == ${SECRET} ${SECRET}'",
                "['${SECRET}']",
                "{ a = '${SECRET}', max_age = '${SECRET}', initial = '${SECRET}' }",
                "'https://x:${SECRET}@${SECRET}/${SECRET}'",
                "'redis://x:${SECRET}@h/${SECRET}'",
            ] {
                // some are good: then there is no report
                let file = format!("[[sink]]\n{key_kind}{key} = {value}\n");
                if let Err(errors) = Config::parse(&file, "worker.toml", &environment) {
                    assert!(!errors.to_string().contains(SECRET), "{errors}");
                }
            }
        }
    }
    for key in ["entityType", "entityId", "attributes", "createdDate", "uuid", "operation", "omit"]
    {
        for value in [
            "'${SECRET}'",
            "'/${SECRET}~'",
            "['${SECRET}']",
            "{ path = '${SECRET}', unit = '${SECRET}' }",
        ] {
            report(&format!("[[source]]\nname = 'x'\nmap = {{ {key} = {value} }}\n"));
        }
    }
    for (kind, key, value) in [
        ("redis-stream", "url", "'redis://user:s3cret@h/s3cret'"),
        ("redis-stream", "url", "'redis//user:s3cret@h'"),
        ("redis-stream", "url", "'redis://user:s3cret@'"),
        ("kafka", "url", "'user:s3cret@h'"),
        ("webhook", "url", "'ftp://user:s3cret@h/?s3cret'"),
        ("webhook", "url", "'mailto:s3cret'"),
        ("webhook", "url", "'https://s3cret@[/'"),
        ("webhook", "secrets", "['s3cret']"),
        ("webhook", "headers", "{ authorization = 's3cretä' }"),
        ("kafka", "properties", "{ a = ['s3cret'] }"),
    ] {
        report(&format!("[[sink]]\nname = 'x'\nkind = '{kind}'\n{key} = {value}\n"));
    }
}
