//! Reads what conditions compare: values, names, paths and the functions that take one.

use std::time::Duration;

use super::error::FilterError;
use super::expression::{Operand, Place, Source};
use super::hints;
use super::names::{Kind, Name};
use super::parser::{Parse, Parser, Side};
use super::token::Token;
use super::value::Literal;
use crate::json::{Decimal, MAX_DEPTH, PathStep, Selection};
use crate::time::Timestamp;

/// How long before the request a time may be: 1,000 years, so that it is one that a database can hold.
const MAX_DURATION: Duration = Duration::from_hours(365_250 * 24);

impl<'t> Parser<'t> {
    /// A value, a name or a path, or a function of one; of errors, `expected` is what they say.
    pub(super) fn operand(&mut self, expected: &'static str) -> Parse<Side> {
        let at = self.at();
        let literal = |literal, kind| Side { at, operand: Operand::Literal(literal), kind };
        let is_call = matches!(self.tokens.get(self.next + 1), Some((_, Token::Symbol("("))));
        Ok(match self.peek().clone() {
            Token::Number(text) => {
                self.take();
                let value = Decimal::new(text);
                literal(Literal::Number { text: text.into(), value }, Kind::Number)
            }
            Token::Text(text) => {
                self.take();
                literal(Literal::Text(text.into()), Kind::Text)
            }
            Token::Name(word @ ("true" | "false")) => {
                self.take();
                literal(Literal::Bool(word == "true"), Kind::Bool)
            }
            Token::Name("null") => {
                self.take();
                literal(Literal::Null, Kind::Null)
            }
            Token::Name("now") => literal(Literal::Before(self.now()?), Kind::Time),
            Token::Name("size") if is_call => {
                let source = self.argument(true)?;
                Side { at, operand: Operand::Size(source), kind: Kind::Number }
            }
            Token::Name("timestamp") if is_call => {
                let operand = self.timestamp()?;
                Side { at, operand, kind: Kind::Time }
            }
            Token::Name(name) if is_call => {
                return self.unexpected(hints::function(name));
            }
            Token::Name(_) => {
                let (source, kind) = self.source(false)?;
                Side { at, operand: Operand::Source(source), kind }
            }
            _ => return self.unexpected(expected),
        })
    }

    /// `now`, or `now - duration("…")`: how long before the request.
    fn now(&mut self) -> Parse<Duration> {
        if !self.scope.has_now() {
            return self.error("expected no now: a reader of changes has no such time");
        }
        self.take();
        if !self.takes("-") {
            return Ok(Duration::ZERO);
        }
        const EXPECTED: &str = "expected duration(\"…\"), such as duration(\"24h\")";
        if self.take() != Token::Name("duration") {
            self.next -= 1;
            return self.error(EXPECTED);
        }
        self.expect("(")?;
        let at = self.at();
        let parsed = match self.take() {
            Token::Text(text) => humantime::parse_duration(&text).ok(),
            _ => None,
        };
        let duration = parsed.ok_or_else(|| FilterError::at(self.text, at, EXPECTED))?;
        if duration > MAX_DURATION {
            return Err(FilterError::at(self.text, at, "expected at most 1,000 years"));
        }
        self.expect(")")?;
        Ok(duration)
    }

    fn timestamp(&mut self) -> Parse<Operand> {
        let Some((at, Token::Text(text))) = self.tokens.get(self.next + 2).cloned() else {
            return Ok(Operand::Time(self.argument(false)?));
        };
        self.next += 3;
        let time = Timestamp::from_text(&text)
            .map_err(|error| FilterError::at(self.text, at, format!("the time {error}")))?;
        self.expect(")")?;
        Ok(Operand::Literal(Literal::Time(time)))
    }

    /// The name or path in the parentheses of a function, whose name comes next.
    pub(super) fn argument(&mut self, may_be_root: bool) -> Parse<Source> {
        self.take();
        self.expect("(")?;
        let (source, _) = self.source(may_be_root)?;
        self.expect(")")?;
        Ok(source)
    }

