//! Texts of the file, with variables and mounted secrets put in.

use std::fmt;

/// Characters of a value that an error shows.
const SHOWN: usize = 60;

/// A text of the file.
#[derive(Clone)]
pub(super) struct Text {
    value: String,
    /// Whether any of it came from outside of the file.
    is_secret: bool,
}

impl Text {
    /// Puts in what `${NAME}` and `${file:PATH}` stand for; `$${` is a plain `${`.
    ///
    /// # Errors
    /// For each that stands for nothing, why.
    pub(super) fn expand(
        written: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<String>> {
        let mut value = String::with_capacity(written.len());
        let (mut is_secret, mut wrong) = (false, Vec::new());
        let mut rest = written;
        while let Some((before, behind)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                value.push_str(before);
                value.push_str("${");
                rest = behind;
                continue;
            }
            value.push_str(before);
            let Some((name, behind)) = behind.split_once('}') else {
                wrong.push("must have a } behind ${, or $${ for a plain ${".to_owned());
                rest = "";
                break;
            };
            rest = behind;
            is_secret = true;
            match look_up(name, environment) {
                Ok(found) => value.push_str(&found),
                Err(why) => wrong.push(why),
            }
        }
        value.push_str(rest);
        if wrong.is_empty() { Ok(Self { value, is_secret }) } else { Err(wrong) }
    }

    /// A text that stands in the file as it is.
    pub(super) const fn plain(value: String) -> Self {
        Self { value, is_secret: false }
    }

    /// The text itself.
    pub(super) fn as_str(&self) -> &str {
        &self.value
    }

    /// The text itself.
    pub(super) fn into_string(self) -> String {
        self.value
    }

    /// Whether errors must not show any of it.
    pub(super) const fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// What is wrong with it: `detail`, which may repeat parts of the text, or `rule` where it is a secret.
    pub(super) fn wrong(&self, detail: impl fmt::Display, rule: &str) -> String {
        if self.is_secret { format!("{rule}, not {self}") } else { detail.to_string() }
    }
}

/// As errors show it.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_secret {
            return f.write_str("the value of its ${…}");
        }
        match self.value.char_indices().nth(SHOWN) {
            Some((end, _)) => write!(f, "{:?}…", &self.value[..end]),
            None => write!(f, "{:?}", self.value),
        }
    }
}

/// What stands for `${name}`.
fn look_up(name: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if let Some(path) = name.strip_prefix("file:") {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("${{file:{path}}} can't be read: {error}"))?;
        return match text.trim_end_matches(['\r', '\n']) {
            "" => Err(format!("${{file:{path}}} is empty")),
            text => Ok(text.to_owned()),
        };
    }
    let is_name = |text: &str| {
        !text.starts_with(|first: char| first.is_ascii_digit())
            && !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    if !is_name(name) {
        return Err(format!(
            "must have a variable's name or file:PATH in ${{…}}, not {name:?}; $${{ is a plain ${{"
        ));
    }
    environment(name).ok_or_else(|| format!("${{{name}}} is not set"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<Text, Vec<String>> {
        Text::expand(text, &|name| (name == "PASSWORD").then(|| "s3cret}${X}".to_owned()))
    }

    #[test]
    fn variables_and_files_are_put_in_once() {
        for (written, value, is_secret) in [
            ("plain $ {PASSWORD} $x", "plain $ {PASSWORD} $x", false),
            ("a${PASSWORD}b", "as3cret}${X}b", true),
            ("$${PASSWORD}", "${PASSWORD}", false),
            ("$$${PASSWORD}", "$${PASSWORD}", false),
            ("$${ ${PASSWORD}", "${ s3cret}${X}", true),
            ("", "", false),
        ] {
            let text = expand(written).unwrap_or_else(|wrong| panic!("{written}: {wrong:?}"));
            assert_eq!((text.as_str(), text.is_secret()), (value, is_secret), "{written}");
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(&file, " from a file\r\n").expect("written");
        let text = expand(&format!("<${{file:{}}}>", file.path().display())).expect("a text");
        assert_eq!((text.as_str(), text.is_secret()), ("< from a file>", true));
    }

    #[test]
    fn all_that_stand_for_nothing_are_named() {
        let wrong = |text: &str| expand(text).err().expect("an error");
        assert_eq!(wrong("${A}${PASSWORD}${B}"), ["${A} is not set", "${B} is not set"]);
        for (text, word) in [
            ("${A", "must have a } behind ${"),
            ("${}", "not \"\""),
            ("${A-b}", "not \"A-b\""),
            ("${1A}", "not \"1A\""),
            ("${file:/no/such/file}", "${file:/no/such/file} can't be read: No such file"),
        ] {
            assert!(wrong(text)[0].contains(word), "{text}: {:?}", wrong(text));
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = format!("${{file:{}}}", file.path().display());
        assert!(wrong(&text)[0].ends_with("is empty"));
    }

    #[test]
    fn an_error_shows_no_secret_and_no_long_value() {
        assert_eq!(
            expand("x${PASSWORD}").map(|text| text.to_string()),
            Ok("the value of its ${…}".into())
        );
        let long = expand(&"ä".repeat(61)).map(|text| text.to_string());
        assert_eq!(long, Ok(format!("\"{}\"…", "ä".repeat(60))));
    }
}
