//! Reports: a [`Document`] of text, tables and charts, written as an HTML page that needs no other
//! file and no script, and as Markdown.

mod chart;
mod document;
mod html;
mod markdown;
mod number;

#[cfg(test)]
mod tests;

pub(crate) use document::{Block, Cell, Chart, ChartKind, Document, Section, Series, Table, Tone};
pub(crate) use html::to_html;
pub(crate) use markdown::to_markdown;
pub(crate) use number::{number, thousands};
