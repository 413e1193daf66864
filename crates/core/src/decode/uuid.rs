//! UUIDs as clients may write them.

use uuid::Uuid;

/// A UUID in one of the two forms of the contract: hyphenated or 32 hexadecimal digits, in either
/// case.
pub fn uuid(text: &str) -> Option<Uuid> {
    // the parser also takes braces and urn:uuid:, which are longer
    matches!(text.len(), 32 | 36).then(|| Uuid::try_parse(text).ok()).flatten()
}
