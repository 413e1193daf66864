//! JSON Pointers (RFC 6901).

use producer_core::{Location, Step};

/// Steps from a message into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// Reads a pointer: empty, or a slash before each step, in which `~1` is a slash and `~0` a tilde.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let Some(steps) = text.strip_prefix('/') else {
            return Err("must be a JSON Pointer, such as /data/id");
        };
        let is_escaped =
            |step: &str| step.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        if !steps.split('/').all(is_escaped) {
            return Err("must have ~0 for each ~ and ~1 for each / of a name");
        }
        Ok(Self(steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }

    pub(super) fn steps(&self) -> &[String] {
        &self.0
    }

    /// Its first steps as a place in a message.
    pub(super) fn location(&self, steps: usize) -> Location {
        let steps = self.0.iter().take(steps);
        Location(steps.map(|step| Step::Key(step.clone().into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_the_rfc_has_them() {
        for (text, steps) in [
            ("", &[][..]),
            ("/", &[""]),
            ("/a/0", &["a", "0"]),
            ("/a~1b/m~0n/~01", &["a/b", "m~n", "~1"]),
            ("/ /\"", &[" ", "\""]),
        ] {
            let pointer = Pointer::parse(text).expect(text);
            assert_eq!(pointer.steps(), steps, "{text}");
            assert_eq!(pointer.location(steps.len()).pointer(), text);
        }
        for text in ["a", "data/id", "/~", "/a~2", "/~~0"] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
    }
}
