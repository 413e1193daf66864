//! Numbers as text.

/// A number with three significant digits: `12,300`, `8.31`, `0.0042`.
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude < 1e-9 {
        return "0".to_owned();
    }
    let before_point = magnitude.log10().floor() as i32 + 1;
    if before_point >= 4 {
        let step = 10f64.powi(before_point - 3);
        return thousands((value / step).round() * step);
    }
    let digits = usize::try_from(3 - before_point).unwrap_or(0);
    let text = format!("{value:.digits$}");
    if !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A whole number with thousands separators.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
