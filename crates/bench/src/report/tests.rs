use super::*;

fn document() -> Document {
    let mut document = Document {
        title: "A <report>".to_owned(),
        lead: "All is well.".to_owned(),
        ..Document::default()
    };
    document.fact("cores", "2");
    let mut table = Table::new(["cell", "seen"]);
    table.rows.push(vec!["a|b".into(), Cell::toned("met", Tone::Good)]);
    let line = |name: &str, points: &[(f64, f64)]| Series {
        name: name.to_owned(),
        points: points.to_vec(),
    };
    let lines = Lines {
        title: "Throughput".to_owned(),
        x: Axis::log("connections"),
        y: Axis::linear("events a second"),
        series: vec![
            line("REST", &[(1.0, 900.0), (64.0, 24_000.0), (1024.0, 30_100.0)]),
            line("pgbench", &[(1.0, 800.0), (64.0, 12_000.0)]),
        ],
    };
    let bars = Bars {
        title: "CPU".to_owned(),
        unit: "µs an event".to_owned(),
        parts: vec!["database".to_owned(), "service".to_owned()],
        rows: vec![
            ("REST".to_owned(), vec![Some(25.0), Some(10.0)]),
            ("pgbench".to_owned(), vec![Some(80.0), None]),
        ],
        stacked: true,
    };
    document.sections.push(Section::new(
        "Figures",
        [Block::Table(table), Block::Lines(lines), Block::Bars(bars)],
    ));
    document
}

#[test]
fn a_page_stands_alone_and_draws_every_series() {
    let html = document().to_html();
    assert!(html.contains("<h1>A &lt;report&gt;</h1>"), "texts are escaped");
    assert!(!html.contains("<script") && !html.contains("http"), "nothing from elsewhere");
    assert_eq!(html.matches("<polyline").count(), 2);
    assert_eq!(html.matches("class=\"mark ").count(), 5);
    assert_eq!(html.matches("<rect").count(), 3, "a value that is missing has no bar");
    assert!(html.contains("<title>REST at 64: 24,000</title>"), "values can be read");
    assert!(html.contains(">1,024</text>"), "few values are marks of the axis: {html}");
    assert!(html.contains("<td class=\"good\">met</td>"));
}

#[test]
fn tags_of_a_page_are_closed() {
    let html = document().to_html();
    for tag in ["svg", "figure", "table", "section", "p", "span", "path", "rect", "text", "dl"] {
        let opened =
            html.matches(&format!("<{tag} ")).count() + html.matches(&format!("<{tag}>")).count();
        let closed = html.matches(&format!("</{tag}>")).count();
        let closed_itself = html.matches(&format!("<{tag} class=\"grid\"")).count();
        assert_eq!(opened, closed + closed_itself, "{tag}");
    }
}

#[test]
fn a_picture_has_the_figures_and_stands_alone() {
    let svg = document().to_svg();
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{svg}");
    assert!(svg.contains(">A &lt;report&gt;</text>") && svg.contains(">All is well.</text>"));
    assert_eq!(svg.matches("class=\"card\"").count(), 2, "a card for each chart");
    assert!(svg.contains("<svg x=\"40\"") && svg.contains(">pgbench</text>"), "{svg}");
    assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
}

#[test]
fn markdown_has_the_values_of_charts_as_tables() {
    let text = document().to_markdown();
    assert!(text.starts_with("# A <report>\nAll is well.\n"), "{text}");
    assert!(text.contains("| a\\|b | met |"), "{text}");
    assert!(text.contains("| 1,024 | 30,100 |  |"), "{text}");
    assert!(text.contains("| pgbench | 80 |  |"), "{text}");
}

#[test]
fn numbers_have_three_digits_that_count() {
    let shown =
        [0.0, 0.004_217, 0.5, 8.312, 24.0, 83.12, 831.2, 8312.0, 23_449.0, -1500.0].map(number);
    let expected =
        ["0", "0.00422", "0.5", "8.31", "24", "83.1", "831", "8,310", "23,400", "-1,500"];
    assert_eq!(shown, expected);
}