    /// A name or a path, and the kind of its value. The root of a document is no value to compare.
    fn source(&mut self, may_be_root: bool) -> Parse<(Source, Kind)> {
        let at = self.at();
        let Token::Name(name) = *self.peek() else {
            return self.unexpected("expected a path without quotes, such as data.total");
        };
        if name == "data" && self.scope.has_state() {
            self.take();
            let path = self.path_below(at, may_be_root)?;
            return Ok(place(&mut self.data, path, Place::Data));
        }
        if name == "patch" && self.scope.has_patch() {
            self.has_other_names = true;
            self.take();
            let path = self.path_below(at, may_be_root)?;
            return Ok(place(&mut self.patch, path, Place::Patch));
        }
        if let Some((variable, _)) = &self.element
            && *variable == name
        {
            self.take();
            let path = self.path()?;
            let paths = self.element.as_mut().map(|(_, paths)| paths);
            let slot = paths.map_or(0, |paths| paths.add(path));
            return Ok((Source::Place(Place::Element(slot)), Kind::Open));
        }
        let Some(known) = self.scope.name(name) else {
            return self.unknown(name);
        };
        self.take();
        self.has_other_names |= !matches!(known, Name::Type | Name::Id);
        self.has_state_names |= known.is_of_state();
        Ok((Source::Name(known), known.kind()))
    }

    fn unknown<T>(&self, name: &str) -> Parse<T> {
        let detail = match name {
            "data" => "expected no data: the updates of one entity have no state".to_owned(),
            "patch" | "touches" => format!("expected no {name}: it is for changes"),
            _ => hints::unknown_name(name, self.scope),
        };
        self.unexpected(detail)
    }

    /// The path behind the root of a document, which begins at `at`.
    fn path_below(&mut self, at: usize, may_be_root: bool) -> Parse<Vec<PathStep>> {
        let path = self.path()?;
        if path.is_empty() && !may_be_root {
            let detail = "expected a path of a member, such as data.total";
            return Err(FilterError::at(self.text, at, detail));
        }
        Ok(path)
    }

    /// The steps behind a root. A dot before a method is left.
    fn path(&mut self) -> Parse<Vec<PathStep>> {
        let mut steps = Vec::new();
        loop {
            let step = if self.is_member() {
                self.take();
                let Token::Name(name) = self.take() else { continue };
                PathStep::Key(name.into())
            } else if self.takes("[") {
                self.bracket()?
            } else {
                return Ok(steps);
            };
            if steps.len() == MAX_DEPTH {
                return self.error(format!("expected at most {MAX_DEPTH} steps in a path"));
            }
            steps.push(step);
        }
    }

    /// Whether a dot and a name come next that is no call.
    fn is_member(&self) -> bool {
        let token = |ahead: usize| self.tokens.get(self.next + ahead).map(|(_, token)| token);
        matches!(
            (token(0), token(1)),
            (Some(Token::Symbol(".")), Some(Token::Name(name)))
                if !name.starts_with(|c: char| c.is_ascii_digit())
        ) && token(2) != Some(&Token::Symbol("("))
    }

    fn bracket(&mut self) -> Parse<PathStep> {
        const EXPECTED: &str =
            "expected a key in quotes, such as [\"odd key\"], or an index from 0";
        let at = self.at();
        let step = match self.take() {
            Token::Text(key) => Some(PathStep::Key(key.into())),
            Token::Number(text) => text.parse().ok().map(PathStep::Index),
            _ => None,
        };
        let step = step.ok_or_else(|| FilterError::at(self.text, at, EXPECTED))?;
        self.expect("]")?;
        Ok(step)
    }
}

fn place(
    selection: &mut Selection,
    path: Vec<PathStep>,
    place: fn(usize) -> Place,
) -> (Source, Kind) {
    (Source::Place(place(selection.add(path))), Kind::Open)
}
