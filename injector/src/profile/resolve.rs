//! From what was typed to what it means.

use std::collections::HashMap;

use super::issue::{Issue, Key};
use super::schema::{RawDelay, RawMatch, RawPhase, RawProfile, RawRule};
use super::shape::{Name, Phases, Rules, Seed, ShortOr, Text};
use super::strict::Table;
use super::yaml::FieldPath;
use super::{
    Contradiction, Corrupt, Course, Delay, Drop, Duplicate, Match, Phase, Profile, Rule, Timeline,
};
use crate::units::{DurationNs, Network};

/// Something wrong with a profile whose every value is right by itself.
pub(super) struct Conflict {
    pub issue: Issue,
    /// The value at fault.
    pub path: FieldPath,
    /// The value it conflicts with, if there is one, and what to say there.
    pub against: Option<(FieldPath, String)>,
}

/// Names rules and phases, and checks each rule for contradictions.
pub(super) fn resolve(raw: RawProfile) -> Result<Profile, Box<Conflict>> {
    let course = match (raw.rules, raw.phases) {
        (Some(Rules(rules)), None) if raw.repeat.is_none() => {
            Course::Steady(resolve_rules(rules, &FieldPath::default())?)
        }
        (None, Some(Phases(phases))) => Course::Phased(Timeline {
            phases: resolve_phases(phases)?,
            repeat: raw.repeat.unwrap_or_default(),
        }),
        (Some(_), None) => return Err(repeats_rules()),
        (Some(_), Some(_)) => return Err(rules_and_phases()),
        (None, None) => return Err(neither_rules_nor_phases()),
    };
    let Name(name) = raw.name;
    Ok(Profile {
        name,
        description: raw.description.map(|Text(text)| text),
        seed: raw.seed.map(|Seed(seed)| seed),
        course,
    })
}

fn neither_rules_nor_phases() -> Box<Conflict> {
    let issue = Issue::new("missing key `rules`").expected("`rules` or `phases` here");
    Box::new(Conflict {
        issue: issue.key(Key::Missing("rules".to_owned())),
        path: FieldPath::default().key("rules"),
        against: None,
    })
}

fn rules_and_phases() -> Box<Conflict> {
    let issue = Issue::new("`rules` and `phases` exclude each other").expected("one of them");
    Box::new(Conflict {
        issue: issue.hint("move the rules into the phases in which they are to be in force"),
        path: FieldPath::default().key("phases"),
        against: Some((
            FieldPath::default().key("rules"),
            "the rules are here".to_owned(),
        )),
    })
}

fn repeats_rules() -> Box<Conflict> {
    let issue = Issue::new("`repeat` without `phases`: there is nothing to repeat");
    Box::new(Conflict {
        issue: issue
            .expected("`phases` in place of `rules`")
            .hint("leave the key out: the rules last until the run ends"),
        path: FieldPath::default().key("repeat"),
        against: Some((
            FieldPath::default().key("rules"),
            "because of this".to_owned(),
        )),
    })
}

fn resolve_phases(raw: Vec<RawPhase>) -> Result<Vec<Phase>, Box<Conflict>> {
    let all = FieldPath::default().key("phases");
    let phase = |(index, raw)| resolve_phase(raw, index, &all.index(index));
    let phases: Vec<_> = raw
        .into_iter()
        .enumerate()
        .map(phase)
        .collect::<Result<_, _>>()?;
    names_are_distinct("phase", phases.iter().map(|phase| &phase.name), &all)?;
    Ok(phases)
}

fn resolve_phase(raw: RawPhase, index: usize, at: &FieldPath) -> Result<Phase, Box<Conflict>> {
    if raw.duration == DurationNs::ZERO {
        return Err(Box::new(Conflict {
            issue: Issue::new("the phase takes no time")
                .expected("a duration above 0, such as 30s"),
            path: at.key("for"),
            against: None,
        }));
    }
    Ok(Phase {
        name: name_of(raw.name, "phase", index),
        duration: raw.duration,
        rules: resolve_rules(raw.rules.0, at)?,
    })
}

/// Rules of the mapping at `parent`.
fn resolve_rules(raw: Vec<RawRule>, parent: &FieldPath) -> Result<Vec<Rule>, Box<Conflict>> {
    let all = parent.key("rules");
    let rules: Vec<Rule> = raw.into_iter().enumerate().map(rule).collect();
    for (index, rule) in rules.iter().enumerate() {
        rule.check()
            .map_err(|contradiction| contradicts_itself(&all.index(index), &contradiction))?;
    }
    names_are_distinct("rule", rules.iter().map(|rule| &rule.name), &all)?;
    Ok(rules)
}

fn rule((index, raw): (usize, RawRule)) -> Rule {
    Rule {
        name: name_of(raw.name, "rule", index),
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

fn contradicts_itself(rule: &FieldPath, contradiction: &Contradiction) -> Box<Conflict> {
    let in_rule = |[fault, key]: [&str; 2]| rule.key(fault).key(key);
    Box::new(Conflict {
        issue: Issue::new(contradiction.to_string()).expected(contradiction.expected()),
        path: in_rule(contradiction.field()),
        against: Some((
            in_rule(contradiction.against()),
            "because of this".to_owned(),
        )),
    })
}

/// Checks the names of what the list at `all` holds.
fn names_are_distinct<'a>(
    what: &str,
    names: impl Iterator<Item = &'a String>,
    all: &FieldPath,
) -> Result<(), Box<Conflict>> {
    let mut first_with = HashMap::new();
    for (second, name) in names.enumerate() {
        let Some(first) = first_with.insert(name, second) else {
            continue;
        };
        let is_default = |index| *name == default_name(what, index);
        let issue = Issue::new(format!("two {what}s are named `{name}`"))
            .expected(format!("a different name for each {what}"));
        let issue = if is_default(first) || is_default(second) {
            let called = format!("a {what} without a name is called `{what}-N`, counting from 1");
            issue.hint(called)
        } else {
            issue
        };
        return Err(Box::new(Conflict {
            issue,
            path: all.index(second).key("name"),
            against: Some((all.index(first).key("name"), "the first one".to_owned())),
        }));
    }
    Ok(())
}

fn name_of(given: Option<Name>, what: &str, index: usize) -> String {
    given.map_or_else(|| default_name(what, index), |Name(name)| name)
}

fn default_name(what: &str, index: usize) -> String {
    format!("{what}-{}", index + 1)
}
