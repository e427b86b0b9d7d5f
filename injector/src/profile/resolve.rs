//! From what was typed to what it means.

use std::collections::HashMap;

use super::issue::Issue;
use super::schema::{RawDelay, RawMatch, RawProfile, RawRule};
use super::shape::{Name, Seed, ShortOr, Text};
use super::strict::Table;
use super::yaml::{FieldPath, Step};
use super::{Contradiction, Corrupt, Delay, Drop, Duplicate, Match, Profile, Rule};
use crate::units::{DurationNs, Network};

/// Something wrong with a profile whose every value is right by itself.
pub(super) struct Conflict {
    pub issue: Issue,
    /// The value at fault.
    pub path: FieldPath,
    /// The value it conflicts with, and what to say there.
    pub against: (FieldPath, String),
}

/// Names the rules and checks each for contradictions.
pub(super) fn resolve(raw: RawProfile) -> Result<Profile, Box<Conflict>> {
    let Name(name) = raw.name;
    let rules: Vec<Rule> = raw.rules.0.into_iter().enumerate().map(rule).collect();
    for (index, rule) in rules.iter().enumerate() {
        rule.check()
            .map_err(|contradiction| contradicts_itself(index, &contradiction))?;
    }
    names_are_distinct(&rules)?;
    let description = raw.description.map(|Text(text)| text);
    Ok(Profile {
        name,
        description,
        seed: raw.seed.map(|Seed(seed)| seed),
        rules,
    })
}

fn rule((index, raw): (usize, RawRule)) -> Rule {
    Rule {
        name: raw
            .name
            .map_or_else(|| default_name(index), |Name(name)| name),
        direction: raw.direction.unwrap_or_default(),
        matching: raw
            .matching
            .map_or_else(Match::default, |Table(raw)| matching(raw)),
        drop: raw.drop.map(|ShortOr(raw)| Drop {
            probability: raw.probability,
        }),
        delay: raw.delay.map(|ShortOr(raw)| delay(&raw)),
        corrupt: raw.corrupt.map(|ShortOr(raw)| Corrupt {
            probability: raw.probability,
            checksum: raw.checksum.unwrap_or_default(),
        }),
        duplicate: raw.duplicate.map(|ShortOr(raw)| Duplicate {
            probability: raw.probability,
        }),
    }
}

fn matching(raw: RawMatch) -> Match {
    Match {
        protocol: raw.protocol,
        src: raw.src.0.into_iter().map(Network::net).collect(),
        dst: raw.dst.0.into_iter().map(Network::net).collect(),
        src_port: raw.src_port.0,
        dst_port: raw.dst_port.0,
    }
}

fn delay(raw: &RawDelay) -> Delay {
    Delay {
        time: raw.time,
        jitter: raw.jitter.unwrap_or(DurationNs::ZERO),
    }
}

fn contradicts_itself(index: usize, contradiction: &Contradiction) -> Box<Conflict> {
    Box::new(Conflict {
        issue: Issue::new(contradiction.to_string()).expected(contradiction.expected()),
        path: in_rule(index, &contradiction.field()),
        against: (
            in_rule(index, &contradiction.against()),
            "because of this".to_owned(),
        ),
    })
}

fn names_are_distinct(rules: &[Rule]) -> Result<(), Box<Conflict>> {
    let mut first_with = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        if let Some(first) = first_with.insert(rule.name.as_str(), index) {
            return Err(same_name(&rule.name, first, index));
        }
    }
    Ok(())
}

fn same_name(name: &str, first: usize, second: usize) -> Box<Conflict> {
    let is_default = |index| name == default_name(index);
    let issue = Issue::new(format!("two rules are named `{name}`"))
        .expected("a different name for each rule");
    let issue = if is_default(first) || is_default(second) {
        issue.hint("a rule without a name is called `rule-N`, counting from 1")
    } else {
        issue
    };
    Box::new(Conflict {
        issue,
        path: in_rule(second, &["name"]),
        against: (in_rule(first, &["name"]), "the first one".to_owned()),
    })
}

fn default_name(index: usize) -> String {
    format!("rule-{}", index + 1)
}

fn in_rule(index: usize, keys: &[&str]) -> FieldPath {
    let mut steps = vec![Step::Key("rules".to_owned()), Step::Index(index)];
    steps.extend(keys.iter().map(|key| Step::Key((*key).to_owned())));
    FieldPath(steps)
}
