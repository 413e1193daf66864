//! Reads a filter: a recursive descent over its tokens, as deep as [`MAX_LEVELS`] at most.

use std::borrow::Cow;
use std::time::Duration;

use super::error::FilterError;
use super::expression::{
    Comparison, Elements, Expression, Literal, Operand, Parsed, Place, Source, TextTest,
};
use super::limits::{MAX_BYTES, MAX_LEVELS, MAX_NODES};
use super::names::{Kind, Name, Scope};
use super::token::{Placed, Token, tokens};
use crate::json::{MAX_DEPTH, Path, PathStep, Selection};
use crate::time::Timestamp;

type Parse<T> = Result<T, FilterError>;

const CONDITION: &str = "expected a condition such as data.total > 100 or has(data.total)";
const COMPARISON: &str = "expected a comparison: ==, !=, <, <=, >, >= or in";

/// Words of other languages, and what to write instead.
const WORDS: [(&str, &str); 7] = [
    ("and", "expected &&"),
    ("or", "expected ||"),
    ("not", "expected !"),
    ("like", "expected a comparison, .startsWith, .endsWith or .contains"),
    ("is", "expected == (a missing path: !has(path))"),
    ("eq", "expected =="),
    ("between", "expected >= and <=, joined by &&"),
];

/// Reads all of a text.
pub(super) fn parse(text: &str, scope: Scope) -> Parse<Parsed> {
    if text.len() > MAX_BYTES {
        let detail = format!("expected at most {MAX_BYTES} bytes");
        return Err(FilterError::at(text, text.floor_char_boundary(MAX_BYTES), detail));
    }
    let mut parser = Parser {
        text,
        scope,
        tokens: tokens(text)?,
        next: 0,
        nodes: 0,
        levels: 0,
        data: Selection::default(),
        patch: Selection::default(),
        element: None,
        has_other_names: false,
        has_state_names: false,
    };
    let condition = parser.any()?;
    parser.end()?;
    Ok(Parsed {
        text: text.into(),
        scope,
        condition,
        data: parser.data,
        patch: parser.patch,
        has_other_names: parser.has_other_names,
        has_state_names: parser.has_state_names,
    })
}

struct Parser<'t> {
    text: &'t str,
    scope: Scope,
    tokens: Vec<Placed<'t>>,
    next: usize,
    nodes: usize,
    levels: usize,
    data: Selection,
    patch: Selection,
    /// The variable of the elements that a condition is over, and what is read of them.
    element: Option<(&'t str, Selection)>,
    has_other_names: bool,
    has_state_names: bool,
}

