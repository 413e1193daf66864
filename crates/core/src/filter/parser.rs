//! Reads a filter: a recursive descent over its tokens, as deep as [`MAX_LEVELS`] at most.

use std::borrow::Cow;

use super::error::FilterError;
use super::expression::{Comparison, Elements, Expression, Operand, Parsed, Source, TextTest};
use super::hints;
use super::limits::{MAX_BYTES, MAX_LEVELS, MAX_NODES};
use super::names::{Kind, Scope};
use super::token::{Placed, Token, tokens};
use super::value::Literals;
use crate::json::{Path, PathStep, Selection};

pub(super) type Parse<T> = Result<T, FilterError>;

const CONDITION: &str = "expected a condition such as data.total > 100 or has(data.total)";
const COMPARISON: &str = "expected a comparison: ==, !=, <, <=, >, >= or in";
const PATH_ALONE: &str = "expected a comparison: ==, !=, <, <=, >, >= or in; a name or a path alone is no condition, \
                          add == true, or write has(…) around it";
const VALUE_ALONE: &str =
    "expected a comparison with a name or a path: a value alone is no condition";

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
        touched: Selection::default(),
        once: 0,
        has_elements: false,
        element: None,
        has_other_names: false,
        has_state_names: false,
    };
    let condition = parser.any()?;
    parser.end()?;
    Ok(Parsed {
        text: text.into(),
        scope,
        nodes: parser.nodes,
        condition,
        data: parser.data,
        patch: parser.patch,
        touched: parser.touched,
        once: parser.once,
        has_elements: parser.has_elements,
        has_other_names: parser.has_other_names,
        has_state_names: parser.has_state_names,
    })
}

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    pub(super) scope: Scope,
    pub(super) tokens: Vec<Placed<'t>>,
    /// The place of the next token.
    pub(super) next: usize,
    nodes: usize,
    levels: usize,
    pub(super) data: Selection,
    pub(super) patch: Selection,
    touched: Selection,
    once: usize,
    has_elements: bool,
    /// The variable of the elements that a condition is over, and what is read of them.
    pub(super) element: Option<(&'t str, Selection)>,
    pub(super) has_other_names: bool,
    pub(super) has_state_names: bool,
}

/// An operand, where it begins, and what it is as far as that is known.
pub(super) struct Side {
    pub(super) at: usize,
    pub(super) operand: Operand,
    pub(super) kind: Kind,
}

impl<'t> Parser<'t> {
    pub(super) fn peek(&self) -> &Token<'t> {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    pub(super) fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(at, _)| *at)
    }

    pub(super) fn take(&mut self) -> Token<'t> {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    pub(super) fn error<T>(&self, detail: impl Into<Cow<'static, str>>) -> Parse<T> {
        Err(FilterError::at(self.text, self.at(), detail))
    }

    /// The error that something else was expected here, or the hint for a word of another language.
    pub(super) fn unexpected<T>(&self, expected: impl Into<Cow<'static, str>>) -> Parse<T> {
        let hint = match self.peek() {
            Token::Name(word) => hints::word(word),
            Token::Symbol(symbol) => hints::symbol(symbol),
            _ => None,
        };
        if let Some(hint) = hint {
            return self.error(hint);
        }
        self.error(expected)
    }

    pub(super) fn takes(&mut self, symbol: &str) -> bool {
        let is_it = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.next += usize::from(is_it);
        is_it
    }

    pub(super) fn expect(&mut self, symbol: &'static str) -> Parse<()> {
        if self.takes(symbol) { Ok(()) } else { self.unexpected(format!("expected {symbol}")) }
    }

    fn end(&self) -> Parse<()> {
        match self.peek() {
            Token::End => Ok(()),
            Token::Symbol(")") => self.error("expected no ): none is open"),
            Token::Symbol("==" | "!=" | "<" | "<=" | ">" | ">=") => {
                self.error("expected && or ||, or the end: a condition is true or false by itself")
            }
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

    /// In CEL `!` binds closer than a comparison: what follows is in parentheses, or a condition by itself.
    fn not(&mut self) -> Parse<Expression> {
        if !self.takes("!") {
            return self.primary();
        }
        self.node()?;
        let at = self.at();
        let is_in_parentheses = matches!(self.peek(), Token::Symbol("("));
        let inner = self.deeper(Self::not)?;
        if inner.is_comparison() && !is_in_parentheses {
            let detail = "expected ( behind !, which else belongs to the left side alone: \
                          !(data.total == 100)";
            return Err(FilterError::at(self.text, at, detail));
        }
        Ok(Expression::Not(Box::new(inner)))
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
        let condition = match (self.peek(), self.tokens.get(self.next + 1)) {
            (Token::Name("has"), Some((_, Token::Symbol("(")))) => {
                Expression::Has(self.argument(true)?)
            }
            (Token::Name("touches"), Some((_, Token::Symbol("(")))) => self.touches()?,
            _ => self.comparison_or_method()?,
        };
        Ok(self.once(condition))
    }

    /// Has a condition within one over elements that reads none of them judged once.
    fn once(&mut self, condition: Expression) -> Expression {
        if self.element.is_none() || condition.reads_element() {
            return condition;
        }
        self.once += 1;
        Expression::Once(self.once - 1, Box::new(condition))
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
            let detail = "expected a path in quotes, such as \"data.total\"";
            return Err(FilterError::at(self.text, at, detail));
        };
        let path = Path::parse(&text)
            .map_err(|error| FilterError::at(self.text, at, format!("the path {error}")))?;
        self.expect(")")?;
        let steps = path.keys().map(|key| PathStep::Key(key.into()));
        Ok(Expression::Touches(self.touched.add(steps.collect())))
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
            return self.unexpected(match left.operand {
                Operand::Source(_) if self.ends_condition() => PATH_ALONE,
                Operand::Literal(_) => VALUE_ALONE,
                _ => COMPARISON,
            });
        };
        if matches!(self.peek(), Token::Symbol(">")) && comparison == Comparison::Less {
            return Err(FilterError::at(self.text, at, "expected != for \"not equal\""));
        }
        let right = self.operand("expected a value to compare with")?;
        self.check_kinds(&left, comparison, &right)?;
        Ok(Expression::Compare(left.operand, comparison, right.operand))
    }

    /// Whether a condition ends here.
    fn ends_condition(&self) -> bool {
        matches!(self.peek(), Token::End | Token::Symbol("&&" | "||" | ")"))
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
            let detail = "expected a name or a path before in; whether an array has a value: \
                          data.tags.exists(x, x == \"red\")";
            return Err(FilterError::at(self.text, left.at, detail));
        }
        if !self.takes("[") {
            return self.error(
                "expected [ and a list of values; whether an array has a value: \
                 data.tags.exists(x, x == \"red\")",
            );
        }
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
        Ok(Expression::OneOf(left.operand, Literals::new(literals)))
    }

    /// The call of a method, whose name comes next.
    fn method(&mut self, source: Source, kind: Kind) -> Parse<Expression> {
        let test = match self.peek() {
            Token::Name("startsWith") => TextTest::StartsWith,
            Token::Name("endsWith") => TextTest::EndsWith,
            Token::Name("contains") => TextTest::Contains,
            Token::Name("exists") => return self.elements(source, false),
            Token::Name("all") => return self.elements(source, true),
            Token::Name(name) => return self.error(hints::method(name)),
            Token::Number(_) => return self.error("expected an index in brackets, such as [0]"),
            _ => return self.error("expected a name behind the dot"),
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
                return self.error(format!(
                    "expected another name: {} has a meaning already",
                    hints::short(name)
                ));
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
        self.has_elements = true;
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
}
