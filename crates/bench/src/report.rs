//! A report as a document of text, tables and charts, drawn as one HTML page that opens offline and
//! needs no script, and as Markdown. The benchmark and the load test both draw with this.

mod html;
mod markdown;
mod picture;
mod scale;
mod svg;

#[cfg(test)]
mod tests;

/// A report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Document {
    /// What it is called.
    pub(crate) title: String,
    /// One or two sentences that say the result.
    pub(crate) lead: String,
    /// Where and how it was measured: names with values.
    pub(crate) facts: Vec<(String, String)>,
    /// What was found.
    pub(crate) sections: Vec<Section>,
}

/// A part with a heading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    /// The heading.
    pub(crate) title: String,
    /// What stands below it.
    pub(crate) blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// Lines with markers.
    Lines(Lines),
    /// Horizontal bars.
    Bars(Bars),
}

/// A table; the first column is text, the others are numbers and stand right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// The heads of its columns.
    pub(crate) head: Vec<String>,
    /// Its rows, as wide as the head.
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What it says.
    pub(crate) text: String,
    /// How it is meant.
    pub(crate) tone: Tone,
}

/// How a cell is meant; shown as a colour, so the text has to say it too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A plain value.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Enough, and short of what is striven for.
    Fair,
    /// Not as it should be.
    Bad,
}

/// A chart of lines with markers.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    /// What it shows.
    pub(crate) title: String,
    /// The horizontal axis.
    pub(crate) x: Axis,
    /// The vertical axis.
    pub(crate) y: Axis,
    /// The lines.
    pub(crate) series: Vec<Series>,
}

/// An axis of [`Lines`].
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// What it counts, with its unit.
    pub(crate) label: String,
    /// How values are spread on it.
    pub(crate) spread: Spread,
}

/// How values are spread on an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Evenly, from zero.
    Linear,
    /// By their logarithm; values must be above zero.
    Log,
}

/// A line.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Its name in the legend.
    pub(crate) name: String,
    /// Its points from left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

/// A chart of horizontal bars, one row for each category.
#[derive(Debug, Clone)]
pub(crate) struct Bars {
    /// What it shows.
    pub(crate) title: String,
    /// What the bars count, with its unit.
    pub(crate) unit: String,
    /// The parts of each row, by name.
    pub(crate) parts: Vec<String>,
    /// The rows: a name, and a value for each part.
    pub(crate) rows: Vec<(String, Vec<Option<f64>>)>,
    /// Whether the parts of a row are stacked into one bar or stand below each other.
    pub(crate) stacked: bool,
}

impl Document {
    /// Adds a fact about where and how it was measured.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
    }

    /// The page: one file, no script, nothing from elsewhere.
    pub(crate) fn to_html(&self) -> String {
        html::page(self)
    }

    /// The same as Markdown; charts become tables.
    pub(crate) fn to_markdown(&self) -> String {
        markdown::text(self)
    }

    /// Its first figures as an SVG that stands alone.
    pub(crate) fn to_svg(&self) -> String {
        picture::picture(self)
    }
}

impl Section {
    /// A section of these blocks.
    pub(crate) fn new(title: &str, blocks: impl IntoIterator<Item = Block>) -> Self {
        Self { title: title.to_owned(), blocks: blocks.into_iter().collect() }
    }
}

impl Table {
    /// A table without rows.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).into(), rows: Vec::new() }
    }
}

impl Cell {
    /// A cell with a tone.
    pub(crate) fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

impl Axis {
    /// An axis from zero.
    pub(crate) fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), spread: Spread::Linear }
    }

    /// A logarithmic axis.
    pub(crate) fn log(label: &str) -> Self {
        Self { label: label.to_owned(), spread: Spread::Log }
    }
}

/// A number with three digits that count: `12,300`, `8.31`, `0.0042`.
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

/// A value that stands for itself, a count of connections for instance: whole numbers in full.
fn exact(value: f64) -> String {
    if value.fract() == 0.0 { thousands(value) } else { number(value) }
}

/// A whole number with a comma at the thousands.
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
