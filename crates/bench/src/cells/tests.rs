use super::*;

fn names(selection: &Selection) -> Vec<String> {
    selection.cells().expect("cells").iter().map(Cell::to_string).collect()
}

#[test]
fn names_are_unique() {
    let mut names = names(&Selection::default());
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_cell_is_found_by_name() {
    let only = vec!["sqlite-rest-64".to_owned(), "rest-256-hot".to_owned()];
    let selection = Selection { only, ..Selection::default() };
    assert_eq!(names(&selection), ["rest-256-hot", "sqlite-rest-64"]);
}

#[test]
fn cells_of_single_entities_are_named_by_their_requests() {
    let names = names(&Selection::default());
    for name in ["put-64", "patch-64", "delete-64", "get-64", "mixed-64", "rest-256-match"] {
        assert!(names.iter().any(|there| there == name), "{name}");
    }
    let place = |name| names.iter().position(|there| there == name).expect(name);
    assert!(place("rest-64") < place("put-64"), "measured right after what it is compared with");
    assert_eq!(place("rest-256") + 1, place("rest-256-read"));
    assert_eq!(place("rest-256") + 2, place("rest-256-match"));
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known_ones() {
    let selection = Selection { only: vec!["rest-65".to_owned()], ..Selection::default() };
    let error = selection.cells().expect_err("unknown");
    assert!(error.contains("\"rest-65\"") && error.contains("bulk-8x100 "), "{error}");
}

#[test]
fn the_quick_cells_include_postgresql_used_directly() {
    let names = names(&Selection { quick: true, ..Selection::default() });
    for name in ["pgbench-8", "pgbench-32", "copy", "rest-64", "sqlite-rest-64"] {
        assert!(names.iter().any(|there| there == name), "{name}");
    }
    assert!(names.len() <= 16, "more would take longer than three minutes");
}

#[test]
fn cells_of_one_database_can_be_selected() {
    let selection = Selection { store: Some(Store::Sqlite), ..Selection::default() };
    assert!(names(&selection).iter().all(|name| name.starts_with("sqlite-")));
}
