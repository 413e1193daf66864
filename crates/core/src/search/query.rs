//! The syntax of queries: words, `"a phrase"`, `-not`, `a OR b`, `begin*`.
//!
//! It is that of a search box: no text is an error, except one that is too long. A quote that is not closed
//! ends with the text. `OR` joins its neighbours and binds closer than the space between words, so `a b OR c`
//! is a and (b or c); where it has no neighbour, it is nothing. What has neither a letter nor a digit is
//! passed over: nobody can find it. A query of nothing else finds nothing, and an empty one all.

use std::borrow::Cow;

use crate::types::words::{Folding, words};

/// Bytes of a query at most.
pub const MAX_QUERY_BYTES: usize = 1024;

/// A query, before its words are compared as a language does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// All must be there; of each, one.
    groups: Vec<Vec<RawLeaf>>,
    has_text: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct RawLeaf {
    negated: bool,
    text: String,
    begins: bool,
}

/// A query in a language: what an engine looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terms {
    /// Every entity.
    All,
    /// No entity.
    Nothing,
    /// The entities that fulfil one leaf of each group. No group is empty.
    Groups(Vec<Vec<Leaf>>),
}

/// What an entity must have, or must not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The entity must not have it.
    pub negated: bool,
    /// Words that follow on each other, at least one. They consist of lower-case letters, digits and marks, so
    /// they need no escape in any syntax.
    pub words: Vec<String>,
    /// The last word may go on.
    pub begins: bool,
}

/// A word of a [`Leaf`] that must be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term {
    /// The word.
    pub word: String,
    /// Whether it may go on.
    pub begins: bool,
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// The end of a sentence about the query: `must …`.
    pub fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        if text.len() > MAX_QUERY_BYTES {
            return Err(format!("must have at most {MAX_QUERY_BYTES} bytes").into());
        }
        let mut query = Self { groups: Vec::new(), has_text: !text.trim().is_empty() };
        let (mut rest, mut joins) = (text.trim_start(), false);
        while !rest.is_empty() {
            let (token, after) = next(rest);
            rest = after.trim_start();
            match (token, query.groups.last_mut()) {
                (Token::Or, _) => joins = true,
                (Token::Leaf(leaf), Some(group)) if joins => {
                    group.push(leaf);
                    joins = false;
                }
                (Token::Leaf(leaf), _) => {
                    query.groups.push(vec![leaf]);
                    joins = false;
                }
            }
        }
        Ok(query)
    }

    /// The query in a language.
    pub fn terms(&self, language: &str) -> Terms {
        if !self.has_text {
            return Terms::All;
        }
        let folding = Folding::of(language);
        let group = |group: &Vec<RawLeaf>| {
            let leaves = group.iter().filter_map(|leaf| leaf.fold(folding));
            Some(leaves.collect::<Vec<_>>()).filter(|leaves| !leaves.is_empty())
        };
        let groups: Vec<_> = self.groups.iter().filter_map(group).collect();
        if groups.is_empty() { Terms::Nothing } else { Terms::Groups(groups) }
    }
}

impl RawLeaf {
    fn fold(&self, folding: Folding) -> Option<Leaf> {
        let words: Vec<_> = words(&self.text, folding).map(|word| word.folded).collect();
        let Self { negated, begins, .. } = *self;
        (!words.is_empty()).then_some(Leaf { negated, words, begins })
    }
}

impl Terms {
    /// The leaves that must be there.
    pub fn wanted(&self) -> impl Iterator<Item = &Leaf> {
        let groups = match self {
            Self::Groups(groups) => groups.as_slice(),
            Self::All | Self::Nothing => &[],
        };
        groups.iter().flatten().filter(|leaf| !leaf.negated)
    }
}

impl Leaf {
    /// Its words as terms.
    pub fn terms(&self) -> impl Iterator<Item = Term> {
        let last = self.words.len() - 1;
        self.words.iter().enumerate().map(move |(place, word)| Term {
            word: word.clone(),
            begins: self.begins && place == last,
        })
    }
}

enum Token {
    Or,
    Leaf(RawLeaf),
}

