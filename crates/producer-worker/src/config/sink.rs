//! Reads a sink: what all kinds have.

use producer_core::feed::{Start, Types};

use super::sink_kinds::SINK_KINDS;
use super::table::Table;
use super::{kinds, values};
use crate::config::{
    Form, Format, Mode, OnDead, Part, Retry, SinkConfig, SinkKind, Template, TimeUnit,
};

/// `source` of CloudEvents, where the setting says nothing.
const CLOUDEVENTS_SOURCE: &str = "/producer";

/// Reads a sink; `None` where something is wrong, which is noted.
pub(super) fn read(name: Option<String>, table: Table<'_>) -> Option<SinkConfig> {
    let kind = kinds::read(SINK_KINDS, &table);
    let keeps_state = kind.as_ref().is_some_and(keeps_state);
    let types = types(&table);
    if let (Some(kind), Some(types)) = (&kind, &types) {
        check_names(kind, types, &table);
    }
    let mode = mode(keeps_state, &table);
    let filter = table.parsed("filter", values::filter);
    let from = table.parsed("from", values::start);
    let batch = number(&table, "batch", 10_000, "1 to 10,000");
    let lanes = number(&table, "lanes", 1024, "1 to 1,024");
    let rate = table.parsed("rate", values::rate);
    let retry = table.table("retry").map_or_else(Retry::default, retry);
    let on_dead = on_dead(mode, &table);
    let format = format(&table);
    table.finish();
    let kind = kind?;
    Some(SinkConfig {
        name: name?,
        types: types?,
        filter,
        from: from.unwrap_or(if keeps_state { Start::Snapshot } else { Start::Now }),
        mode,
        format,
        batch: batch.unwrap_or(if matches!(kind, SinkKind::Webhook { .. }) { 1 } else { 500 }),
        lanes: lanes.unwrap_or(16),
        rate,
        retry,
        on_dead,
        kind,
    })
}

/// Whether the target has states, not messages.
const fn keeps_state(kind: &SinkKind) -> bool {
    matches!(kind, SinkKind::RedisCache { .. } | SinkKind::OpenSearch { .. })
}

fn types(table: &Table<'_>) -> Option<Types> {
    let Some(names) = table.texts("types") else {
        return if table.has("types") { None } else { Some(Types::all()) };
    };
    values::types(names).map_err(|reason| table.wrong("types", reason)).ok()
}

/// Two entities must not share a name in a target that keeps states.
fn check_names(kind: &SinkKind, types: &Types, table: &Table<'_>) {
    let one_type = types.names().is_some_and(|names| names.len() == 1);
    let lacks = |template: &Template, part| !template.has(&part);
    match kind {
        SinkKind::RedisCache { key, .. } if lacks(key, Part::Id) => {
            table.wrong("key", "must have {id}, else all entities have the same key");
        }
        SinkKind::RedisCache { key, .. } if lacks(key, Part::Type) && !one_type => {
            table.wrong("key", "must have {type}, unless types names one type alone");
        }
        SinkKind::RedisCache { key, .. } if !key.is_separated_by_colons() => {
            table.wrong(
                "key",
                "must have a : between {type} and {id}, else two entities may have the same key",
            );
        }
        SinkKind::OpenSearch { index, .. } if lacks(index, Part::Type) && !one_type => {
            table.wrong("index", "must have {type}, unless types names one type alone");
        }
        SinkKind::OpenSearch { index, .. } if index.0.first() == Some(&Part::Type) => {
            table.wrong(
                "index",
                "must begin with a text, since its index template is for all that begin with it",
            );
        }
        _ => {}
    }
}

fn mode(keeps_state: bool, table: &Table<'_>) -> Mode {
    let default = if keeps_state { Mode::Latest } else { Mode::Log };
    table.word("mode", &[("log", Mode::Log), ("latest", Mode::Latest)]).unwrap_or(default)
}

fn on_dead(mode: Mode, table: &Table<'_>) -> OnDead {
    let words = [("hold", OnDead::Hold), ("continue", OnDead::Continue)];
    match (mode, table.word("on_dead", &words)) {
        (Mode::Latest, Some(OnDead::Hold)) => {
            table.wrong(
                "on_dead",
                "must be \"continue\" in the mode latest, where a newer state replaces a dead letter",
            );
            OnDead::Continue
        }
        (_, Some(on_dead)) => on_dead,
        (Mode::Log, None) => OnDead::Hold,
        (Mode::Latest, None) => OnDead::Continue,
    }
}

fn number(table: &Table<'_>, key: &'static str, most: u64, allowed: &str) -> Option<usize> {
    usize::try_from(table.number(key, 1..=most, allowed)?).ok()
}

/// The options of how messages are written. Kinds without messages do not have them.
fn format(table: &Table<'_>) -> Format {
    let forms = [("cloudevents", Form::CloudEvents), ("plain", Form::Plain)];
    let form = table.word("format", &forms);
    let units = [("ms", TimeUnit::Milliseconds), ("s", TimeUnit::Seconds)];
    let unit = table.word("timestamp_unit", &units);
    // a form that is wrong was noted
    let is_plain = form == Some(Form::Plain) || (form.is_none() && table.has("format"));
    if unit.is_some() && !is_plain {
        table.wrong("timestamp_unit", "is only for format = \"plain\"");
    }
    const ALL: [Part; 3] = [Part::Type, Part::Id, Part::EventName];
    Format {
        form: form.unwrap_or(Form::CloudEvents),
        event_type: table.parsed("event_type", |text| values::template(text, &ALL)),
        timestamp_unit: unit.unwrap_or(TimeUnit::Milliseconds),
        cloudevents_source: CLOUDEVENTS_SOURCE.to_owned(),
    }
}

fn retry(table: Table<'_>) -> Retry {
    let default = Retry::default();
    let count = table.number("breaker_failures", 1..=1_000_000, "1 to 1,000,000");
    let retry = Retry {
        initial: table.parsed("initial", values::duration).unwrap_or(default.initial),
        max: table.parsed("max", values::duration).unwrap_or(default.max),
        max_age: table.parsed("max_age", values::age_or_off).unwrap_or(default.max_age),
        breaker_failures: count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(default.breaker_failures),
        breaker_pause: table
            .parsed("breaker_pause", values::duration)
            .unwrap_or(default.breaker_pause),
    };
    if retry.initial > retry.max {
        let max = humantime::format_duration(retry.max);
        table.wrong("initial", format_args!("must be at most max, which is {max}"));
    }
    table.finish();
    retry
}
