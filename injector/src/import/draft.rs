//! The form between another tool's and a profile's text.

use std::{collections::HashSet, path::PathBuf};

use super::note::Notes;
use crate::{
    profile::{Direction, Match, NAME_CHARS_MAX, Rule},
    units::DurationNs,
};

/// What becomes of another tool's faults.
#[derive(Debug)]
pub(super) struct Draft {
    pub name: String,
    pub seed: Option<u64>,
    /// At least one.
    pub phases: Vec<DraftPhase>,
    /// The phases are played for ever.
    pub repeats: bool,
    pub notes: Notes,
}

/// Rules for a time.
#[derive(Debug)]
pub(super) struct DraftPhase {
    pub name: String,
    /// Absent where there is a single phase that does not end.
    pub duration: Option<DurationNs>,
    pub rules: Vec<DraftRule>,
}

/// A rule, and the files that a profile would name in it.
#[derive(Debug)]
pub(super) struct DraftRule {
    pub rule: Rule,
    /// The table of the delay's distribution.
    pub table: Option<PathBuf>,
    /// A recording.
    pub replay: Option<PathBuf>,
}

impl Draft {
    /// Rules that stay the same.
    pub(super) fn steady(name: &str, rules: Vec<DraftRule>, notes: Notes) -> Self {
        Self::phased(name, vec![DraftPhase::endless(rules)], notes)
    }

    /// Phases that are played once.
    pub(super) fn phased(name: &str, phases: Vec<DraftPhase>, notes: Notes) -> Self {
        Self {
            name: name_of(name),
            seed: None,
            phases,
            repeats: false,
            notes,
        }
    }
}

impl DraftPhase {
    /// A phase that does not end.
    pub(super) const fn endless(rules: Vec<DraftRule>) -> Self {
        Self {
            name: String::new(),
            duration: None,
            rules,
        }
    }
}

impl From<Rule> for DraftRule {
    fn from(rule: Rule) -> Self {
        Self {
            rule,
            table: None,
            replay: None,
        }
    }
}

/// A rule without faults, yet.
pub(super) fn rule(name: &str, direction: Direction, matching: Match) -> Rule {
    Rule::exempting(name_of(name), direction, matching)
}

/// A name that a profile can have, as near as can be.
pub(super) fn name_of(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain = |c| if is_plain(c) { c } else { '-' };
    let name: String = text.chars().take(NAME_CHARS_MAX).map(plain).collect();
    match name.trim_matches('-') {
        "" => "imported".to_owned(),
        name => name.to_owned(),
    }
}

/// Numbers the names that are there already.
pub(super) fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut free = |name: String| {
        let numbered = (2..).map(|n| {
            let suffix = format!("-{n}");
            let end = name.len().min(NAME_CHARS_MAX - suffix.len());
            name[..end].to_owned() + &suffix
        });
        let mut names = std::iter::once(name.clone()).chain(numbered);
        names
            .find(|name| taken.insert(name.clone()))
            .expect("endless")
    };
    names.map(&mut free).collect()
}
