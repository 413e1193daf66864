use super::*;

fn definition(text: &str) -> Definition {
    Definition::parse(text).unwrap_or_else(|violations| panic!("{text}: {violations:?}"))
}

fn violations(text: &str) -> Vec<String> {
    let violations = Definition::parse(text).expect_err(text);
    violations.listed().iter().map(ToString::to_string).collect()
}

#[test]
fn a_definition_reads_as_it_is_written() {
    for text in [
        r#"{"indexes":[]}"#,
        r#"{"indexes":["data.total",["data.customerId","createdAt"],["updatedAt","data.a[\"odd key\"]","data.b"]]}"#,
        r#"{"indexes":[],"search":{"paths":{"data.title":4,"data.description":1},"language":"english"}}"#,
    ] {
        assert_eq!(definition(text).to_json(), text);
    }
}

#[test]
fn what_is_left_out_or_written_otherwise_means_the_same() {
    let same = [
        (r#"{}"#, r#"{"indexes":[]}"#),
        (r#"{"indexes":null,"search":null}"#, r#"{"indexes":[]}"#),
        (r#"{"indexes":[["data.a"]]}"#, r#"{"indexes":["data.a"]}"#),
        (r#"{"indexes":["data[\"a\"]"]}"#, r#"{"indexes":["data.a"]}"#),
        (
            r#"{"search":{"paths":{"data.a":1.0},"language":null}}"#,
            r#"{"indexes":[],"search":{"paths":{"data.a":1},"language":"simple"}}"#,
        ),
        (
            r#"{"search":{"paths":{"data.b":1,"data.a":1,"data.c":4}}}"#,
            r#"{"indexes":[],"search":{"paths":{"data.c":4,"data.a":1,"data.b":1},"language":"simple"}}"#,
        ),
    ];
    for (text, written) in same {
        assert_eq!(definition(text).to_json(), written, "{text}");
    }
}

#[test]
fn every_broken_rule_is_named_with_its_place() {
    let index = r#"/indexes/1 must not be declared twice"#;
    for (text, expected) in [
        ("[]", "the value must be a JSON object"),
        (r#"{"indexs":[]}"#, "/indexs is unknown; did you mean indexes?"),
        (r#"{"colour":1}"#, "/colour is unknown; allowed are indexes and search"),
        (r#"{"indexes":{}}"#, "/indexes must be an array of indexes"),
        (r#"{"indexes":[1]}"#, "/indexes/0 must be a path or an array of paths"),
        (r#"{"indexes":[[]]}"#, "/indexes/0 must have at least one path"),
        (r#"{"indexes":[["data.a",2]]}"#, "/indexes/0/1 must be a path"),
        (r#"{"indexes":["data.a","data.a"]}"#, index),
        (r#"{"indexes":["data.a",["data[\"a\"]"]]}"#, index),
        (r#"{"indexes":[["data.a","createdAt"],["data.a","createdAt"]]}"#, index),
        (
            r#"{"indexes":[["data.a","data.b","data.a"]]}"#,
            "/indexes/0/2 must not occur twice in one index",
        ),
        (
            r#"{"indexes":[["data.a","data.b","data.c","data.d"]]}"#,
            "/indexes/0/3 must not be there: an index has at most 3 paths",
        ),
        (
            r#"{"indexes":["version"]}"#,
            "/indexes/0 must be createdAt, updatedAt or a path below data",
        ),
        (r#"{"indexes":["data"]}"#, "/indexes/0 must name a member of data"),
        (
            r#"{"indexes":["data.a[0]"]}"#,
            "/indexes/0 has an error at column 7: expected .name or [\"a key\"]; a path can't lead through an array",
        ),
        (r#"{"search":[]}"#, "/search must be a JSON object"),
        (r#"{"search":{}}"#, "/search must have paths"),
        (r#"{"search":{"paths":{}}}"#, "/search/paths must have at least one path"),
        (
            r#"{"search":{"path":{"data.a":1}, "paths":{"data.a":1}}}"#,
            "/search/path is unknown; did you mean paths?",
        ),
        (r#"{"search":{"paths":{"createdAt":1}}}"#, "/search/paths/createdAt must begin with data"),
        (r#"{"search":{"paths":{"data.a":0}}}"#, "/search/paths/data.a must be a weight of 1 to 4"),
        (r#"{"search":{"paths":{"data.a":5}}}"#, "/search/paths/data.a must be a weight of 1 to 4"),
        (
            r#"{"search":{"paths":{"data.a":1.5}}}"#,
            "/search/paths/data.a must be a weight of 1 to 4",
        ),
        (
            r#"{"search":{"paths":{"data.a":"4"}}}"#,
            "/search/paths/data.a must be a weight of 1 to 4",
        ),
        (
            r#"{"search":{"paths":{"data.a":1,"data[\"a\"]":2}}}"#,
            "/search/paths/data[\"a\"] must not occur twice, in whatever notation",
        ),
        (
            r#"{"search":{"paths":{"data.a":1,"data.a":2}}}"#,
            "/search/paths/data.a must not occur twice in one object",
        ),
        (
            r#"{"search":{"paths":{"data.a":1},"language":"English!"}}"#,
            "/search/language must be the name of a language, such as simple or english",
        ),
        (
            r#"{"search":{"paths":{"data.a":1},"language":7}}"#,
            "/search/language must be the name of a language",
        ),
        (r#"{"indexes":["data.\u0000"]}"#, "/indexes/0 must not contain the character U+0000"),
    ] {
        assert_eq!(violations(text).first().map(String::as_str), Some(expected), "{text}");
    }
}

#[test]
fn seventeen_are_too_many() {
    let list = |from: usize, to: usize, item: fn(usize) -> String| {
        (from..to).map(item).collect::<Vec<_>>().join(",")
    };
    let indexes = |n| format!(r#"{{"indexes":[{}]}}"#, list(0, n, |i| format!(r#""data.a{i}""#)));
    assert_eq!(definition(&indexes(16)).indexes.len(), 16);
    let too_many = ["/indexes/16 must not be there: a type has at most 16 indexes"];
    assert_eq!(violations(&indexes(18)), too_many);
    let paths = |n| {
        format!(r#"{{"search":{{"paths":{{{}}}}}}}"#, list(0, n, |i| format!(r#""data.a{i}":1"#)))
    };
    assert_eq!(definition(&paths(16)).search.map(|search| search.paths.len()), Some(16));
    let too_many = ["/search/paths/data.a16 must not be there: a type searches at most 16 paths"];
    assert_eq!(violations(&paths(17)), too_many);
}

#[test]
fn depth_is_that_of_a_document() {
    let nested = |levels| format!(r#"{{"indexes":["data{}"]}}"#, ".a".repeat(levels));
    definition(&nested(64));
    assert_eq!(violations(&nested(1000)), ["/indexes/0 must have at most 64 keys"]);
    let arrays = format!(r#"{{"indexes":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert!(!violations(&arrays).is_empty());
}

#[test]
fn a_text_that_is_no_json_is_malformed() {
    let detail = Definition::read("{\"indexes\":[}").map_err(|problem| problem.detail.into_owned());
    let expected = "line 1 of the body, column 13: not valid JSON, expected a JSON value";
    assert_eq!(detail, Err(expected.to_owned()));
    assert!(violations("{")[0].starts_with("the value must be a JSON object: "));
}

#[test]
fn definitions_of_several_types_are_read_in_order() {
    let text = r#"{"Van": {}, "Car": {"indexes": ["data.a"], "search": {"paths": {"data.t": 2}}}}"#;
    let read = Definition::read_by_type(text).expect("valid");
    let read: Vec<_> = read.iter().map(|(name, read)| (name.as_str(), read.to_json())).collect();
    let car =
        r#"{"indexes":["data.a"],"search":{"paths":{"data.t":2},"language":"simple"}}"#.to_owned();
    assert_eq!(read, [("Van", r#"{"indexes":[]}"#.to_owned()), ("Car", car)]);
    assert_eq!(Definition::read_by_type("{}").expect("none"), []);
}

#[test]
fn each_violation_of_several_types_has_its_type() {
    for (text, expected) in [
        ("[]", &["the value must be a JSON object"][..]),
        (r#"{"Car": null}"#, &["/Car must be a JSON object"]),
        (
            r#"{"Car": {"indexes": ["x", "data.a"]}, "V/n": {"serch": 1}}"#,
            &["/Car/indexes/0 ", "/V~1n/serch is unknown; did you mean search?"],
        ),
        (r#"{"Car": {}, "Car": {}}"#, &["/Car must not occur twice in one object"]),
        (r#"{"": {}}"#, &["/ must"]),
    ] {
        let problem = Definition::read_by_type(text).expect_err(text);
        let found: Vec<_> = problem.violations.listed().iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
        let expected = found.iter().zip(expected);
        assert!(expected.into_iter().all(|(found, start)| found.starts_with(start)), "{found:?}");
    }
    let problem = Definition::read_by_type("{\n  \"Car\": }").expect_err("no JSON");
    assert!(problem.detail.contains("line 2"), "{problem:?}");
}
