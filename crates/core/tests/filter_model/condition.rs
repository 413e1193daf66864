//! Random conditions, and their texts.

use producer_core::filter::Scope;

use crate::document::{Json, KEYS, NUMBERS, TEXTS, space, write_text};
use crate::judge::{Subject, walk};
use crate::random::Random;

#[derive(Debug)]
pub(crate) enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Compare(Operand, Comparison, Operand),
    In(Operand, Vec<Literal>),
    Has(Source),
    Text(Source, Test, String),
    Elements { array: Source, all: bool, condition: Box<Self> },
    Touches(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Test {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Debug)]
pub(crate) enum Operand {
    Source(Source),
    Size(Source),
    Time(Source),
    Literal(Literal),
}

#[derive(Debug)]
pub(crate) enum Source {
    Name(&'static str),
    Path(Root, Vec<Step>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Data,
    Patch,
    Element,
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

#[derive(Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Time(String),
    /// So many seconds before the request.
    Ago(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Text,
    Number,
    Bool,
    Time,
}

const NAMES: [(&str, Kind); 7] = [
    ("type", Kind::Text),
    ("entityType", Kind::Text),
    ("id", Kind::Text),
    ("entityId", Kind::Text),
    ("version", Kind::Number),
    ("createdAt", Kind::Time),
    ("updatedAt", Kind::Time),
];

const NAMES_OF_CHANGES: [(&str, Kind); 7] = [
    ("operation", Kind::Text),
    ("created", Kind::Bool),
    ("committedAt", Kind::Time),
    ("eventName", Kind::Text),
    ("eventType", Kind::Text),
    ("eventSource", Kind::Text),
    ("eventActor", Kind::Text),
];

const TIMES: [&str; 4] =
    ["2024-01-15T09:30:00Z", "2024-01-15T10:30:00+01:00", "2024-01-15T08:30:00Z", "1705311000000"];

pub(crate) fn condition(random: &mut Random, subject: &Subject, scope: Scope) -> Condition {
    Maker { random, subject, scope, is_in_elements: false }.condition(0)
}

struct Maker<'m> {
    random: &'m mut Random,
    subject: &'m Subject,
    scope: Scope,
    is_in_elements: bool,
}

impl Maker<'_> {
    fn condition(&mut self, level: usize) -> Condition {
        match self.random.below(if level > 2 { 60 } else { 100 }) {
            0..30 => self.compare(),
            30..38 => self.one_of(),
            38..46 => Condition::Has(self.source(true).0),
            46..54 => self.text(),
            54..60 if self.scope == Scope::Change => self.touches(),
            54..60 => self.compare(),
            60..70 => Condition::Not(Box::new(self.condition(level + 1))),
            70..80 => Condition::Any(self.parts(level)),
            80..90 => Condition::All(self.parts(level)),
            _ if self.is_in_elements => self.compare(),
            _ => self.elements(level),
        }
    }

    fn parts(&mut self, level: usize) -> Vec<Condition> {
        (0..2 + self.random.below(2)).map(|_| self.condition(level + 1)).collect()
    }

    fn compare(&mut self) -> Condition {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        const ALL: [Comparison; 6] = [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual];
        let comparison = *self.random.pick(&ALL);
        let (left, kind) = self.operand();
        let is_ordered = !matches!(comparison, Equal | NotEqual);
        let right = if self.random.percent(75) {
            Operand::Literal(self.literal_for(&left, kind, !is_ordered))
        } else {
            self.operand_of(kind)
        };
        if self.random.percent(30) {
            return Condition::Compare(right, comparison, left);
        }
        Condition::Compare(left, comparison, right)
    }

    fn one_of(&mut self) -> Condition {
        let (operand, kind) = self.operand();
        let count = self.random.below(5);
        let literals = (0..count).map(|_| self.literal_for(&operand, kind, true)).collect();
        Condition::In(operand, literals)
    }

    fn text(&mut self) -> Condition {
        let source = loop {
            if let (source, Kind::Text | Kind::Open) = self.source(false) {
                break source;
            }
        };
        let test = *self.random.pick(&[Test::StartsWith, Test::EndsWith, Test::Contains]);
        let text = *self.random.pick(&TEXTS);
        let most = self.random.below(text.chars().count() + 1);
        Condition::Text(source, test, text.chars().take(most).collect())
    }

    fn touches(&mut self) -> Condition {
        let (_, mut steps) = self.path(Root::Patch);
        let is_key = |step: &Step| matches!(step, Step::Key(_));
        let keys = steps.iter().take_while(|step| is_key(step)).count();
        steps.truncate(keys);
        let keys = steps.into_iter().filter_map(|step| match step {
            Step::Key(key) => Some(key),
            Step::Index(_) => None,
        });
        Condition::Touches(keys.collect())
    }

    fn elements(&mut self, level: usize) -> Condition {
        let root = self.root();
        let (root, steps) = loop {
            let (root, steps) = self.path(root);
            if !steps.is_empty() {
                break (root, steps);
            }
        };
        let all = self.random.percent(50);
        self.is_in_elements = true;
        let condition = Box::new(self.condition(level + 1));
        self.is_in_elements = false;
        Condition::Elements { array: Source::Path(root, steps), all, condition }
    }

    fn operand(&mut self) -> (Operand, Kind) {
        match self.random.below(10) {
            0 => (Operand::Size(self.source(true).0), Kind::Number),
            1 => (Operand::Time(self.source(false).0), Kind::Time),
            _ => {
                let (source, kind) = self.source(false);
                (Operand::Source(source), kind)
            }
        }
    }

    fn operand_of(&mut self, wanted: Kind) -> Operand {
        loop {
            let (operand, kind) = self.operand();
            if kind == wanted || kind == Kind::Open || wanted == Kind::Open {
                return operand;
            }
        }
    }

    fn root(&mut self) -> Root {
        match self.random.below(10) {
            0..6 if self.is_in_elements => Root::Element,
            6..8 if self.scope == Scope::Change => Root::Patch,
            _ => Root::Data,
        }
    }

    fn source(&mut self, may_be_root: bool) -> (Source, Kind) {
        if self.random.percent(20) {
            let names: &[_] = match self.scope {
                Scope::Change if self.random.percent(50) => &NAMES_OF_CHANGES,
                _ => &NAMES,
            };
            let (name, kind) = *self.random.pick(names);
            return (Source::Name(name), kind);
        }
        let root = self.root();
        loop {
            let (root, steps) = self.path(root);
            if !steps.is_empty() || may_be_root || root == Root::Element {
                return (Source::Path(root, steps), Kind::Open);
            }
        }
    }

    /// A path: mostly one that is there.
    fn path(&mut self, root: Root) -> (Root, Vec<Step>) {
        let subject = self.subject;
        let mut value = match root {
            Root::Data => Some(&subject.data),
            Root::Patch => Some(&subject.patch),
            Root::Element => None,
        };
        let mut steps = Vec::new();
        let most = if root == Root::Element { 2 } else { 4 };
        while steps.len() < most && self.random.percent(60) {
            value = match value {
                Some(Json::Object(members)) if !members.is_empty() && self.random.percent(90) => {
                    let (key, value) = self.random.pick(members);
                    steps.push(Step::Key(key.clone()));
                    Some(value)
                }
                Some(Json::Array(elements)) if self.random.percent(90) => {
                    let index = self.random.below(elements.len() + 1);
                    steps.push(Step::Index(index));
                    elements.get(index)
                }
                Some(_) if self.random.percent(70) => break,
                _ => {
                    steps.push(Step::Key((*self.random.pick(&KEYS)).to_owned()));
                    None
                }
            };
        }
        (root, steps)
    }

    /// A literal to compare with an operand, often the very value.
    fn literal_for(&mut self, operand: &Operand, kind: Kind, may_be_null: bool) -> Literal {
        if let Operand::Source(Source::Path(Root::Data, steps)) = operand
            && self.random.percent(50)
        {
            match walk(&self.subject.data, steps) {
                Some(Json::Text(text)) => return Literal::Text(text.clone()),
                Some(Json::Number(text)) => return Literal::Number(text.clone()),
                Some(Json::Bool(value)) => return Literal::Bool(*value),
                _ => {}
            }
        }
        self.literal(kind, may_be_null)
    }

    fn literal(&mut self, kind: Kind, may_be_null: bool) -> Literal {
        let kind = match kind {
            Kind::Open if may_be_null && self.random.percent(10) => return Literal::Null,
            Kind::Open => {
                *self.random.pick(&[Kind::Text, Kind::Number, Kind::Number, Kind::Bool, Kind::Time])
            }
            kind => kind,
        };
        match kind {
            Kind::Text if self.random.percent(30) => {
                Literal::Text((*self.random.pick(&["Car", "c-1", "ä'\"", "merge", "Paid"])).into())
            }
            Kind::Text => Literal::Text((*self.random.pick(&TEXTS)).to_owned()),
            Kind::Number => Literal::Number((*self.random.pick(&NUMBERS)).to_owned()),
            Kind::Bool => Literal::Bool(self.random.percent(50)),
            Kind::Time | Kind::Open => {
                if self.scope == Scope::Entity && self.random.percent(40) {
                    return Literal::Ago(*self.random.pick(&[0, 1, 3600]));
                }
                Literal::Time((*self.random.pick(&TIMES)).to_owned())
            }
        }
    }
}

/// A text of the condition, with random white space, quotes, escapes and parentheses that change nothing.
pub(crate) fn printed(random: &mut Random, condition: &Condition) -> String {
    let mut printer = Printer { random, out: String::new() };
    printer.condition(condition, Binding::Any);
    printer.out
}

/// How tightly what stands around a condition binds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Any,
    All,
    Not,
}