/// An operand, where it begins, and what it is as far as that is known.
struct Side {
    at: usize,
    operand: Operand,
    kind: Kind,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> &Token<'t> {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    fn take(&mut self) -> Token<'t> {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn error<T>(&self, detail: impl Into<Cow<'static, str>>) -> Parse<T> {
        Err(FilterError::at(self.text, self.at(), detail))
    }

    /// The error that something else was expected here, or the hint for a word of another language.
    fn unexpected<T>(&self, expected: impl Into<Cow<'static, str>>) -> Parse<T> {
        if let Token::Name(name) = self.peek()
            && let Some((_, hint)) = WORDS.iter().find(|(word, _)| name.eq_ignore_ascii_case(word))
        {
            return self.error(*hint);
        }
        self.error(expected)
    }

    fn takes(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.next += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, symbol: &'static str) -> Parse<()> {
        if self.takes(symbol) { Ok(()) } else { self.unexpected(format!("expected {symbol}")) }
    }

    fn end(&self) -> Parse<()> {
        match self.peek() {
            Token::End => Ok(()),
            Token::Symbol(")") => self.error("expected no ): none is open"),
            _ => self.unexpected("expected && or ||, or the end"),
        }
    }

    fn node(&mut self) -> Parse<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return self.error(format!("expected at most {MAX_NODES} conditions and operators"));
        }
        Ok(())
    }

    /// Reads something that is one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.levels == MAX_LEVELS {
            return self.error(format!("expected at most {MAX_LEVELS} levels"));
        }
        self.levels += 1;
        let inner = read(self);
        self.levels -= 1;
        inner
    }

    fn any(&mut self) -> Parse<Expression> {
        self.joined("||", Self::all, Expression::Any)
    }

    fn all(&mut self) -> Parse<Expression> {
        self.joined("&&", Self::not, Expression::All)
    }

    fn joined(
        &mut self,
        symbol: &'static str,
        part: fn(&mut Self) -> Parse<Expression>,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Parse<Expression> {
        let first = part(self)?;
        let mut parts = vec![first];
        while self.takes(symbol) {
            self.node()?;
            parts.push(part(self)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { join(parts) })
    }

    fn not(&mut self) -> Parse<Expression> {
        if !self.takes("!") {
            return self.primary();
        }
        self.node()?;
        self.deeper(|parser| Ok(Expression::Not(Box::new(parser.not()?))))
    }

    fn primary(&mut self) -> Parse<Expression> {
        if self.takes("(") {
            return self.deeper(|parser| {
                let inner = parser.any()?;
                parser.expect(")")?;
                Ok(inner)
            });
        }
        self.node()?;
        match (self.peek(), self.tokens.get(self.next + 1)) {
            (Token::Name("has"), Some((_, Token::Symbol("(")))) => self.has(),
            (Token::Name("touches"), Some((_, Token::Symbol("(")))) => self.touches(),
            _ => self.comparison_or_method(),
        }
    }

    fn has(&mut self) -> Parse<Expression> {
        let source = self.argument()?;
        Ok(Expression::Has(source))
    }

    fn touches(&mut self) -> Parse<Expression> {
        if !self.scope.has_patch() {
            return self.error("expected no touches: it is for changes");
        }
        self.has_other_names = true;
        self.take();
        self.expect("(")?;
        let at = self.at();
        let Token::Text(text) = self.take() else {
            return Err(FilterError::at(self.text, at, "expected a path in quotes"));
        };
        let path = Path::parse(&text)
            .map_err(|error| FilterError::at(self.text, at, format!("the path {error}")))?;
        self.expect(")")?;
        Ok(Expression::Touches(path.keys().map(Into::into).collect()))
    }

    fn comparison_or_method(&mut self) -> Parse<Expression> {
        let left = self.operand(CONDITION)?;
        if let Operand::Source(source) = left.operand
            && self.takes(".")
        {
            return self.method(source, left.kind);
        }
        let at = self.at();
        if matches!(self.peek(), Token::Name("in")) {
            self.take();
            return self.one_of(left);
        }
        let Some(comparison) = self.comparison() else {
            return match left.kind {
                Kind::Bool if matches!(left.operand, Operand::Source(_)) => self
                    .unexpected(format!("{COMPARISON}; a name alone is no condition, add == true")),
                _ => self.unexpected(COMPARISON),
            };
        };
        if matches!(self.peek(), Token::Symbol(">")) && comparison == Comparison::Less {
            return Err(FilterError::at(self.text, at, "expected != for \"not equal\""));
        }
        let right = self.operand("expected a value to compare with")?;
        self.check_kinds(&left, comparison, &right)?;
        Ok(Expression::Compare(left.operand, comparison, right.operand))
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let comparison = match self.peek() {
            Token::Symbol("==") => Comparison::Equal,
            Token::Symbol("!=") => Comparison::NotEqual,
            Token::Symbol("<") => Comparison::Less,
            Token::Symbol("<=") => Comparison::LessOrEqual,
            Token::Symbol(">") => Comparison::Greater,
            Token::Symbol(">=") => Comparison::GreaterOrEqual,
            _ => return None,
        };
        self.take();
        Some(comparison)
    }

    fn check_kinds(&self, left: &Side, comparison: Comparison, right: &Side) -> Parse<()> {
        let is_literal = |side: &Side| matches!(side.operand, Operand::Literal(_));
        if is_literal(left) && is_literal(right) {
            let detail = "expected a name or a path on one side of the comparison";
            return Err(FilterError::at(self.text, left.at, detail));
        }
        let is_ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        for side in [left, right] {
            if side.kind == Kind::Null && is_ordered {
                let detail =
                    "expected a value that has an order: null can be compared with == and != alone";
                return Err(FilterError::at(self.text, side.at, detail));
            }
        }
        if is_literal(left) {
            self.check_kind(right.kind, left)
        } else {
            self.check_kind(left.kind, right)
        }
    }

    /// Whether `side` may be of the kind that the other side has.
    fn check_kind(&self, expected: Kind, side: &Side) -> Parse<()> {
        if expected == Kind::Open || side.kind == Kind::Open || expected == side.kind {
            return Ok(());
        }
        let detail = format!("expected {}", expected.expected());
        Err(FilterError::at(self.text, side.at, detail))
    }

    fn one_of(&mut self, left: Side) -> Parse<Expression> {
        if matches!(left.operand, Operand::Literal(_)) {
            let detail = "expected a name or a path before in";
            return Err(FilterError::at(self.text, left.at, detail));
        }
        self.expect("[")?;
        let mut literals = Vec::new();
        while !self.takes("]") {
            if !literals.is_empty() {
                self.expect(",")?;
            }
            let side = self.operand("expected a value or ]")?;
            self.check_kind(left.kind, &side)?;
            let Operand::Literal(literal) = side.operand else {
                let detail = "expected a value: a list has no names or paths";
                return Err(FilterError::at(self.text, side.at, detail));
            };
            literals.push(literal);
        }
        Ok(Expression::OneOf(left.operand, literals))
    }

    /// The call of a method, whose name comes next.
    fn method(&mut self, source: Source, kind: Kind) -> Parse<Expression> {
        let test = match self.peek() {
            Token::Name("startsWith") => TextTest::StartsWith,
            Token::Name("endsWith") => TextTest::EndsWith,
            Token::Name("contains") => TextTest::Contains,
            Token::Name("exists") => return self.elements(source, false),
            Token::Name("all") => return self.elements(source, true),
            _ => {
                return self.error(
                    "expected startsWith, endsWith, contains, exists or all behind the dot",
                );
            }
        };
        if !matches!(kind, Kind::Text | Kind::Open) {
            return self.error("expected a comparison: this name is no string");
        }
        self.take();
        self.expect("(")?;
        let at = self.at();
        let Token::Text(text) = self.take() else {
            return Err(FilterError::at(self.text, at, "expected a string in quotes"));
        };
        self.expect(")")?;
        Ok(Expression::Text(source, test, text.into()))
    }

    fn elements(&mut self, source: Source, all: bool) -> Parse<Expression> {
        let Source::Place(array) = source else {
            return self.error("expected a path of an array before .exists and .all");
        };
        if self.element.is_some() {
            return self.error("expected no .exists or .all within another");
        }
        self.take();
        self.expect("(")?;
        let variable = match *self.peek() {
            Token::Name(name) if self.is_free(name) => name,
            Token::Name(name) => {
                return self.error(format!("expected another name: {name} has a meaning already"));
            }
            _ => return self.error("expected a name for the element, such as x"),
        };
        self.take();
        self.expect(",")?;
        self.element = Some((variable, Selection::default()));
        let condition = self.deeper(Self::any);
        let paths = self.element.take().map(|(_, paths)| paths).unwrap_or_default();
        let condition = Box::new(condition?);
        self.expect(")")?;
        Ok(Expression::Elements(Elements { array, all, paths, condition }))
    }

    /// Whether a name may be that of a variable.
    fn is_free(&self, name: &str) -> bool {
        const WORDS: [&str; 11] = [
            "data",
            "patch",
            "now",
            "timestamp",
            "duration",
            "size",
            "has",
            "touches",
            "in",
            "true",
            "false",
        ];
        !name.starts_with(|c: char| c.is_ascii_digit())
            && name != "null"
            && !WORDS.contains(&name)
            && self.scope.name(name).is_none()
    }

    fn operand(&mut self, expected: &'static str) -> Parse<Side> {
        let at = self.at();
        let literal = |literal, kind| Side { at, operand: Operand::Literal(literal), kind };
        let is_call = matches!(self.tokens.get(self.next + 1), Some((_, Token::Symbol("("))));
        Ok(match self.peek().clone() {
            Token::Number(text) => {
                self.take();
                literal(Literal::Number(text.into()), Kind::Number)
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
                let source = self.argument()?;
                Side { at, operand: Operand::Size(source), kind: Kind::Number }
            }
            Token::Name("timestamp") if is_call => {
                let operand = self.timestamp()?;
                Side { at, operand, kind: Kind::Time }
            }
            Token::Name(name) if is_call => {
                let hint = match name {
                    "matches" => "regular expressions are not supported",
                    "duration" => "a duration comes behind now -",
                    _ => "the functions are has, size, timestamp and touches",
                };
                return self.unexpected(format!("expected no function {name}: {hint}"));
            }
            Token::Name(_) => {
                let (source, kind) = self.source()?;
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
        self.expect(")")?;
        Ok(duration)
    }

    fn timestamp(&mut self) -> Parse<Operand> {
        let Some((at, Token::Text(text))) = self.tokens.get(self.next + 2).cloned() else {
            return Ok(Operand::Time(self.argument()?));
        };
        self.next += 3;
        let time = Timestamp::from_text(&text)
            .map_err(|error| FilterError::at(self.text, at, format!("the time {error}")))?;
        self.expect(")")?;
        Ok(Operand::Literal(Literal::Time(time)))
    }

    /// The name or path in the parentheses of a function, whose name comes next.
    fn argument(&mut self) -> Parse<Source> {
        self.take();
        self.expect("(")?;
        let (source, _) = self.source()?;
        self.expect(")")?;
        Ok(source)
    }

    /// A name or a path, and the kind of its value.
    fn source(&mut self) -> Parse<(Source, Kind)> {
        let at = self.at();
        let Token::Name(name) = *self.peek() else {
            return self.unexpected("expected a path such as data.total");
        };
        if name == "data" && self.scope.has_state() {
            self.take();
            return self.place(at, |parser| &mut parser.data, Place::Data);
        }
        if name == "patch" && self.scope.has_patch() {
            self.has_other_names = true;
            self.take();
            return self.place(at, |parser| &mut parser.patch, Place::Patch);
        }
        if let Some((variable, _)) = &self.element
            && *variable == name
        {
            self.take();
            let path = self.path()?;
            let slot = self.element.as_mut().map_or(0, |(_, paths)| paths.add(path));
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
            _ => {
                let nearest = self.scope.nearest(name);
                format!(
                    "expected a known name; {name} is none, the nearest is {nearest} (members of the \
                     document are data.{name})"
                )
            }
        };
        self.unexpected(detail)
    }

    fn place(
        &mut self,
        at: usize,
        selection: fn(&mut Self) -> &mut Selection,
        place: fn(usize) -> Place,
    ) -> Parse<(Source, Kind)> {
        let path = self.path()?;
        if path.is_empty() && !matches!(self.tokens.get(self.next), Some((_, Token::Symbol(")")))) {
            let detail = "expected a path of a member, such as data.total";
            return Err(FilterError::at(self.text, at, detail));
        }
        Ok((Source::Place(place(selection(self).add(path))), Kind::Open))
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
        const EXPECTED: &str = "expected a key in quotes or an index from 0";
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
