//! What to write instead of what people know from SQL, JavaScript and the whole of CEL.

use std::borrow::Cow;

use super::names::Scope;

type Hints = [(&'static str, &'static str)];

/// Words where an operator or a condition belongs, in any case.
const WORDS: &Hints = &[
    ("and", "expected &&"),
    ("or", "expected ||"),
    ("not", "expected !, before the whole condition: !(data.total in [1, 2])"),
    ("like", "expected a comparison, .startsWith, .endsWith or .contains"),
    ("ilike", "expected a comparison, .startsWith, .endsWith or .contains; case counts"),
    ("is", "expected == (a missing path: !has(data.total))"),
    ("eq", "expected =="),
    ("ne", "expected !="),
    ("between", "expected >= and <=, joined by &&"),
    ("contains", "expected a method behind a dot: data.name.contains(\"x\")"),
    ("startswith", "expected a method behind a dot: data.name.startsWith(\"x\")"),
    ("endswith", "expected a method behind a dot: data.name.endsWith(\"x\")"),
    ("matches", NO_REGULAR_EXPRESSIONS),
    ("regexp", NO_REGULAR_EXPRESSIONS),
    (
        "exists",
        "expected has(data.total), or a method of an array: data.tags.exists(x, x == \"red\")",
    ),
    ("true", "expected true in lower case"),
    ("false", "expected false in lower case"),
    ("null", "expected null in lower case; for a missing path write !has(data.total)"),
    ("none", NO_VALUE),
    ("nil", NO_VALUE),
    ("undefined", NO_VALUE),
];

const NO_VALUE: &str = "expected a value; for a missing path write !has(data.total)";
const NO_REGULAR_EXPRESSIONS: &str =
    "expected .startsWith, .endsWith or .contains: there are no regular expressions";
const NO_ARITHMETIC: &str =
    "expected a comparison: there is no arithmetic but now - duration(\"24h\")";

/// Symbols of the language where others belong.
const SYMBOLS: &Hints = &[("+", NO_ARITHMETIC), ("-", NO_ARITHMETIC)];

/// What no token begins with; longer ones first.
const CHARACTERS: &Hints = &[
    ("===", "expected =="),
    ("!==", "expected !="),
    ("=>", "expected >="),
    ("=<", "expected <="),
    ("=~", NO_REGULAR_EXPRESSIONS),
    ("!~", NO_REGULAR_EXPRESSIONS),
    ("=", "expected == to compare"),
    ("&", "expected &&"),
    ("|", "expected ||"),
    ("`", STRAIGHT_QUOTES),
    ("“", STRAIGHT_QUOTES),
    ("”", STRAIGHT_QUOTES),
    ("„", STRAIGHT_QUOTES),
    ("‘", STRAIGHT_QUOTES),
    ("’", STRAIGHT_QUOTES),
    ("%", NO_ARITHMETIC),
    ("/", "expected a comparison: there is no arithmetic, and there are no regular expressions"),
    (
        "*",
        "expected an index from 0; for any element of an array write data.items.exists(x, x.price > 5). There is no \
           arithmetic",
    ),
    ("$", "expected data, the document: data.total"),
    ("@", "expected a name or a path, such as data.total"),
    ("?", "expected &&, || or the end: there is no a ? b : c"),
    ("\u{a0}", "expected an ordinary space"),
];

const STRAIGHT_QUOTES: &str = "expected straight quotes, \" or '";

/// Names behind the dot of a path that are called, in any case.
const METHODS: &Hints = &[
    ("startswith", "expected .startsWith"),
    ("endswith", "expected .endsWith"),
    (
        "includes",
        "expected .contains of a string, or data.tags.exists(x, x == \"red\") of an array",
    ),
    ("length", "expected size(data.name)"),
    ("size", "expected size(data.name)"),
    ("count", "expected size(data.items)"),
    ("matches", NO_REGULAR_EXPRESSIONS),
    ("match", NO_REGULAR_EXPRESSIONS),
    ("some", "expected .exists"),
    ("any", "expected .exists"),
    ("every", "expected .all"),
];

/// Functions, in any case.
const FUNCTIONS: &Hints = &[
    ("duration", "expected no duration here: it comes behind now -"),
    ("matches", NO_REGULAR_EXPRESSIONS),
    ("length", "expected size(data.name)"),
    ("len", "expected size(data.name)"),
    ("count", "expected size(data.items)"),
    ("date", "expected timestamp(data.at)"),
    ("exists", "expected has(data.total), or data.tags.exists(x, x == \"red\")"),
    ("contains", "expected data.name.contains(\"x\")"),
    ("startswith", "expected data.name.startsWith(\"x\")"),
    ("endswith", "expected data.name.endsWith(\"x\")"),
];

fn find(hints: &Hints, word: &str) -> Option<&'static str> {
    hints.iter().find(|(known, _)| word.eq_ignore_ascii_case(known)).map(|(_, hint)| *hint)
}

/// The hint for a word of another language.
pub(super) fn word(word: &str) -> Option<&'static str> {
    find(WORDS, word)
}

/// The hint for a symbol in a wrong place.
pub(super) fn symbol(symbol: &str) -> Option<&'static str> {
    find(SYMBOLS, symbol)
}

/// The mistake that a text begins with, if it is longer than the symbol that the text begins with.
pub(super) fn mistake(text: &str, symbol: &str) -> Option<&'static str> {
    let is_it = |known: &str| known.len() > symbol.len() && text.starts_with(known);
    CHARACTERS.iter().find(|(known, _)| is_it(known)).map(|(_, hint)| *hint)
}

/// What is expected instead of a method that there is not.
pub(super) fn method(name: &str) -> &'static str {
    find(METHODS, name)
        .unwrap_or("expected startsWith, endsWith, contains, exists or all behind the dot")
}

/// What is expected instead of a function that there is not.
pub(super) fn function(name: &str) -> Cow<'static, str> {
    match find(FUNCTIONS, name) {
        Some(hint) => hint.into(),
        None => {
            let name = short(name);
            format!("expected no function {name}: there are has, size, timestamp and touches")
                .into()
        }
    }
}

/// What is expected instead of a name that there is not.
pub(super) fn unknown_name(name: &str, scope: Scope) -> String {
    let (nearest, name) = (scope.nearest(short(name)), short(name));
    format!(
        "expected a known name; {name} is none, the nearest is {nearest} (members of the document are \
         data.{name})"
    )
}

/// As much of a name as an error repeats.
pub(super) fn short(name: &str) -> &str {
    name.get(..name.floor_char_boundary(40)).unwrap_or(name)
}
