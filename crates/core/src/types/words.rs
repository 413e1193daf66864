//! What a word is, alike for entities and queries, and for every engine.
//!
//! A word is a run of letters and digits. Scripts that are written without spaces have a word for each
//! character, so that a part of a text is found as a phrase. Words are compared in lower case and in the
//! compatibility form of Unicode (NFKC), so that `ﬁ` is `fi` and full-width letters are letters. In
//! `simple` and `english` also without the accents of Latin letters; other languages' stems depend on them.
//!
//! An engine gets words that are cut already, separated by spaces: its own parser has nothing to decide.

use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Bytes of a word that count. The b-trees and posting lists of both databases hold longer ones than this.
const MAX_WORD_BYTES: usize = 255;

/// A letter that no word has: it stands between texts, so that no phrase goes from one into the next.
pub(crate) const GAP: char = '\u{2ac}';

/// How words of a language are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Folding {
    drops_accents: bool,
}

impl Folding {
    pub(crate) fn of(language: &str) -> Self {
        Self { drops_accents: matches!(language, "simple" | "english") }
    }
}

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Its bytes in the text.
    pub(crate) place: Range<usize>,
    /// As it is compared: lower-case letters, digits and marks.
    pub(crate) folded: String,
}

/// The words of a text, in their order.
pub(crate) fn words(text: &str, folding: Folding) -> impl Iterator<Item = Word> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let place = next_run(text, at)?;
            at = place.end;
            let folded = fold(&text[place.clone()], folding);
            if !folded.is_empty() {
                return Some(Word { place, folded });
            }
        }
    })
}

/// The next characters that are one word, from a byte on.
fn next_run(text: &str, from: usize) -> Option<Range<usize>> {
    let mut rest = text[from..].char_indices().map(|(at, c)| (from + at, c));
    let (start, first) = rest.find(|&(_, c)| begins_word(c))?;
    let is_alone = is_unspaced(first);
    let goes_on = |c| is_mark(c) || (!is_alone && begins_word(c) && !is_unspaced(c));
    let end = rest.find(|&(_, c)| !goes_on(c));
    let end = end.map_or(text.len(), |(at, _)| at);
    Some(start..start + number_length(&text[start..end]))
}

/// Of a word that begins with a number with an exponent, such as `1e5x`, the length of the number, else that of
/// the word: PostgreSQL's parser ends a word there.
fn number_length(word: &str) -> usize {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mantissa = digits(word);
    let exponent = match word.as_bytes().get(mantissa) {
        Some(b'e' | b'E') if mantissa > 0 => digits(&word[mantissa + 1..]),
        _ => 0,
    };
    if exponent > 0 { mantissa + 1 + exponent } else { word.len() }
}

fn begins_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    c.is_alphanumeric() && c != GAP && !is_mark(c)
}

/// Belongs to the character before it.
fn is_mark(c: char) -> bool {
    !c.is_ascii() && (is_combining_mark(c) || matches!(c, '\u{ff9e}' | '\u{ff9f}'))
}

/// Of a script that has no spaces between words: Chinese, Japanese, Thai, Lao, Burmese, Khmer.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{e00}'..='\u{eff}'
        | '\u{1000}'..='\u{109f}'
        | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}'
        | '\u{31f0}'..='\u{31ff}'
        | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff66}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

/// A word as it is compared.
fn fold(word: &str, folding: Folding) -> String {
    let mut folded = String::with_capacity(word.len());
    if word.is_ascii() {
        folded.push_str(&word[..word.len().min(MAX_WORD_BYTES)]);
        folded.make_ascii_lowercase();
        return folded;
    }
    let lower = word.nfkc().flat_map(char::to_lowercase);
    if folding.drops_accents {
        let mut is_latin = false;
        // decomposed, accents follow on their letters
        let bare = lower.nfd().filter(|&c| {
            let is_accent = matches!(c, '\u{300}'..='\u{36f}');
            is_latin = if is_accent { is_latin } else { c.is_ascii_alphabetic() };
            !(is_accent && is_latin)
        });
        extend(&mut folded, bare.nfc());
    } else {
        extend(&mut folded, lower.nfc());
    }
    folded
}

/// Appends what a word may have, as far as it counts.
fn extend(folded: &mut String, characters: impl Iterator<Item = char>) {
    for c in characters {
        let c = if c == 'ς' { 'σ' } else { c };
        if !(begins_word(c) || is_mark(c)) {
            continue;
        }
        if folded.len() + c.len_utf8() > MAX_WORD_BYTES {
            return;
        }
        folded.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &str, language: &str) -> Vec<String> {
        words(text, Folding::of(language)).map(|word| word.folded).collect()
    }

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        for (text, expected) in [
            ("", &[][..]),
            (" -!\"* 🚀\u{fe0f} ʬ", &[]),
            ("The Sorcerer's STONE", &["the", "sorcerer", "s", "stone"]),
            ("J.K. Rowling-Smith_2", &["j", "k", "rowling", "smith", "2"]),
            ("Mary GrandPré, Zając, Üster", &["mary", "grandpre", "zajac", "uster"]),
            ("GrandPre\u{301}", &["grandpre"]),
            ("ＡＢＣ ﬁn ½ Ⓐb", &["abc", "fin", "12", "ab"]),
            ("東京2024年", &["東", "京", "2024", "年"]),
            ("ｶﾞｷﾞ", &["ガ", "ギ"]),
            ("한국어 문서", &["한국어", "문서"]),
            ("שלום עולם", &["שלום", "עולם"]),
            ("ΟΔΟΣ οδός", &["οδοσ", "οδόσ"]),
            ("İstanbul Straße", &["istanbul", "straße"]),
            ("हिन्दी", &["हिन्दी"]),
            ("1e5 12E34x 1e e5 a1e5x 1x1e5", &["1e5", "12e34", "x", "1e", "e5", "a1e5x", "1x1e5"]),
        ] {
            assert_eq!(folded(text, "simple"), expected, "{text}");
        }
    }

    #[test]
    fn other_languages_keep_their_accents() {
        assert_eq!(folded("Été ÉTE\u{301}", "french"), ["été", "été"]);
    }

    #[test]
    fn long_words_are_cut() {
        let long = "a".repeat(10_000);
        assert_eq!(folded(&long, "simple"), [&long[..255]]);
        assert_eq!(folded(&"é".repeat(10_000), "french"), ["é".repeat(127)]);
    }

    proptest! {
        #[test]
        fn places_are_in_order_and_folded_words_stay_as_they_are(text in "\\PC{0,40}") {
            for language in ["simple", "french"] {
                let mut end = 0;
                for word in words(&text, Folding::of(language)) {
                    prop_assert!(end <= word.place.start && word.place.start < word.place.end);
                    end = word.place.end;
                    prop_assert!(text.get(word.place.clone()).is_some());
                    prop_assert!(!word.folded.is_empty() && word.folded.len() <= MAX_WORD_BYTES);
                    prop_assert!(!word.folded.contains([GAP, ' ', '\'', '"', '\\', ':', '*']));
                }
            }
        }
    }
}
