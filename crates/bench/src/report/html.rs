//! A document as an HTML page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::to_svg;
use super::document::{Block, Chart, Document, Table, Tone};
use crate::Result;

const STYLE: &str = include_str!("style.css");

/// The page: one file that opens offline. Pages that it links to are files beside it.
///
/// # Errors
/// A chart that can't be drawn.
pub(crate) fn to_html(document: &Document) -> Result<String> {
    let mut sections = Vec::new();
    for section in &document.sections {
        let blocks = section.blocks.iter().map(block).collect::<Result<Vec<_>>>()?;
        sections
            .push(html! { section { h2 { (section.title) } @for block in blocks { (block) } } });
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (document.title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (document.title) }
                    p.summary { (document.summary) }
                    @for warning in &document.warnings { p.warning { (warning) } }
                    dl {
                        @for (name, value) in &document.facts { dt { (name) } dd { (value) } }
                    }
                    @for section in sections { (section) }
                }
            }
        }
    };
    Ok(page.into_string() + "\n")
}

fn block(block: &Block) -> Result<Markup> {
    Ok(match block {
        Block::Text(text) => html! { p { (text) } },
        Block::Table(one) => table(one),
        Block::Chart(one) => chart(one)?,
        Block::Link { title, file } => html! { p { a href=(file) { (title) } } },
    })
}

fn table(table: &Table) -> Markup {
    let class = |tone| match tone {
        Tone::Plain => None,
        Tone::Good => Some("good"),
        Tone::Fair => Some("fair"),
        Tone::Bad => Some("bad"),
    };
    html! {
        div.wide {
            table {
                thead { tr { @for head in &table.head { th scope="col" { (head) } } } }
                tbody {
                    @for row in &table.rows {
                        tr { @for cell in row { td class=[class(cell.tone)] { (cell.text) } } }
                        "\n"
                    }
                }
            }
        }
    }
}

fn chart(chart: &Chart) -> Result<Markup> {
    let svg = PreEscaped(to_svg(chart)?);
    Ok(html! { figure { figcaption { (chart.title) } (svg) } })
}
