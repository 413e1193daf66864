//! The values at several paths of a document, found in one pass.
//!
//! Recursion is bounded by the depth of the paths.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::lexer::{Lexer, Malformed};
use super::path::Path;
use super::text::decode;

/// Paths in the form of a tree, so that one pass over a text serves all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct PathTree {
    paths: usize,
    root: Node,
}

#[derive(Debug, Clone, Default)]
struct Node {
    /// The places of the paths that end here.
    ends: Vec<usize>,
    below: BTreeMap<String, Self>,
}

impl PathTree {
    /// A path is known by its place; the same path may occur more than once.
    pub(crate) fn new<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut tree = Self::default();
        for path in paths {
            let end = path
                .0
                .iter()
                .fold(&mut tree.root, |node, key| node.below.entry(key.clone()).or_default());
            end.ends.push(tree.paths);
            tree.paths += 1;
        }
        tree
    }

    /// The JSON text of the value at each path, in the order of the paths; `None` where there is none.
    ///
    /// # Errors
    /// The text is no JSON. Of what no path leads to, only the tokens are checked.
    pub(crate) fn find<'a>(&self, document: &'a str) -> Result<Vec<Option<&'a str>>, Malformed> {
        let mut found = vec![None; self.paths];
        self.root.find(&mut Lexer::new(document), &mut found)?;
        Ok(found)
    }
}

impl Node {
    fn find<'a>(
        &self,
        text: &mut Lexer<'a>,
        found: &mut [Option<&'a str>],
    ) -> Result<(), Malformed> {
        let is_object = text.peek() == b'{';
        let start = text.at();
        if is_object && !self.below.is_empty() {
            self.find_below(text, found)?;
        } else {
            skip_value(text)?;
        }
        for &end in &self.ends {
            found[end] = Some(text.since(start));
        }
        Ok(())
    }

    fn find_below<'a>(
        &self,
        text: &mut Lexer<'a>,
        found: &mut [Option<&'a str>],
    ) -> Result<(), Malformed> {
        text.bump();
        loop {
            match text.peek() {
                b'}' => {
                    text.bump();
                    return Ok(());
                }
                b',' => text.bump(),
                b'"' => match self.below.get(&*key(text)?) {
                    Some(node) => node.find(text, found)?,
                    None => skip_value(text)?,
                },
                _ => return Err(text.malformed("expected a key in quotes")),
            }
        }
    }
}

/// The next key and the colon behind it.
fn key<'a>(text: &mut Lexer<'a>) -> Result<Cow<'a, str>, Malformed> {
    let key = decode(text.string()?.raw);
    if text.peek() != b':' {
        return Err(text.malformed("expected ':'"));
    }
    text.bump();
    Ok(key)
}

/// Steps over a value without recursion.
fn skip_value(text: &mut Lexer<'_>) -> Result<(), Malformed> {
    let mut depth = 0_usize;
    loop {
        match text.peek() {
            b'{' | b'[' => {
                text.bump();
                depth += 1;
                continue;
            }
            b',' | b':' if depth > 0 => {
                text.bump();
                continue;
            }
            b'}' | b']' if depth > 0 => {
                text.bump();
                depth -= 1;
            }
            b'"' => drop(text.string()?),
            b'-' | b'0'..=b'9' => drop(text.number()?),
            b't' => text.literal("true")?,
            b'f' => text.literal("false")?,
            _ => text.literal("null")?,
        }
        if depth == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(paths: &[&str], document: &'a str) -> Vec<Option<&'a str>> {
        let paths: Vec<_> = paths.iter().map(|path| Path::parse(path).expect("a path")).collect();
        PathTree::new(&paths).find(document).expect("JSON")
    }

    #[test]
    fn values_are_found_in_any_notation_of_their_keys() {
        let document =
            r#" {"x":[{"a":9}], "a" : {"b": -1.50e1 ,"c":{},"d":"\"}"},"\u00e4 ": true, "n":null}"#;
        let paths =
            ["data.a.b", "data.a", r#"data["ä "]"#, "data.a.d", "data.a.c", "data.n", "data.a.b"];
        let object = r#"{"b": -1.50e1 ,"c":{},"d":"\"}"}"#;
        assert_eq!(
            found(&paths, document),
            [
                Some("-1.50e1"),
                Some(object),
                Some("true"),
                Some(r#""\"}""#),
                Some("{}"),
                Some("null"),
                Some("-1.50e1")
            ]
        );
    }

    #[test]
    fn what_is_absent_or_below_another_kind_is_not_found() {
        for document in
            ["{}", r#"{"a":[{"b":1}]}"#, r#"{"a":"b"}"#, r#"{"b":1}"#, r#"{"a":{"c":{"b":1}}}"#]
        {
            assert_eq!(found(&["data.a.b"], document), [None], "{document}");
        }
    }

    #[test]
    fn nesting_costs_no_stack_and_broken_texts_end() {
        let deep = format!(r#"{{"x":{}{},"a":1}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(found(&["data.a"], &deep), [Some("1")]);
        let tree = PathTree::new(&[Path::parse("data.a").expect("a path")]);
        for broken in
            ["", "{", r#"{"a"#, r#"{"a""#, r#"{"a":"#, r#"{"a":tru}"#, "{1}", r#"{"x":[1"#]
        {
            assert!(tree.find(broken).is_err(), "{broken}");
        }
    }
}
