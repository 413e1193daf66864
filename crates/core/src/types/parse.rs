//! Reading a definition, with every broken rule and its location.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::definition::{DEFAULT_LANGUAGE, Definition, IndexDefinition, SearchDefinition};
use super::index_path::{IndexPath, below_data};
use crate::json::{Kind, Location, Malformed, Path, Scanner, Violations, whole};
use crate::model::{Problem, check_id};

const MAX_INDEXES: usize = 16;
const MAX_INDEX_PATHS: usize = 3;
const MAX_SEARCH_PATHS: usize = 16;
const MAX_WEIGHT: i64 = 4;
/// Names of PostgreSQL's text search configurations are no longer.
const MAX_LANGUAGE: usize = 63;
/// Names at most this many letters apart are taken for a slip.
const TYPO: usize = 3;

impl Definition {
    /// Reads the JSON text of a definition. Members that are null count as absent.
    ///
    /// # Errors
    /// Every broken rule with its location; a text that is no JSON is one of them.
    pub fn parse(text: &str) -> Result<Self, Violations> {
        Self::read_whole(text).unwrap_or_else(|malformed| {
            let detail = format!("must be a JSON object: {malformed}");
            Err(Violations::one(Location::default(), detail))
        })
    }

    /// As [`Definition::parse`], of a body.
    ///
    /// # Errors
    /// `Malformed` with line and column where the text is no JSON, else `Validation` with all broken rules.
    pub fn read(text: &str) -> Result<Self, Problem> {
        Self::read_whole(text)?.map_err(Problem::validation)
    }

    /// Reads several definitions: a JSON object that has one of each type, in the order of the text.
    ///
    /// # Errors
    /// As [`Definition::read`]; also for a name that no type can have.
    pub fn read_by_type(text: &str) -> Result<Vec<(String, Self)>, Problem> {
        let mut reader = Reader { scan: Scanner::new(text), violations: Violations::default() };
        let definitions = reader.definitions()?;
        reader.scan.lexer.end()?;
        let is_valid = reader.violations.is_empty();
        if is_valid { Ok(definitions) } else { Err(Problem::validation(reader.violations)) }
    }

    fn read_whole(text: &str) -> Result<Result<Self, Violations>, Malformed> {
        let mut reader = Reader { scan: Scanner::new(text), violations: Violations::default() };
        let definition = reader.definition()?;
        reader.scan.lexer.end()?;
        let is_valid = reader.violations.is_empty();
        Ok(if is_valid { Ok(definition) } else { Err(reader.violations) })
    }
}

struct Reader<'a> {
    scan: Scanner<'a>,
    violations: Violations,
}

/// Each method reads the next value; one that breaks a rule is reported and skipped.
impl<'a> Reader<'a> {
    fn definitions(&mut self) -> Result<Vec<(String, Definition)>, Malformed> {
        let mut definitions = Vec::new();
        if !self.enters_object()? {
            return Ok(definitions);
        }
        while self.scan.next_member(&mut self.violations)? {
            let entity_type = self.scan.current_key().to_string();
            if let Err(detail) = check_id(&entity_type) {
                self.violation(detail);
            }
            definitions.push((entity_type, self.definition()?));
        }
        Ok(definitions)
    }

    fn definition(&mut self) -> Result<Definition, Malformed> {
        let mut definition = Definition::default();
        if !self.enters_object()? {
            return Ok(definition);
        }
        while self.scan.next_member(&mut self.violations)? {
            match &**self.scan.current_key() {
                "indexes" => definition.indexes = self.indexes()?,
                "search" => definition.search = self.search()?,
                _ => self.unknown_member(&["indexes", "search"])?,
            }
        }
        Ok(definition)
    }

    fn indexes(&mut self) -> Result<Vec<IndexDefinition>, Malformed> {
        let mut indexes = Vec::new();
        if self.is_null()? || !self.enters_array("must be an array of indexes")? {
            return Ok(indexes);
        }
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        while self.scan.next_element()? {
            count += 1;
            if count == MAX_INDEXES + 1 {
                self.violation(format!(
                    "must not be there: a type has at most {MAX_INDEXES} indexes"
                ));
            }
            let location = self.scan.location();
            if let Some(index) = self.index()? {
                if seen.insert(index.clone()) {
                    indexes.push(index);
                } else {
                    self.violations.add(|| location, "must not be declared twice");
                }
            }
        }
        Ok(indexes)
    }

    fn index(&mut self) -> Result<Option<IndexDefinition>, Malformed> {
        match self.scan.next_kind()? {
            Kind::String => {
                let path = self.index_path()?;
                Ok(path.map(|path| IndexDefinition { paths: vec![path] }))
            }
            Kind::Array => self.index_of_several(),
            _ => self.refused("must be a path or an array of paths").map(|()| None),
        }
    }

    fn index_of_several(&mut self) -> Result<Option<IndexDefinition>, Malformed> {
        let location = self.scan.location();
        let (mut paths, mut count) = (Vec::new(), 0);
        self.scan.enter_array();
        while self.scan.next_element()? {
            count += 1;
            if count == MAX_INDEX_PATHS + 1 {
                self.violation(format!(
                    "must not be there: an index has at most {MAX_INDEX_PATHS} paths"
                ));
            }
            match self.index_path()? {
                Some(path) if paths.contains(&path) => {
                    self.violation("must not occur twice in one index");
                }
                path => paths.extend(path),
            }
        }
        if count == 0 {
            self.violations.add(|| location, "must have at least one path");
        }
        Ok((count > 0 && paths.len() == count).then_some(IndexDefinition { paths }))
    }

