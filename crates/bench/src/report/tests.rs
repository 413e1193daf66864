use super::*;

fn chart(kind: ChartKind, series: Vec<Series>) -> Chart {
    Chart {
        title: "Throughput".to_owned(),
        kind,
        axis: "connections".to_owned(),
        unit: "events/s".to_owned(),
        categories: ["1", "64", "1,024"].map(str::to_owned).into(),
        series,
    }
}

fn two_series() -> Vec<Series> {
    vec![
        Series::new("REST", [Some(900.0), Some(24_000.0), Some(30_100.0)]),
        Series::new("pgbench", [Some(800.0), Some(12_000.0), None]),
    ]
}

fn document(kind: ChartKind) -> Document {
    let mut document = Document {
        title: "A <report>".to_owned(),
        summary: "All targets are reached.".to_owned(),
        warnings: vec!["The machine was busy.".to_owned()],
        ..Document::default()
    };
    document.fact("cores", "2");
    let mut table = Table::new(["cell", "result"]);
    table.rows.push(vec!["a|b".into(), Cell::new("reached", Tone::Good)]);
    let page = Block::Link { title: "k6".to_owned(), file: "k6.html".to_owned() };
    let blocks = [Block::Table(table), Block::Chart(chart(kind, two_series())), page];
    document.sections.push(Section::new("Results", blocks));
    document
}

#[test]
fn a_page_needs_no_script_and_nothing_from_the_network() {
    let html = to_html(&document(ChartKind::Lines)).expect("a page");
    assert!(html.contains("<h1>A &lt;report&gt;</h1>"), "texts are escaped: {html}");
    assert!(html.contains("<td class=\"good\">reached</td>"), "{html}");
    assert!(html.contains("<a href=\"k6.html\">k6</a>"), "{html}");
    assert!(html.contains("<p class=\"warning\">The machine was busy.</p>"), "{html}");
    let links = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(!links.contains("<script") && !links.contains("http"), "{html}");
}

#[test]
fn every_kind_of_chart_names_its_series_and_categories() {
    let kinds = [ChartKind::Lines, ChartKind::LogLines, ChartKind::Bars, ChartKind::StackedBars];
    for kind in kinds {
        let html = to_html(&document(kind)).expect("a page");
        for text in ["REST", "pgbench", "1,024", "events/s"] {
            assert!(html.contains(text), "{kind:?} without {text}: {html}");
        }
    }
}

#[test]
fn a_timeline_has_a_line_for_each_series_and_a_gap_where_a_value_is_missing() {
    let seconds: Vec<String> = (1..=600).map(|second| second.to_string()).collect();
    let values = |gap: usize| (0..600).map(move |at| (at != gap).then_some(2.0 + at as f64));
    let series = [Series::new("p50", values(300)), Series::new("p99", values(600))];
    let chart = Chart::new(ChartKind::LogTimeline, "Latency", "seconds", "ms", seconds);
    let mut document = document(ChartKind::Lines);
    document.sections[0].blocks = vec![Block::Chart(chart.with(series))];
    let html = to_html(&document).expect("a page");
    assert!(["\np50\n", "\np99\n", "\nseconds\n"].iter().all(|text| html.contains(text)));
    assert_eq!(html.matches("stroke-width=\"2\" fill=\"none\"").count(), 3, "one has a gap");
    assert!(!html.contains("<circle"), "a mark for each second hides the line");
    let labels = html.matches("<text").count();
    assert!(labels < 40, "{labels} labels");
}

#[test]
fn a_timeline_is_no_table_in_markdown() {
    let text = to_markdown(&document(ChartKind::LogTimeline));
    assert!(text.contains("**Throughput**: a chart in the HTML page"), "{text}");
    assert!(!text.contains("| connections |"), "{text}");
}

#[test]
fn a_missing_value_has_no_bar() {
    let bars = |series| {
        let mut document = document(ChartKind::Bars);
        document.sections[0].blocks = vec![Block::Chart(chart(ChartKind::Bars, series))];
        to_html(&document).expect("a page").matches("<rect").count()
    };
    let mut series = two_series();
    let with_gap = bars(series.clone());
    series[1].values[2] = Some(1.0);
    assert_eq!(bars(series), with_gap + 1);
}

#[test]
fn markdown_has_the_values_of_charts_as_tables() {
    let text = to_markdown(&document(ChartKind::Lines));
    let head = "# A <report>\nAll targets are reached.\n\n**The machine was busy.**\n";
    assert!(text.starts_with(head), "{text}");
    assert!(text.contains("| a\\|b | reached |"), "{text}");
    assert!(text.contains("| connections | REST | pgbench |"), "{text}");
    assert!(text.contains("| 1,024 | 30,100 |  |"), "{text}");
    assert!(text.contains("[k6](k6.html)"), "{text}");
}

#[test]
fn numbers_have_three_significant_digits() {
    let texts =
        [0.0, 0.004_217, 0.5, 8.312, 24.0, 83.12, 831.2, 8312.0, 23_449.0, -1500.0].map(number);
    let expected =
        ["0", "0.00422", "0.5", "8.31", "24", "83.1", "831", "8,310", "23,400", "-1,500"];
    assert_eq!(texts, expected);
}
