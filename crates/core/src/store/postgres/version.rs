//! Which versions of PostgreSQL are supported.

/// PostgreSQL 14.
const OLDEST: u32 = 140_000;

/// Checks a server's `server_version_num` against the oldest supported release. A server that does
/// not report it is accepted.
///
/// # Errors
/// One line that names both versions.
pub fn check(server_version_num: Option<u32>) -> Result<(), String> {
    match server_version_num {
        Some(number) if number < OLDEST => Err(format!(
            "DATABASE_URL: PostgreSQL 14 or newer is needed, the server is {}",
            release(number)
        )),
        _ => Ok(()),
    }
}

/// 130014 is 13.14; releases before 10 had three parts, 90624 is 9.6.24.
fn release(number: u32) -> String {
    let (major, rest) = (number / 10_000, number % 10_000);
    if major >= 10 {
        format!("{major}.{rest}")
    } else {
        format!("{major}.{}.{}", rest / 100, rest % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourteen_is_the_oldest_that_is_taken() {
        for taken in [None, Some(140_000), Some(150_018), Some(190_000)] {
            assert_eq!(check(taken), Ok(()));
        }
        for (number, release) in [(139_999, "13.9999"), (130_014, "13.14"), (90_624, "9.6.24")] {
            let refusal = check(Some(number)).expect_err(release);
            assert!(refusal.ends_with(&format!("the server is {release}")), "{refusal}");
        }
    }
}
