//! The report as a page.

use std::fmt::Write as _;

use super::{Bars, Block, Document, Lines, Section, Table, Tone, svg};

const STYLE: &str = include_str!("style.css");

pub(super) fn page(document: &Document) -> String {
    let title = escape(&document.title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    );
    if !document.lead.is_empty() {
        let _ = writeln!(html, "<p class=\"lead\">{}</p>", escape(&document.lead));
    }
    facts(&mut html, &document.facts);
    for part in &document.sections {
        section(&mut html, part);
    }
    html + "</main>\n</body>\n</html>\n"
}

fn facts(html: &mut String, facts: &[(String, String)]) {
    if facts.is_empty() {
        return;
    }
    html.push_str("<dl>\n");
    for (name, value) in facts {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
    }
    html.push_str("</dl>\n");
}

fn section(html: &mut String, section: &Section) {
    let _ = writeln!(html, "<section>\n<h2>{}</h2>", escape(&section.title));
    for block in &section.blocks {
        match block {
            Block::Text(text) => drop(writeln!(html, "<p>{}</p>", escape(text))),
            Block::Table(part) => table(html, part),
            Block::Lines(chart) => lines(html, chart),
            Block::Bars(chart) => bars(html, chart),
        }
    }
    html.push_str("</section>\n");
}

fn table(html: &mut String, table: &Table) {
    html.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    for head in &table.head {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(head));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        html.push_str("<tr>");
        for cell in row {
            let class = match cell.tone {
                Tone::Plain => "",
                Tone::Good => " class=\"good\"",
                Tone::Fair => " class=\"fair\"",
                Tone::Bad => " class=\"bad\"",
            };
            let _ = write!(html, "<td{class}>{}</td>", escape(&cell.text));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table></div>\n");
}

fn lines(html: &mut String, chart: &Lines) {
    let names = chart.series.iter().map(|series| series.name.as_str());
    figure(html, &chart.title, names, &svg::lines(chart));
}

fn bars(html: &mut String, chart: &Bars) {
    figure(html, &chart.title, chart.parts.iter().map(String::as_str), &svg::bars(chart));
}

fn figure<'a>(html: &mut String, title: &str, names: impl Iterator<Item = &'a str>, svg: &str) {
    let _ = writeln!(html, "<figure>\n<figcaption>{}</figcaption>", escape(title));
    html.push_str("<p class=\"legend\">");
    for (at, name) in names.enumerate() {
        let (colour, name) = (svg::colour(at), escape(name));
        let _ = write!(html, "<span><i class=\"{colour}\"></i>{name}</span>");
    }
    let _ = writeln!(html, "</p>\n{svg}\n</figure>");
}

/// Text as it may stand in an element or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}
