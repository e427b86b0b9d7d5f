//! Targets, and what divides them.

use std::collections::HashMap;

use super::{Conflict, FieldPath, Issue, Resolved};
use crate::profile::nearest::{list, nearest};
use crate::profile::schema::{Groups, RawTarget};
use crate::profile::shape::{ByName, OneOrMany};
use crate::profile::text::Name;
use crate::profile::{Home, PARTITION, Partition, Rule, TARGETS_MAX, Target};
use crate::units::Interface;

/// Names targets.
pub(super) fn targets(
    raw: Option<ByName<RawTarget, TARGETS_MAX>>,
    interfaces: &OneOrMany<Interface>,
) -> Resolved<Vec<Target>> {
    let Some(ByName(raw)) = raw else {
        return Ok(Vec::new());
    };
    if !interfaces.0.is_empty() {
        let issue = Issue::new("`interfaces` and `targets` exclude each other");
        let issue = issue.expected("one of them: targets have interfaces of their own");
        let profile = FieldPath::default();
        let conflict = Conflict::new(issue, profile.key("interfaces"));
        return Err(conflict.because_of(profile.key("targets")));
    }
    raw.into_iter().map(target).collect()
}

fn target((name, raw): (String, RawTarget)) -> Resolved<Target> {
    let at = FieldPath::default().key("targets").key(&name);
    let home = match (raw.netns, raw.container) {
        (Some(_), Some(_)) => {
            let issue = Issue::new("`netns` and `container` exclude each other");
            let issue = issue.expected("one of them: a container has a namespace of its own");
            return Err(Conflict::new(issue, at.key("container")).because_of(at.key("netns")));
        }
        (Some(netns), None) => Some(Home::Namespace(netns)),
        (None, container) => container.map(|name| Home::Container(name.as_str().to_owned())),
    };
    let addresses = raw.addresses.0.iter().map(|network| network.net());
    Ok(Target {
        home,
        interface: raw.interface,
        addresses: addresses.collect(),
        name,
    })
}

/// Puts the rules of a partition, if there is one in the mapping at `parent`, before the others: nothing exempts
/// from it.
pub(super) fn before(
    rules: Vec<Rule>,
    raw: Option<Groups>,
    parent: &FieldPath,
    targets: &[Target],
) -> Resolved<Vec<Rule>> {
    let Some(raw) = raw else {
        return Ok(rules);
    };
    let at = parent.key("partition");
    let partition = resolve(raw, &at, targets)?;
    if let Some(index) = rules.iter().position(|rule| rule.name == PARTITION) {
        let issue = Issue::new(format!("a rule is named `{PARTITION}`"));
        let issue = issue.expected("another name: those of the partition are called so");
        let name = parent.key("rules").index(index).key("name");
        return Err(Conflict::new(issue, name).because_of(at));
    }
    Ok(partition.rules().into_iter().chain(rules).collect())
}

fn resolve(raw: Groups, at: &FieldPath, targets: &[Target]) -> Resolved<Partition> {
    if raw.0.len() < 2 {
        let issue = Issue::new("a partition of one group divides nothing");
        let issue = issue.expected("at least two groups, such as [[a, b], [c]]");
        return Err(Conflict::new(issue, at.clone()));
    }
    let mut places: HashMap<String, FieldPath> = HashMap::new();
    let mut groups = Vec::new();
    for (group, names) in raw.0.into_iter().enumerate() {
        let mut members = Vec::new();
        for (index, Name(name)) in names.0.into_iter().enumerate() {
            let place = at.index(group).index(index);
            if !targets.iter().any(|target| target.name == name) {
                return Err(unknown(&name, place, targets));
            }
            if let Some(first) = places.insert(name.clone(), place.clone()) {
                let issue = Issue::new(format!("`{name}` is in the partition twice"));
                let issue = issue.expected("each target in one group, or in none");
                return Err(Conflict::new(issue, place).against(first, "the first time"));
            }
            members.push(name);
        }
        groups.push(members);
    }
    Ok(Partition(groups))
}

fn unknown(name: &str, place: FieldPath, targets: &[Target]) -> Box<Conflict> {
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    let issue = Issue::new(format!("`{name}` is no target of the profile"));
    let issue = match targets {
        [] => issue.expected("a name under `targets`, which are missing"),
        _ => issue.expected(format!("one of {}", list(&names, "or"))),
    };
    Conflict::new(
        match nearest(name, &names) {
            Some(near) => issue.hint(format!("write {near}")),
            None => issue,
        },
        place,
    )
}

pub(super) fn beside_phases() -> Box<Conflict> {
    let issue = Issue::new("`partition` beside `phases`: in which of them?");
    let issue = issue.expected("`partition` in the phases in which it is to be in force");
    let profile = FieldPath::default();
    let conflict = Conflict::new(issue, profile.key("partition"));
    conflict.against(profile.key("phases"), "the phases are here")
}

pub(super) fn ramps(phase: &FieldPath) -> Box<Conflict> {
    let issue = Issue::new("a partition is there or not: it does not ramp");
    let issue = issue.expected("a phase without `ramp`, or without `partition`");
    Conflict::new(issue, phase.key("ramp")).because_of(phase.key("partition"))
}
