//! A table of text.

/// The pause between two columns.
const GAP: &str = "  ";

/// The lines of a table: each column as wide as its widest cell, each line at most `width` characters long.
pub(super) fn lines<const N: usize>(rows: &[[String; N]], width: usize) -> Vec<String> {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| std::array::from_fn(|column| printable(&row[column]))).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join(GAP);
        cut(line.trim_end(), width)
    };
    rows.iter().map(line).collect()
}

/// Without characters that steer a terminal: what failed may be a text of somebody else.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_as_the_terminal() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        let rows =
            [row(["NAME", "N", "LAST ERROR"]), row(["ä", "10", ""]), row(["b", "", "a\x1b[2J\nb"])];
        assert_eq!(
            lines(&rows, usize::MAX),
            ["NAME  N   LAST ERROR", "ä     10", "b         a [2J b"]
        );
        assert_eq!(lines(&rows, 12), ["NAME  N   L…", "ä     10", "b         a…"]);
        assert_eq!(lines(&rows, 0), ["…", "…", "…"]);
    }
}
