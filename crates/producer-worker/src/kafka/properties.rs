//! Which of librdkafka's properties a user may set.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::config::Secret;

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It sends, for a sink.
    Producer,
    /// It reads, for a source.
    Consumer,
}

/// Properties that are ours, and why.
struct Reserved {
    names: &'static [&'static str],
    why: &'static str,
}

const OF_BOTH: &[Reserved] = &[
    Reserved {
        names: &["bootstrap.servers", "metadata.broker.list"],
        why: "must not be set here: url is the list of brokers",
    },
    Reserved {
        names: &["log.queue", "enabled_events", "plugin.library.paths"],
        why: "must not be set: the worker needs it as it is",
    },
];

const OF_PRODUCERS: &[Reserved] = &[
    Reserved {
        names: &[
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "enable.gapless.guarantee",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "message.send.max.retries",
            "retries",
            "queuing.strategy",
            "transactional.id",
        ],
        why: "must not be set: with another value records could be lost or change their order",
    },
    Reserved {
        names: &["delivery.timeout.ms", "message.timeout.ms"],
        why: "must not be set: a delivery ends in time, and is tried again as the sink's retry says",
    },
];

const OF_CONSUMERS: &[Reserved] = &[
    Reserved { names: &["group.id"], why: "must not be set here: group is the consumer group" },
    Reserved {
        names: &["auto.offset.reset"],
        why: "must not be set here: from is where it begins",
    },
    Reserved {
        names: &["auto.commit.enable", "enable.auto.commit", "enable.auto.offset.store"],
        why: "must not be set: a message is committed after its event was stored",
    },
    Reserved {
        names: &["enable.partition.eof", "group.instance.id", "group.protocol"],
        why: "must not be set: the worker needs it as it is",
    },
];

/// Whether a user may set a property of librdkafka, and librdkafka takes it.
///
/// # Errors
/// The end of a sentence about the property: `must …`. It never has the value.
pub fn check_property(role: Role, name: &str, value: &str) -> Result<(), String> {
    let own = match role {
        Role::Producer => OF_PRODUCERS,
        Role::Consumer => OF_CONSUMERS,
    };
    let reserved = OF_BOTH.iter().chain(own).find(|reserved| reserved.names.contains(&name));
    if let Some(reserved) = reserved {
        return Err(reserved.why.into());
    }
    // an entity's changes would go to any partition
    if name == "partitioner" && value == "random" {
        return Err("must be one that sends a key to one partition, not random".into());
    }
    librdkafka_takes(name, value)
}

/// Checks all of a user's properties.
///
/// # Errors
/// A sentence about the first that is refused.
pub(crate) fn check_properties(
    role: Role,
    properties: &BTreeMap<String, Secret>,
) -> Result<(), String> {
    for (name, value) in properties {
        check_property(role, name, value.expose())
            .map_err(|must| format!("the property {name} {must}"))?;
    }
    Ok(())
}

fn librdkafka_takes(name: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err("must be a property of librdkafka".into())
        }
        Err(_) if is_of_tls(name, value) && !cfg!(feature = "kafka-tls") => {
            Err("must not be set: this binary was built without kafka-tls".into())
        }
        Err(_) => Err("must have a value that librdkafka takes".into()),
    }
}

fn is_of_tls(name: &str, value: &str) -> bool {
    name.starts_with("ssl.")
        || name.starts_with("enable.ssl.")
        || name == "security.protocol"
        || (name.starts_with("sasl.") && !value.eq_ignore_ascii_case("PLAIN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_the_guarantees_is_refused() {
        for name in ["acks", "enable.idempotence", "max.in.flight", "delivery.timeout.ms"] {
            let refused = check_property(Role::Producer, name, "1").expect_err(name);
            assert!(refused.starts_with("must not be set"), "{refused}");
        }
        for name in ["enable.auto.commit", "group.id", "auto.offset.reset"] {
            check_property(Role::Consumer, name, "1").expect_err(name);
        }
        check_property(Role::Producer, "partitioner", "random").expect_err("another partition");
        check_property(Role::Producer, "bootstrap.servers", "here:1").expect_err("url has it");
    }

    #[test]
    fn what_librdkafka_does_not_take_is_refused_without_its_value() {
        let unknown = check_property(Role::Producer, "no.such.thing", "1").expect_err("unknown");
        assert_eq!(unknown, "must be a property of librdkafka");
        let invalid = check_property(Role::Producer, "linger.ms", "soon").expect_err("no number");
        assert_eq!(invalid, "must have a value that librdkafka takes");
        for (name, value) in
            [("linger.ms", "20"), ("compression.type", "zstd"), ("message.max.bytes", "4000000")]
        {
            check_property(Role::Producer, name, value).expect(name);
        }
        check_property(Role::Consumer, "session.timeout.ms", "6000").expect("a number");
    }
}
