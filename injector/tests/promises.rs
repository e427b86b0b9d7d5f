//! What the documents name exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const SAFETY: &str = include_str!("../../docs/safety.md");

#[test]
fn every_test_that_a_promise_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names: BTreeSet<_> = SAFETY
        .split('`')
        .filter(|name| name.contains(".rs::"))
        .collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let (file, function) = name.split_once("::").unwrap();
        let file = match file.contains('/') {
            true => root.join(file),
            false => root.join("tests/tests").join(file),
        };
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains(&format!("fn {function}(")), "no test {name}");
    }
}
