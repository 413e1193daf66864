//! What the Kafka sink and source share: librdkafka's settings, its log, and its errors as texts.

mod properties;

use std::collections::BTreeMap;

pub(crate) use properties::check_properties;
pub use properties::{Role, check_property};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::config::{Secret, Secrets};
use crate::sink::Failure;

/// After so long without an answer a connection is given up, in milliseconds.
const SOCKET_TIMEOUT_MS: &str = "10000";
/// The longest pause between two attempts to connect, in milliseconds.
const RECONNECT_PAUSE_MS: &str = "2000";

/// Settings of one of our clients: `ours`, and the user's properties over them.
pub(crate) fn client_config(
    servers: &Secret,
    ours: &[(&str, &str)],
    properties: &BTreeMap<String, Secret>,
) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "producer-worker");
    config.set("socket.timeout.ms", SOCKET_TIMEOUT_MS);
    config.set("reconnect.backoff.max.ms", RECONNECT_PAUSE_MS);
    for (name, value) in ours {
        config.set(*name, *value);
    }
    for (name, value) in properties {
        config.set(name, value.expose());
    }
    config.set("bootstrap.servers", servers.expose());
    // else it follows the crate `log`, which nothing listens to here
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}

/// Why a client can't be made.
pub(crate) fn creation_error(error: &KafkaError, secrets: &Secrets) -> String {
    match error {
        // the crate's text has the value
        KafkaError::ClientConfig(_, _, name, _) => format!("Kafka: the property {name} is refused"),
        KafkaError::ClientCreation(reason) => format!("Kafka: {}", secrets.removed_from(reason)),
        other => format!("Kafka: {other}"),
    }
}

/// An error's code, in librdkafka's words.
pub(crate) fn code_text(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    // "UnknownTopic (Local: Unknown topic)"
    match text.split_once(" (").and_then(|(_, inner)| inner.strip_suffix(')')) {
        Some(inner) => inner.to_owned(),
        None => text,
    }
}

/// The code of an error that came from librdkafka itself.
pub(crate) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)
}

/// What is wrong with a topic.
pub(crate) fn topic_failure(topic: &str, code: RDKafkaErrorCode) -> Failure {
    match code {
        RDKafkaErrorCode::UnknownTopic
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownPartition => {
            Failure::new(format!("Kafka has no topic {topic}: create it"))
        }
        code => Failure::new(format!("Kafka, topic {topic}: {}", code_text(code))),
    }
}

/// The values of properties that no log and no error may show.
pub(crate) fn secrets_of(properties: &BTreeMap<String, Secret>) -> Secrets {
    let is_secret = |name: &str| {
        ["password", "secret", "pem", "token", "oauthbearer.config"]
            .iter()
            .any(|part| name.contains(part))
    };
    let values = properties.iter().filter(|(name, _)| is_secret(name));
    Secrets::new(values.map(|(_, value)| value.expose().to_owned()))
}

/// Writes a line of librdkafka into our log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, line: &str, secrets: &Secrets) {
    let line = secrets.removed_from(line);
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => tracing::warn!(facility, line, "librdkafka reports"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, line, "librdkafka reports");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
        let own =
            |(name, value): &(&str, &str)| ((*name).into(), Secret::from((*value).to_owned()));
        pairs.iter().map(own).collect()
    }

    #[test]
    fn the_users_properties_are_over_ours() {
        let config = client_config(
            &Secret::from("here:9092".to_owned()),
            &[("linger.ms", "2"), ("partitioner", "murmur2_random")],
            &properties(&[("linger.ms", "50")]),
        );
        assert_eq!(config.get("linger.ms"), Some("50"));
        assert_eq!(config.get("partitioner"), Some("murmur2_random"));
        assert_eq!(config.get("bootstrap.servers"), Some("here:9092"));
    }

    #[test]
    fn errors_and_logs_have_no_secret() {
        let properties = properties(&[("sasl.password", "hunter22"), ("sasl.username", "shop")]);
        let secrets = secrets_of(&properties);
        assert_eq!(secrets.removed_from("login of shop with hunter22"), "login of shop with …");
        let config = client_config(
            &Secret::from("here:9092".to_owned()),
            &[],
            &self::properties(&[("sasl.password", "hunt\0er22")]),
        );
        let error = config.create_native_config().err().expect("a value with NUL is refused");
        assert!(!creation_error(&error, &secrets).contains("hunt"));
        let error = KafkaError::ClientCreation("bad: hunter22".into());
        assert_eq!(creation_error(&error, &secrets), "Kafka: bad: …");
        let error = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "no".into(),
            "sasl.password".into(),
            "hunter22".into(),
        );
        assert_eq!(
            creation_error(&error, &secrets),
            "Kafka: the property sasl.password is refused"
        );
    }

    #[test]
    fn codes_have_librdkafkas_words() {
        let text = code_text(RDKafkaErrorCode::UnknownTopicOrPartition);
        assert_eq!(text, "Broker: Unknown topic or partition");
    }
}
