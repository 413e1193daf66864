//! The document without its routes: its title and its introduction.

use std::fmt::Write;
use std::time::Duration;

use producer_core::ProblemKind;
use producer_server::settings::Settings;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use super::problems::explain;
use crate::problem::ProblemBody;

/// Its values in braces are those of [`values`].
const INTRODUCTION: &str = include_str!("introduction.md");

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "producer REST API", description = ""),
    components(schemas(ProblemBody)),
    tags(
        (name = "events", description = "Send events, one or many; read one back"),
        (name = "entities", description = "Read and write single entities; list many"),
        (name = "search", description = "Find entities by words"),
        (name = "types", description = "See which types there are; declare indexes and search"),
        (name = "changes", description = "Follow what is committed"),
        (name = "worker", description = "See and steer what `producer-worker` does: sinks, sources, dead letters"),
        (name = "health", description = "Probes, for people and for orchestrators"),
        (name = "metrics", description = "For Prometheus; not here where `ADMIN_PORT` is set"),
    ),
)]
struct Document;

/// The document without its routes, for a service with these settings.
pub(crate) fn document(settings: &Settings) -> OpenApi {
    let mut document = Document::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").into();
    document.info.description = Some(description(settings));
    document
}

fn description(settings: &Settings) -> String {
    let mut text = INTRODUCTION.to_owned();
    for (name, value) in values(settings) {
        text = text.replace(&format!("{{{name}}}"), &value);
    }
    text.push_str("| status | name | when, and what to do |\n|---|---|---|\n");
    for kind in ProblemKind::ALL {
        let (when, remedy) = explain(kind);
        let (status, name) = (kind.http_status(), kind.as_str());
        let _ = writeln!(text, "| {status} | `{name}` | {when}. *To do:* {remedy} |");
    }
    text
}

/// The values of the introduction by their names.
fn values(settings: &Settings) -> [(&'static str, String); 10] {
    [
        ("max_body", size(settings.common.max_body_bytes)),
        ("max_entity", size(settings.common.max_entity_bytes)),
        ("body_timeout", duration(settings.body_timeout)),
        ("request_timeout", duration(settings.common.request_timeout)),
        ("queue_events", number(settings.common.ingest_queue_events)),
        ("queue_bytes", size(settings.common.ingest_queue_bytes)),
        ("queue_age", duration(settings.common.ingest_queue_age)),
        ("requests", number(settings.max_concurrent_requests)),
        ("buffer", size(settings.body_buffer_bytes)),
        ("readers", number(settings.max_change_readers)),
    ]
}

/// With commas between its thousands.
fn number(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In the largest unit that needs no fraction. No line breaks before the unit.
fn size(bytes: usize) -> String {
    const UNITS: [(usize, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.into_iter().find(|(unit, _)| bytes > 0 && bytes.is_multiple_of(*unit));
    unit.map_or(format!("{}\u{a0}bytes", number(bytes)), |(unit, name)| {
        format!("{}\u{a0}{name}", bytes / unit)
    })
}

fn duration(time: Duration) -> String {
    match u64::try_from(time.as_millis()) {
        Ok(millis) if millis % 1000 > 0 => format!("{millis}\u{a0}ms"),
        _ => format!("{}\u{a0}s", time.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sizes_and_durations_are_exact() {
        assert_eq!([0, 999, 20_000, 1_234_567].map(number), ["0", "999", "20,000", "1,234,567"]);
        let sizes = [16 << 20, 64 << 10, 3 << 30, 1000, 0].map(size).join(", ");
        let plain = |text: String| text.replace('\u{a0}', " ");
        assert_eq!(plain(sizes), "16 MiB, 64 KiB, 3 GiB, 1,000 bytes, 0 bytes");
        let durations = [1500, 3000, 0].map(|millis| duration(Duration::from_millis(millis)));
        assert_eq!(plain(durations.join(", ")), "1500 ms, 3 s, 0 s");
    }
}