    fn index_path(&mut self) -> Result<Option<IndexPath>, Malformed> {
        let Some(text) = self.text("must be a path")? else { return Ok(None) };
        let path = IndexPath::parse(&text);
        Ok(path.map_err(|detail| self.violation(detail)).ok())
    }

    fn search(&mut self) -> Result<Option<SearchDefinition>, Malformed> {
        if self.is_null()? {
            return Ok(None);
        }
        let location = self.scan.location();
        let (mut paths, mut language) = (None, None);
        if !self.enters_object()? {
            return Ok(None);
        }
        while self.scan.next_member(&mut self.violations)? {
            match &**self.scan.current_key() {
                "paths" => paths = Some(self.search_paths()?),
                "language" => language = self.language()?,
                _ => self.unknown_member(&["paths", "language"])?,
            }
        }
        if paths.is_none() {
            self.violations.add(|| location, "must have paths");
        }
        let language = language.unwrap_or_else(|| DEFAULT_LANGUAGE.to_owned());
        Ok(paths.map(|paths| SearchDefinition { paths, language }))
    }

    fn search_paths(&mut self) -> Result<Vec<(Path, u8)>, Malformed> {
        let location = self.scan.location();
        let (mut paths, mut count) = (Vec::<(Path, u8)>::new(), 0);
        if !self.enters_object()? {
            return Ok(paths);
        }
        while self.scan.next_member(&mut self.violations)? {
            count += 1;
            if count == MAX_SEARCH_PATHS + 1 {
                self.violation(format!(
                    "must not be there: a type searches at most {MAX_SEARCH_PATHS} paths"
                ));
            }
            match below_data(self.scan.current_key()) {
                Ok(path) if paths.iter().any(|(known, _)| *known == path) => {
                    self.violation("must not occur twice, in whatever notation");
                    self.weight()?;
                }
                Ok(path) => paths.extend(self.weight()?.map(|weight| (path, weight))),
                Err(detail) => {
                    self.violation(detail);
                    self.weight()?;
                }
            }
        }
        if count == 0 {
            self.violations.add(|| location, "must have at least one path");
        }
        // members have no order: written in another one, it is the same search, and is not built anew
        paths.sort_by_cached_key(|(path, weight)| (Reverse(*weight), path.to_string()));
        Ok(paths)
    }

    fn weight(&mut self) -> Result<Option<u8>, Malformed> {
        if self.scan.next_kind()? == Kind::Number {
            let number = self.scan.number(&mut self.violations)?;
            let weight = whole(number.raw).filter(|weight| (1..=MAX_WEIGHT).contains(weight));
            if let Some(weight) = weight.and_then(|weight| u8::try_from(weight).ok()) {
                return Ok(Some(weight));
            }
            self.violation(format!("must be a weight of 1 to {MAX_WEIGHT}"));
            return Ok(None);
        }
        self.refused(format!("must be a weight of 1 to {MAX_WEIGHT}"))?;
        Ok(None)
    }

    /// Whether a database knows the language is found out when the definition is stored.
    fn language(&mut self) -> Result<Option<String>, Malformed> {
        if self.is_null()? {
            return Ok(None);
        }
        let Some(text) = self.text("must be the name of a language")? else { return Ok(None) };
        let is_name = (1..=MAX_LANGUAGE).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !is_name {
            self.violation("must be the name of a language, such as simple or english");
            return Ok(None);
        }
        Ok(Some(text.into_owned()))
    }

    fn text(&mut self, expected: &'static str) -> Result<Option<Cow<'a, str>>, Malformed> {
        if self.scan.next_kind()? != Kind::String {
            return self.refused(expected).map(|()| None);
        }
        let text = self.scan.string(&mut self.violations)?;
        Ok(text.flaw.is_none().then(|| text.decoded()))
    }

    fn is_null(&mut self) -> Result<bool, Malformed> {
        if self.scan.next_kind()? != Kind::Null {
            return Ok(false);
        }
        self.scan.value(&mut self.violations)?;
        Ok(true)
    }

    fn enters_object(&mut self) -> Result<bool, Malformed> {
        if self.scan.next_kind()? != Kind::Object {
            return self.refused("must be a JSON object").map(|()| false);
        }
        self.scan.enter_object();
        Ok(true)
    }

    fn enters_array(&mut self, expected: &'static str) -> Result<bool, Malformed> {
        if self.scan.next_kind()? != Kind::Array {
            return self.refused(expected).map(|()| false);
        }
        self.scan.enter_array();
        Ok(true)
    }

    fn unknown_member(&mut self, known: &[&str]) -> Result<(), Malformed> {
        let name = self.scan.current_key();
        let distance = |known: &&&str| strsim::osa_distance(&name.to_lowercase(), known);
        let nearest = known.iter().min_by_key(distance).filter(|known| distance(known) <= TYPO);
        let detail = match nearest {
            Some(known) => format!("is unknown; did you mean {known}?"),
            None => format!("is unknown; allowed are {}", known.join(" and ")),
        };
        self.refused(detail)
    }

    /// Reports the next value and skips it.
    fn refused(&mut self, detail: impl Into<Cow<'static, str>>) -> Result<(), Malformed> {
        self.violation(detail);
        self.scan.value(&mut self.violations).map(drop)
    }

    fn violation(&mut self, detail: impl Into<Cow<'static, str>>) {
        self.violations.add(|| self.scan.location(), detail);
    }
}

#[cfg(test)]
mod tests;