struct Printer<'p> {
    random: &'p mut Random,
    out: String,
}

impl Printer<'_> {
    fn condition(&mut self, condition: &Condition, around: Binding) {
        let must = match condition {
            Condition::Any(_) => around > Binding::Any,
            Condition::All(_) => around > Binding::All,
            Condition::Compare(..) | Condition::In(..) => around == Binding::Not,
            _ => false,
        };
        if must || self.random.percent(5) {
            self.put("(");
            self.bare(condition);
            self.put(")");
        } else {
            self.bare(condition);
        }
    }

    fn bare(&mut self, condition: &Condition) {
        match condition {
            Condition::Any(parts) => self.joined(parts, "||", Binding::Any),
            Condition::All(parts) => self.joined(parts, "&&", Binding::All),
            Condition::Not(inner) => {
                self.put("!");
                self.condition(inner, Binding::Not);
            }
            Condition::Compare(left, comparison, right) => {
                self.operand(left);
                self.put(match comparison {
                    Comparison::Equal => "==",
                    Comparison::NotEqual => "!=",
                    Comparison::Less => "<",
                    Comparison::LessOrEqual => "<=",
                    Comparison::Greater => ">",
                    Comparison::GreaterOrEqual => ">=",
                });
                self.operand(right);
            }
            Condition::In(operand, literals) => {
                self.operand(operand);
                self.out.push_str(" in ");
                self.put("[");
                for (place, literal) in literals.iter().enumerate() {
                    if place > 0 {
                        self.put(",");
                    }
                    self.literal(literal);
                }
                self.put("]");
            }
            Condition::Has(source) => self.call("has", source),
            Condition::Text(source, test, text) => {
                self.source(source);
                self.put(match test {
                    Test::StartsWith => ".startsWith",
                    Test::EndsWith => ".endsWith",
                    Test::Contains => ".contains",
                });
                self.put("(");
                self.text(text);
                self.put(")");
            }
            Condition::Elements { array, all, condition } => {
                self.source(array);
                self.put(if *all { ".all" } else { ".exists" });
                self.put("(");
                self.put("it");
                self.put(",");
                self.condition(condition, Binding::Any);
                self.put(")");
            }
            Condition::Touches(keys) => {
                self.put("touches");
                self.put("(");
                let mut path = "data".to_owned();
                for key in keys {
                    path += &format!("[{}]", serde_json::to_string(key).expect("a string"));
                }
                self.text(&path);
                self.put(")");
            }
        }
    }

    fn joined(&mut self, parts: &[Condition], symbol: &str, around: Binding) {
        for (place, part) in parts.iter().enumerate() {
            if place > 0 {
                self.put(symbol);
            }
            self.condition(part, around);
        }
    }

    fn operand(&mut self, operand: &Operand) {
        match operand {
            Operand::Source(source) => self.source(source),
            Operand::Size(source) => self.call("size", source),
            Operand::Time(source) => self.call("timestamp", source),
            Operand::Literal(literal) => self.literal(literal),
        }
    }

    fn call(&mut self, function: &str, source: &Source) {
        self.put(function);
        self.put("(");
        self.source(source);
        self.put(")");
    }

    fn source(&mut self, source: &Source) {
        match source {
            Source::Name(name) => self.put(name),
            Source::Path(root, steps) => {
                self.put(match root {
                    Root::Data => "data",
                    Root::Patch => "patch",
                    Root::Element => "it",
                });
                steps.iter().for_each(|step| self.step(step));
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Key(key)
                if key.starts_with(|c: char| c.is_ascii_alphabetic())
                    && key.chars().all(|c| c.is_ascii_alphanumeric())
                    && self.random.percent(70) =>
            {
                self.put(".");
                self.put(key);
            }
            Step::Key(key) => {
                self.put("[");
                self.text(key);
                self.put("]");
            }
            Step::Index(index) => {
                self.put("[");
                self.put(&index.to_string());
                self.put("]");
            }
        }
    }

    fn literal(&mut self, literal: &Literal) {
        match literal {
            Literal::Null => self.put("null"),
            Literal::Bool(value) => self.put(if *value { "true" } else { "false" }),
            Literal::Number(text) => self.put(text),
            Literal::Text(text) => self.text(text),
            Literal::Time(text) => {
                self.put("timestamp");
                self.put("(");
                self.text(text);
                self.put(")");
            }
            Literal::Ago(seconds) => {
                self.put("now");
                if *seconds > 0 || self.random.percent(50) {
                    self.put("-");
                    self.put("duration");
                    self.put("(");
                    self.text(&format!("{seconds}s"));
                    self.put(")");
                }
            }
        }
    }

    fn text(&mut self, text: &str) {
        let quote = *self.random.pick(&['"', '\'']);
        write_text(self.random, &mut self.out, text, quote);
    }

    fn put(&mut self, token: &str) {
        space(self.random, &mut self.out);
        self.out.push_str(token);
        space(self.random, &mut self.out);
    }
}
