//! Fragments of a text around what matches, as HTML.

use std::ops::Range;

/// Bytes of a text that is shown as a whole.
const WHOLE: usize = 200;
/// About so many bytes a fragment has before its first match, and in all.
const BEFORE: usize = 60;
const LENGTH: usize = 160;

/// Up to `most` fragments, in the order of the text. Matches are within `<em>`, all else is escaped.
/// `matches` are in order, do not overlap, and begin and end at characters.
pub(super) fn fragments(text: &str, matches: &[Range<usize>], most: usize) -> Vec<String> {
    let (mut fragments, mut rest) = (Vec::new(), matches);
    while let (Some(first), true) = (rest.first(), fragments.len() < most) {
        let place = if text.len() <= WHOLE { 0..text.len() } else { around(text, first) };
        let inside = rest.iter().take_while(|found| found.end <= place.end).count();
        let (shown, behind) = rest.split_at(inside.max(1));
        fragments.push(html(text, place, shown));
        rest = behind;
    }
    fragments
}

/// A part of a text around a match, from and to the edges of words.
fn around(text: &str, found: &Range<usize>) -> Range<usize> {
    let earliest = text.ceil_char_boundary(found.start.saturating_sub(BEFORE));
    let latest = text.floor_char_boundary((earliest + LENGTH).min(text.len())).max(found.end);
    let start = match text[earliest..found.start].find(char::is_whitespace) {
        Some(space) if earliest > 0 => earliest + space,
        _ => earliest,
    };
    let end = match text[found.end..latest].rfind(char::is_whitespace) {
        Some(space) if latest < text.len() => found.end + space,
        _ => latest,
    };
    let leading = text[start..end].len() - text[start..end].trim_start().len();
    start + leading..end
}

fn html(text: &str, place: Range<usize>, matches: &[Range<usize>]) -> String {
    let mut html = String::with_capacity(place.len() + matches.len() * 9);
    let mut at = place.start;
    for found in matches {
        escape(&mut html, &text[at..found.start]);
        html.push_str("<em>");
        escape(&mut html, &text[found.clone()]);
        html.push_str("</em>");
        at = found.end;
    }
    escape(&mut html, &text[at..place.end]);
    html
}

/// Appends what shows as `text` within an element and within an attribute.
fn escape(html: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ => html.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_shown_as_a_whole() {
        let text = r#"<b>Tom & "Jerry's"</b>"#;
        let escaped = "&lt;b&gt;<em>Tom</em> &amp; &quot;<em>Jerry&#39;s</em>&quot;&lt;/b&gt;";
        assert_eq!(fragments(text, &[3..6, 10..17], 3), [escaped]);
        assert!(fragments(text, &[], 3).is_empty());
        assert!(fragments(text, std::slice::from_ref(&(3..6)), 0).is_empty());
    }

    #[test]
    fn a_long_text_is_shown_around_its_matches() {
        let filler = "lorem ipsum dolor sit amet ".repeat(20);
        let text = format!("{filler}<needle> {filler}needle needle {filler}needle{filler}needle");
        let places: Vec<_> = text.match_indices("needle").map(|(at, n)| at..at + n.len()).collect();
        let found = fragments(&text, &places, 3);
        assert_eq!(found.len(), 3);
        assert!(found[0].contains("&lt;<em>needle</em>&gt; lorem"), "{found:?}");
        assert!(found[1].contains("<em>needle</em> <em>needle</em> lorem"), "{found:?}");
        for fragment in &found {
            assert!(fragment.len() < 200 && !fragment.starts_with(' '), "{fragment}");
            assert!(
                ["lorem", "ipsum", "dolor", "sit", "amet"]
                    .iter()
                    .any(|word| fragment.starts_with(word))
            );
        }
    }

    proptest! {
        #[test]
        fn without_marks_and_escapes_a_fragment_is_a_part_of_the_text(
            words in proptest::collection::vec("[<>&\"'aé東🚀]{1,30}", 1..60),
            marked in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let (mut text, mut matches) = (String::new(), Vec::new());
            for (word, is_match) in words.iter().zip(marked) {
                if is_match {
                    matches.push(text.len()..text.len() + word.len());
                }
                text.push_str(word);
                text.push(' ');
            }
            let found = fragments(&text, &matches, 100);
            prop_assert_eq!(found.is_empty(), matches.is_empty());
            let marks: usize = found.iter().map(|fragment| fragment.matches("<em>").count()).sum();
            prop_assert_eq!(marks, matches.len());
            for fragment in found {
                let plain = fragment.replace("<em>", "").replace("</em>", "");
                prop_assert!(!plain.contains(['<', '>', '"', '\'']));
                let plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
                prop_assert!(text.contains(&plain.replace("&#39;", "'").replace("&amp;", "&")));
            }
        }
    }
}
