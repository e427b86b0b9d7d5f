//! What a step does, and what goes with it.

use super::{super::schema::RawStep, Resolved};
use crate::profile::{conflict::Conflict, issue::Issue, nearest::list, yaml::FieldPath};

/// The keys that say what a step does, and those that go with each.
const VERBS: [(&str, &[&str]); 6] = [
    ("start", &["on", "as", "ready"]),
    ("run", &["on", "timeout", "expect"]),
    ("wait", &["timeout", "expect"]),
    ("faults", &["on", "link", "as", "expect"]),
    ("stop", &[]),
    ("sleep", &[]),
];

/// Checks that a step does one thing, and has no keys of others.
pub(super) fn check(raw: &RawStep, at: &FieldPath) -> Resolved<()> {
    let keys = [
        ("start", raw.start.is_some()),
        ("run", raw.run.is_some()),
        ("wait", raw.wait.is_some()),
        ("faults", raw.faults.is_some()),
        ("stop", raw.stop.is_some()),
        ("sleep", raw.sleep.is_some()),
        ("on", raw.on.is_some()),
        ("link", raw.link.is_some()),
        ("as", raw.r#as.is_some()),
        ("ready", raw.ready.is_some()),
        ("timeout", raw.timeout.is_some()),
        ("expect", raw.expect.is_some()),
    ];
    let given: Vec<_> = keys
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    let mut verbs = VERBS.iter().filter(|(verb, _)| given.contains(verb));
    let all = list(&VERBS.map(|(verb, _)| verb), "or");
    let Some((verb, with)) = verbs.next() else {
        let issue = Issue::new("a step that does nothing").expected(all);
        return Err(Conflict::new(issue, at.clone()));
    };
    let Some(other) = given.iter().find(|key| *key != verb && !with.contains(key)) else {
        return Ok(());
    };
    let issue = Issue::new(format!("`{other}` does not go with `{verb}`"));
    let issue = match (with, verbs.next()) {
        (_, Some(_)) => issue.expected(format!("one of {all} in each step")),
        ([], None) => issue.expected(format!("`{verb}` alone")),
        (with, None) => issue.expected(list(with, "or")),
    };
    let issue = match (*verb, *other) {
        ("stop", "expect") => issue.hint("what faults must have done is expected where they begin"),
        ("start", "expect" | "timeout") => issue.hint("a later step that has `wait` expects it"),
        _ => issue,
    };
    Err(Conflict::new(issue, at.key(other)).because_of(at.key(verb)))
}