/// The token that a text begins with, which has no space at its start, and what follows.
fn next(text: &str) -> (Token, &str) {
    let unsigned = text.trim_start_matches('-');
    let negated = unsigned.len() < text.len();
    if let Some(quoted) = unsigned.strip_prefix('"') {
        let (phrase, after) = quoted.split_once('"').unwrap_or((quoted, ""));
        let unstarred = after.strip_prefix('*');
        let (begins, after) = (unstarred.is_some(), unstarred.unwrap_or(after));
        let leaf = RawLeaf { negated, text: phrase.to_owned(), begins };
        return (Token::Leaf(leaf), after);
    }
    let end = unsigned.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(unsigned.len());
    let (word, after) = unsigned.split_at(end);
    if word == "OR" && !negated {
        return (Token::Or, after);
    }
    let begins = word.ends_with('*');
    (Token::Leaf(RawLeaf { negated, text: word.to_owned(), begins }), after)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A notation for tests: groups as `a|-b`, separated by `&`; phrases with dots.
    fn read(text: &str) -> String {
        let leaf = |leaf: &Leaf| {
            let sign = if leaf.negated { "-" } else { "" };
            format!("{sign}{}{}", leaf.words.join("."), if leaf.begins { "*" } else { "" })
        };
        match Query::parse(text).expect(text).terms("simple") {
            Terms::All => "all".to_owned(),
            Terms::Nothing => "nothing".to_owned(),
            Terms::Groups(groups) => {
                let group =
                    |group: &Vec<Leaf>| group.iter().map(leaf).collect::<Vec<_>>().join("|");
                groups.iter().map(group).collect::<Vec<_>>().join(" & ")
            }
        }
    }

    #[test]
    fn every_form() {
        for (text, expected) in [
            ("Harry  Potter", "harry & potter"),
            ("\"Harry Potter\"", "harry.potter"),
            ("harry -potter", "harry & -potter"),
            ("harry OR potter", "harry|potter"),
            ("a b OR c OR \"d e\" f", "a & b|c|d.e & f"),
            ("pott*", "pott*"),
            ("\"harry pot\"*", "harry.pot*"),
            ("-\"harry potter\" -rowl*", "-harry.potter & -rowl*"),
            ("-only -negatives", "-only & -negatives"),
            ("a OR -b", "a|-b"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_a_search_box_gets() {
        for (text, expected) in [
            ("", "all"),
            (" \t\n", "all"),
            ("*", "nothing"),
            ("\"", "nothing"),
            ("\"\" - -- ! OR 🚀", "nothing"),
            ("\"harry pot", "harry.pot"),
            ("harry\"potter", "harry & potter"),
            ("OR harry OR", "harry"),
            ("harry OR OR potter", "harry|potter"),
            ("harry OR ! OR potter", "harry|potter"),
            ("or AND not", "or & and & not"),
            ("\"OR\" x", "or & x"),
            ("-OR", "-or"),
            ("potter - the boy", "potter & the & boy"),
            ("well-known o'neill c++", "well.known & o.neill & c"),
            ("j.k.*", "j.k*"),
            ("--twice", "-twice"),
            ("東京", "東.京"),
            ("東京*", "東.京*"),
            ("عربي \u{202e}abc", "عربي & abc"),
            ("a\u{3000}b", "a & b"),
            ("x'); DROP TABLE entities; --", "x & drop & table & entities"),
            ("a & b | !c <-> d:*A", "a & b & c & d.a"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn long_queries() {
        assert!(Query::parse(&"a".repeat(1025)).is_err());
        for operators in ["OR ", "- ", "\" ", "-\"", "*", "OR -", "a OR ", "-a "] {
            let text = operators.repeat(1024 / operators.len());
            Query::parse(&text).expect("a query").terms("english");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_an_error(text in "[-\"* ORab!é東\\PC]{0,60}") {
            if let Terms::Groups(groups) = Query::parse(&text).expect("a query").terms("simple") {
                prop_assert!(groups.iter().all(|group| !group.is_empty()));
                let leaves = groups.iter().flatten();
                prop_assert!(leaves.clone().all(|leaf| !leaf.words.is_empty()));
                prop_assert!(leaves.flat_map(|leaf| &leaf.words).all(|word| !word.is_empty()
                    && !word.contains([' ', '"', '\'', '\\', '*', ':', '&', '|', '!', '(', ')'])));
            }
        }

        #[test]
        fn a_query_of_words_demands_each_of_them(words in proptest::collection::vec("[a-z][a-z0-9]{0,7}", 1..8)) {
            let Terms::Groups(groups) = Query::parse(&words.join(" ")).expect("a query").terms("simple")
            else { panic!("no words") };
            let leaf = |word: &String| vec![Leaf { negated: false, words: vec![word.clone()], begins: false }];
            prop_assert_eq!(groups, words.iter().map(leaf).collect::<Vec<_>>());
        }
    }
}
