//! What a report consists of.

/// A report.
#[derive(Debug, Clone, Default)]
pub(crate) struct Document {
    /// The heading.
    pub(crate) title: String,
    /// The result in one or two sentences.
    pub(crate) summary: String,
    /// What a reader must know before the figures, each in a sentence or two.
    pub(crate) warnings: Vec<String>,
    /// Where and how it was measured: names with values.
    pub(crate) facts: Vec<(String, String)>,
    /// The results.
    pub(crate) sections: Vec<Section>,
}

/// A part with a heading.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    /// The heading.
    pub(crate) title: String,
    /// The contents.
    pub(crate) blocks: Vec<Block>,
}

/// A piece of a section.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// A paragraph.
    Text(String),
    /// A table.
    Table(Table),
    /// A chart; a table of its values in Markdown.
    Chart(Chart),
    /// A link to another HTML page in the same folder.
    Link {
        /// The text of the link.
        title: String,
        /// The page's file name.
        file: String,
    },
}

/// A table. The first column is text, the others are numbers and aligned right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// The column headings.
    pub(crate) head: Vec<String>,
    /// Its rows, as wide as the head.
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Its text.
    pub(crate) text: String,
    /// Its colour in HTML.
    pub(crate) tone: Tone,
}

/// The colour of a cell. The text must say the same, for Markdown and for those who can't tell the
/// colours apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A plain value.
    #[default]
    Plain,
    /// The goal is reached.
    Good,
    /// Acceptable, below the goal.
    Fair,
    /// Not acceptable.
    Bad,
}

/// A chart of one or more series over the same categories.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    /// The caption.
    pub(crate) title: String,
    /// How the values are drawn.
    pub(crate) kind: ChartKind,
    /// What the categories are; may be empty.
    pub(crate) axis: String,
    /// The unit of the values.
    pub(crate) unit: String,
    /// The categories in their order.
    pub(crate) categories: Vec<String>,
    /// The series.
    pub(crate) series: Vec<Series>,
}

/// How a [`Chart`] is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChartKind {
    /// Lines.
    Lines,
    /// Lines on a logarithmic axis; values must be above zero.
    LogLines,
    /// Lines on a logarithmic axis, without marks, over many categories that are numbers.
    LogTimeline,
    /// Horizontal bars, grouped by category.
    Bars,
    /// Horizontal bars, stacked by category.
    StackedBars,
}

/// One series of a [`Chart`].
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Its name in the legend.
    pub(crate) name: String,
    /// A value for each category.
    pub(crate) values: Vec<Option<f64>>,
}

impl Document {
    /// Adds a fact about where and how it was measured.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
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
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

impl Chart {
    /// A chart without series.
    pub(crate) fn new(
        kind: ChartKind,
        title: &str,
        axis: &str,
        unit: &str,
        categories: impl IntoIterator<Item = String>,
    ) -> Self {
        let [title, axis, unit] = [title, axis, unit].map(str::to_owned);
        let categories = categories.into_iter().collect();
        Self { title, kind, axis, unit, categories, series: Vec::new() }
    }

    /// The chart with these series.
    pub(crate) fn with(self, series: impl IntoIterator<Item = Series>) -> Self {
        Self { series: series.into_iter().collect(), ..self }
    }
}

impl Series {
    /// A series of these values.
    pub(crate) fn new(name: &str, values: impl IntoIterator<Item = Option<f64>>) -> Self {
        Self { name: name.to_owned(), values: values.into_iter().collect() }
    }
}
