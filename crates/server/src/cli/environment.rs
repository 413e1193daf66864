//! The environment, and `.env` in the working folder beneath it.

use std::collections::HashMap;
use std::ffi::OsString;

/// Variables by name. One that is empty counts as unset.
#[derive(Debug, Default)]
pub(super) struct Environment(HashMap<String, OsString>);

impl Environment {
    /// Reads both; the real environment wins. It isn't changed: `std::env::set_var` is unsafe.
    pub(super) fn load() -> Result<Self, String> {
        let real = std::env::vars_os();
        let real = real.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        Ok(Self::layered(from_file(".env")?, real))
    }

    fn layered(
        file: impl IntoIterator<Item = (String, OsString)>,
        real: impl IntoIterator<Item = (String, OsString)>,
    ) -> Self {
        let all = file.into_iter().chain(real);
        Self(all.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Result<Option<&str>, String> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let text = value.to_str();
        text.map(Some).ok_or_else(|| format!("{name}: {value:?} is invalid: allowed is UTF-8"))
    }
}

fn from_file(path: &str) -> Result<Vec<(String, OsString)>, String> {
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(Vec::new()),
        Err(error) => return Err(format!(".env: can't be read: {error}")),
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
}
