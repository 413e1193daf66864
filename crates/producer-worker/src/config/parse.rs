//! Reads `worker.toml`.

use std::collections::HashMap;
use std::ops::Range;

use producer_core::worker::check_connector_name;
use toml::de::DeTable;

use super::errors::{ConfigErrors, Problems};
use super::table::{Context, Table};
use super::{sink, source};
use crate::config::Config;

impl Config {
    /// Reads the text of a file. `file` is its name in errors; `environment` has the variables that `${NAME}`
    /// puts into texts.
    ///
    /// # Errors
    /// All that is wrong, each with its line and key, without secrets.
    pub fn parse(
        text: &str,
        file: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        let context = Context { problems: Problems::new(text), environment };
        let (document, wrong) = DeTable::parse_recoverable(text);
        for error in &wrong {
            // the error's own text shows the line, which may hold a secret
            let span = error.span().unwrap_or(0..0);
            context.problems.add(&span, format_args!("no TOML: {}", error.message()));
        }
        // what such a file says would be guessed, and so would be what is wrong with it
        let config = match wrong.is_empty() {
            true => read(&context, document.get_ref()),
            false => Self::default(),
        };
        context.problems.unless_any(file, config)
    }

    /// The same with this `source` of CloudEvents.
    #[must_use]
    pub fn with_cloudevents_source(mut self, source: &str) -> Self {
        for sink in &mut self.sinks {
            source.clone_into(&mut sink.format.cloudevents_source);
        }
        self
    }
}

/// The first bytes: where the error is what the file lacks.
const BEGINNING: Range<usize> = 0..0;

fn read<'a>(context: &'a Context<'a>, document: &'a DeTable<'a>) -> Config {
    let file = Table::new(context, "", document, BEGINNING);
    let (sinks, sources) = (named("sink", &file), named("source", &file));
    if !file.has("sink") && !file.has("source") {
        context.problems.add(&BEGINNING, "there is no [[sink]] and no [[source]]");
    }
    file.finish();
    Config {
        sinks: sinks.into_iter().filter_map(|(name, table)| sink::read(name, table)).collect(),
        sources: sources
            .into_iter()
            .filter_map(|(name, table)| source::read(name, table))
            .collect(),
    }
}

/// Connectors with their names, which errors show, and which are unique in a role.
fn named<'a>(role: &'static str, file: &Table<'a>) -> Vec<(Option<String>, Table<'a>)> {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let with_name = |table: Table<'a>| {
        let name = table.require("name", table.text("name"));
        let Some(name) = name else { return (None, table) };
        // a name that is a secret is not shown
        let table = match name.is_secret() {
            true => table,
            false => table.called(format!("{role} {name}")),
        };
        let name = name.into_string();
        if let Err(reason) = check_connector_name(&name) {
            table.wrong("name", reason);
            return (None, table);
        }
        if let Some(line) = lines.get(&name) {
            table.wrong("name", format_args!("is that of the {role} in line {line} too"));
            return (None, table);
        }
        lines.insert(name.clone(), table.line("name"));
        (Some(name), table)
    };
    file.tables(role).into_iter().map(with_name).collect()
}
