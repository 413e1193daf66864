//! The environment, and `.env` in the working folder beneath it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

/// Up to so many edits a name is taken for a typing error of a setting's.
const TYPO: usize = 2;

/// The setting that may not be empty: whoever sets it doesn't want the embedded file.
const DATABASE_URL: &str = "DATABASE_URL";

/// Variables by name. One that is empty counts as unset, `DATABASE_URL` excepted.
#[derive(Debug, Default)]
pub struct Environment {
    values: HashMap<String, OsString>,
    /// The names in `.env`, each with its line.
    file: Vec<(String, usize)>,
}

/// A name in `.env` that is close to a setting's, and not one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misspelt {
    name: String,
    line: usize,
    setting: String,
}

impl fmt::Display for Misspelt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, line, setting } = self;
        write!(f, ".env: line {line}: {name} is no setting and is ignored; did you mean {setting}?")
    }
}

impl Misspelt {
    /// Warns of it; the value may be a secret.
    pub(super) fn log(&self) {
        let Self { name, line, setting } = self;
        tracing::warn!(
            name,
            line,
            did_you_mean = setting,
            ".env has a name that is no setting and is ignored"
        );
    }
}

impl Environment {
    /// Reads both; the real environment wins. It isn't changed: `std::env::set_var` is unsafe.
    pub(super) fn load() -> Result<Self, String> {
        let real = std::env::vars_os();
        let real = real.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let file = from_file(".env")?;
        let lines = match file.is_empty() {
            true => String::new(),
            false => std::fs::read_to_string(".env").map_err(|e| unreadable(&e))?,
        };
        let line = |(name, _): &(String, OsString)| Some((name.clone(), line_of(&lines, name)?));
        let mut named: Vec<_> = file.iter().filter_map(line).collect();
        named.sort_by_key(|(_, line)| *line);
        named.dedup(); // one that is set twice
        Ok(Self { file: named, ..Self::layered(file, real) })
    }

    fn layered(
        file: impl IntoIterator<Item = (String, OsString)>,
        real: impl IntoIterator<Item = (String, OsString)>,
    ) -> Self {
        let all = file.into_iter().chain(real);
        let is_set = |(name, value): &(String, OsString)| !value.is_empty() || name == DATABASE_URL;
        Self { values: all.filter(is_set).collect(), file: Vec::new() }
    }

    /// Names in `.env` that are probably meant to be one of `settings`.
    pub(super) fn misspelt(&self, settings: &[String]) -> Vec<Misspelt> {
        let unknown = self.file.iter().filter(|(name, _)| !settings.contains(name));
        let meant = |name: &str| {
            let upper = name.to_uppercase();
            let distance = |setting: &String| strsim::osa_distance(&upper, setting);
            settings.iter().min_by_key(|setting| distance(setting)).filter(|s| distance(s) <= TYPO)
        };
        let misspelt = unknown.filter_map(|(name, line)| {
            let setting = meant(name)?.clone();
            Some(Misspelt { name: name.clone(), line: *line, setting })
        });
        misspelt.collect()
    }

    /// The value of a variable.
    ///
    /// # Errors
    /// One line: it is no UTF-8.
    pub fn get(&self, name: &str) -> Result<Option<&str>, String> {
        let Some(value) = self.values.get(name) else { return Ok(None) };
        let text = value.to_str();
        text.map(Some).ok_or_else(|| format!("{name}: {value:?} is invalid: allowed is UTF-8"))
    }
}

fn unreadable(error: &impl fmt::Display) -> String {
    format!(".env: can't be read: {error}")
}

/// The number of the first line that sets `name`. dotenvy doesn't say.
fn line_of(text: &str, name: &str) -> Option<usize> {
    let sets = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(sets).map(|line| line + 1)
}

fn from_file(path: &str) -> Result<Vec<(String, OsString)>, String> {
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&error)),
    };
    lines
        .map(|line| {
            // without the error itself: it repeats the line, which may hold a password
            let (name, value) = line.map_err(
                |_| ".env: a line is invalid: allowed is NAME=VALUE, or # and a comment",
            )?;
            Ok((name, value.into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(all: &[(&str, &str)]) -> Vec<(String, OsString)> {
        all.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
    }

    #[test]
    fn the_real_environment_wins_and_empty_is_unset() {
        let environment = Environment::layered(
            vars(&[("A", "file"), ("B", "file"), ("C", "file")]),
            vars(&[("A", "real"), ("B", "")]),
        );
        assert_eq!(environment.get("A"), Ok(Some("real")));
        assert_eq!(environment.get("B"), Ok(Some("file")), "empty counts as unset");
        assert_eq!(environment.get("C"), Ok(Some("file")));
        assert_eq!(environment.get("D"), Ok(None));
    }

    #[test]
    fn names_close_to_a_setting_are_found_with_their_lines() {
        let text = "# a comment\nDATABSE_URL=x\n\nexport server_port = 1\nSERVER_PORT=2\nOTHER=3\n";
        let names = ["DATABSE_URL", "server_port", "SERVER_PORT", "OTHER"];
        let file = names.map(|name| (name.to_owned(), line_of(text, name).expect(name)));
        let environment = Environment { file: file.into(), ..Environment::default() };
        let settings = ["SERVER_PORT".to_owned(), "DATABASE_URL".to_owned()];
        let misspelt = |name: &str, line, setting: &str| Misspelt {
            name: name.into(),
            line,
            setting: setting.into(),
        };
        assert_eq!(
            environment.misspelt(&settings),
            [misspelt("DATABSE_URL", 2, "DATABASE_URL"), misspelt("server_port", 4, "SERVER_PORT")]
        );
    }
}
