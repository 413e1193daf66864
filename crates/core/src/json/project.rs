//! Parts of a document: the members at given paths, in the document's own text.
//!
//! Recursion is bounded by the number of keys of the longest path. Of a text that is no JSON, what is
//! returned means nothing.

use super::path::Path;
use super::select::{behind_comma, space, string_end, value_end};
use super::text::decode;

/// A set of paths through objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Projection {
    root: Node,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    /// Whether the whole value is wanted.
    is_whole: bool,
    /// Ordered by their keys: a query may name thousands, and a document have as many.
    children: Vec<(String, Node)>,
}

impl Projection {
    /// Adds a path; the root adds the whole document.
    pub fn add(&mut self, path: &Path) {
        let mut node = &mut self.root;
        for key in path.keys() {
            let place = node.place_of(key).unwrap_or_else(|place| {
                node.children.insert(place, (key.to_owned(), Node::default()));
                place
            });
            node = &mut node.children[place].1;
        }
        node.is_whole = true;
    }

    /// Whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.root == Node::default()
    }

    /// The document's members at the paths, within the objects that hold them; objects that hold none of them
    /// are left out. Values keep their text.
    pub fn of(&self, document: &str) -> String {
        let start = space(document.as_bytes(), 0);
        if self.root.is_whole {
            return document.to_owned();
        }
        let mut out = String::new();
        let written = write(document, &self.root, start, &mut out);
        if written.is_none_or(|(_, is_any)| !is_any) {
            return "{}".into();
        }
        out
    }
}

/// Writes the wanted part of the value that begins at `at`. Returns where the value ends, and whether anything
/// was written.
fn write(text: &str, node: &Node, at: usize, out: &mut String) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    if node.is_whole || bytes.get(at)? != &b'{' {
        let end = value_end(bytes, at)?;
        if node.is_whole {
            out.push_str(text.get(at..end)?);
        }
        return Some((end, node.is_whole));
    }
    let before = out.len();
    let mut at = space(bytes, at + 1);
    while bytes.get(at)? == &b'"' {
        let key_end = string_end(bytes, at)?;
        let value = space(bytes, space(bytes, key_end) + 1);
        let end = match node.child(text.get(at + 1..key_end - 1)?) {
            None => value_end(bytes, value)?,
            Some(child) => {
                let member = out.len();
                out.push(if member == before { '{' } else { ',' });
                out.push_str(text.get(at..key_end)?);
                out.push(':');
                let (end, is_any) = write(text, child, value, out)?;
                if !is_any {
                    out.truncate(member);
                }
                end
            }
        };
        at = behind_comma(bytes, end);
    }
    let is_any = out.len() > before;
    if is_any {
        out.push('}');
    }
    Some((at + 1, is_any))
}

impl Node {
    fn child(&self, raw: &str) -> Option<&Self> {
        let place = self.place_of(&decode(raw)).ok()?;
        Some(&self.children[place].1)
    }

    /// The place of a key among the children, or where it would be.
    fn place_of(&self, key: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(known, _)| known.as_str().cmp(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projected(paths: &[&str], document: &str) -> String {
        let mut projection = Projection::default();
        for path in paths {
            projection.add(&Path::parse(path).expect("a path"));
        }
        projection.of(document)
    }

    #[test]
    fn members_keep_their_text_and_their_objects() {
        let document = r#" {"a" : 1.50 , "b":{"c":[1, 2],"d":{"e":"x\"}"}}, "odd \u006bey":null} "#;
        for (paths, expected) in [
            (&["data.a"][..], r#"{"a":1.50}"#),
            (&["data.b.d", "data.a"], r#"{"a":1.50,"b":{"d":{"e":"x\"}"}}}"#),
            (&["data.b.c", "data.b.d.e"], r#"{"b":{"c":[1, 2],"d":{"e":"x\"}"}}}"#),
            (&["data.b.d.e", "data.b"], r#"{"b":{"c":[1, 2],"d":{"e":"x\"}"}}}"#),
            (&[r#"data["odd key"]"#], r#"{"odd \u006bey":null}"#),
            (&["data.a.x", "data.b.c.x", "data.never", "data.b.d.x.y"], "{}"),
            (&["data.b.x", "data.a"], r#"{"a":1.50}"#),
            (&["data.a", "data"], document),
            (&[], "{}"),
        ] {
            assert_eq!(projected(paths, document), expected, "{paths:?}");
        }
        assert_eq!(projected(&["data.a"], "{}"), "{}");
    }

    #[test]
    fn texts_that_are_no_json_do_no_harm() {
        for text in ["", "{", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":{", "{\"a\":{\"b\":1", "[", "]"]
        {
            projected(&["data.a.b"], text);
        }
    }
}
