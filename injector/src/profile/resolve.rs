//! From what was typed to what it means.

mod chance;
mod fault;
mod loss;
mod partition;
mod replay;

use std::collections::HashMap;

use ipnet::IpNet;

use super::conflict::Conflict;
use super::files::Files;
use super::issue::Issue;
use super::schema::{RawMatch, RawPhase, RawProfile, RawRule};
use super::shape::{Phases, Rules, ShortOr};
use super::strict::Table;
use super::text::{Name, Seed, Text};
use super::yaml::FieldPath;
use super::{
    Course, Expectation, Fragments, Match, NAMES_MAX, Phase, Point, Profile, Replay, Rule, Target,
    Timeline, ramp,
};
use crate::units::{Address, DurationNs, HostName, Owner};

type Resolved<T> = Result<T, Box<Conflict>>;

/// Names rules and phases, reads the files that they name, and checks each rule, and each ramp, for
/// contradictions.
pub(super) fn resolve(raw: RawProfile, files: &mut Files<'_>) -> Resolved<Profile> {
    let targets = partition::targets(raw.targets, &raw.interfaces)?;
    let fragments = raw.fragments.unwrap_or_default();
    let has_partition = raw.partition.is_some();
    let course = match (raw.rules, raw.phases) {
        (rules, None) if raw.repeat.is_none() && (rules.is_some() || has_partition) => {
            let rules = rules.map_or_else(Vec::new, |Rules(rules)| rules);
            let rules = resolve_rules(rules, &FieldPath::default(), fragments, files)?;
            Course::Steady(partition::before(
                rules,
                raw.partition,
                &FieldPath::default(),
                &targets,
            )?)
        }
        (None, Some(_)) if has_partition => return Err(partition::beside_phases()),
        (None, Some(Phases(phases))) => {
            let timeline = Timeline {
                phases: resolve_phases(phases, &targets, fragments, files)?,
                repeat: raw.repeat.unwrap_or_default(),
            };
            ramp::check(&timeline)?;
            Course::Phased(timeline)
        }
        (Some(_), Some(_)) => return Err(rules_and_phases()),
        (None, None) if !has_partition => return Err(neither_rules_nor_phases()),
        (rules, None) => return Err(repeats_rules(rules.map_or("partition", |_| "rules"))),
    };
    expect_of_rules(&raw.expect.0, &course)?;
    let Name(name) = raw.name;
    let profile = Profile {
        name,
        description: raw.description.map(|Text(text)| text),
        seed: raw.seed.map(|Seed(seed)| seed),
        course,
        expect: raw.expect.0,
        interfaces: raw.interfaces.0,
        targets,
        fragments,
    };
    hosts_are_few(&profile)?;
    Ok(profile)
}

/// Checks that there are not too many names to look up.
fn hosts_are_few(profile: &Profile) -> Resolved<()> {
    let count = profile.names().len();
    if count <= NAMES_MAX {
        return Ok(());
    }
    let issue = Issue::new(format!("{count} names of hosts in one profile"));
    let issue = issue.expected(format!(
        "at most {NAMES_MAX}, which are looked up again and again"
    ));
    Err(Conflict::new(
        issue.hint("write networks in their place"),
        FieldPath::default(),
    ))
}

/// Checks that there are the rules that something is expected of.
fn expect_of_rules(expect: &[Expectation], course: &Course) -> Resolved<()> {
    let all = FieldPath::default().key("expect");
    for (index, expectation) in expect.iter().enumerate() {
        let unknown = |error| Conflict::new(Issue::from(error), all.index(index));
        course.require(&expectation.rules).map_err(unknown)?;
    }
    Ok(())
}

fn neither_rules_nor_phases() -> Box<Conflict> {
    Conflict::missing(&FieldPath::default(), "rules", "`rules` or `phases`")
}

fn rules_and_phases() -> Box<Conflict> {
    let issue = Issue::new("`rules` and `phases` exclude each other").expected("one of them");
    let issue = issue.hint("move the rules into the phases in which they are to be in force");
    let profile = FieldPath::default();
    Conflict::new(issue, profile.key("phases")).against(profile.key("rules"), "the rules are here")
}

fn repeats_rules(steady: &str) -> Box<Conflict> {
    let issue = Issue::new("`repeat` without `phases`: there is nothing to repeat");
    let issue = issue.expected("`phases` in place of `rules`");
    let issue = issue.hint("leave the key out: the rules last until the run ends");
    let profile = FieldPath::default();
    Conflict::new(issue, profile.key("repeat")).because_of(profile.key(steady))
}

fn resolve_phases(
    raw: Vec<RawPhase>,
    targets: &[Target],
    fragments: Fragments,
    files: &mut Files<'_>,
) -> Resolved<Vec<Phase>> {
    let all = FieldPath::default().key("phases");
    let phase =
        |(index, raw)| resolve_phase(raw, index, &all.index(index), targets, fragments, files);
    let phases: Vec<_> = raw
        .into_iter()
        .enumerate()
        .map(phase)
        .collect::<Result<_, _>>()?;
    names_are_distinct("phase", phases.iter().map(|phase| &phase.name), |index| {
        all.index(index).key("name")
    })?;
    Ok(phases)
}

fn resolve_phase(
    raw: RawPhase,
    index: usize,
    at: &FieldPath,
    targets: &[Target],
    fragments: Fragments,
    files: &mut Files<'_>,
) -> Resolved<Phase> {
    if raw.duration == DurationNs::ZERO {
        let issue = Issue::new("the phase takes no time");
        let issue = issue.expected("a duration above 0, such as 30s");
        return Err(Conflict::new(issue, at.key("for")));
    }
    let ramp = raw.ramp.unwrap_or(false);
    let rules = match (raw.rules, &raw.partition) {
        (Some(Rules(rules)), _) => resolve_rules(rules, at, fragments, files)?,
        (None, Some(_)) => Vec::new(),
        (None, None) => return Err(Conflict::missing(at, "rules", "`rules` or `partition`")),
    };
    if ramp && raw.partition.is_some() {
        return Err(partition::ramps(at));
    }
    Ok(Phase {
        name: name_of(raw.name, "phase", index),
        duration: raw.duration,
        ramp,
        rules: partition::before(rules, raw.partition, at, targets)?,
    })
}

/// Rules of the mapping at `parent`.
fn resolve_rules(
    raw: Vec<RawRule>,
    parent: &FieldPath,
    fragments: Fragments,
    files: &mut Files<'_>,
) -> Resolved<Vec<Rule>> {
    let all = parent.key("rules");
    let rule = |(index, raw)| resolve_rule(raw, index, all.index(index), fragments, files);
    let rules: Vec<_> = raw
        .into_iter()
        .enumerate()
        .map(rule)
        .collect::<Result<_, _>>()?;
    names_are_distinct("rule", rules.iter().map(|rule| &rule.name), |index| {
        all.index(index).key("name")
    })?;
    Ok(rules)
}

fn resolve_rule(
    raw: RawRule,
    index: usize,
    at: FieldPath,
    fragments: Fragments,
    files: &mut Files<'_>,
) -> Resolved<Rule> {
    let replay = given(raw.replay, |raw| {
        replay::resolve(&raw, &at.key("replay"), files)
    })?;
    let scope = Scope {
        recorded: replay.as_ref().and_then(Replay::first).copied(),
        rule: at,
    };
    let matching = raw.matching.map(|Table(raw)| matching(raw));
    let rule = Rule {
        name: name_of(raw.name, "rule", index),
        direction: raw.direction.unwrap_or_default(),
        matching: matching.unwrap_or_default(),
        drop: given(raw.drop, |raw| fault::drop(raw, &scope))?,
        delay: given(raw.delay, |raw| fault::delay(raw, &scope, files))?,
        corrupt: given(raw.corrupt, |raw| fault::corrupt(raw, &scope))?,
        duplicate: given(raw.duplicate, |raw| fault::duplicate(raw, &scope))?,
        reorder: given(raw.reorder, |raw| fault::reorder(raw, &scope))?,
        rate: given(raw.rate, |raw| fault::rate(raw, &scope))?,
        slot: raw.slot.map(|Table(raw)| fault::slot(raw)),
        replay,
        partition: None,
    };
    match rule.check(fragments) {
        Ok(()) => Ok(rule),
        Err(contradiction) => Err(Conflict::contradiction(&scope.rule, &contradiction)),
    }
}

/// Resolves a fault that may be absent.
fn given<T, U>(
    raw: Option<ShortOr<T>>,
    resolve: impl FnOnce(T) -> Resolved<U>,
) -> Resolved<Option<U>> {
    raw.map(|ShortOr(raw)| resolve(raw)).transpose()
}

/// Where a rule is, and what its recording gives.
struct Scope {
    rule: FieldPath,
    /// The first of the recorded conditions.
    recorded: Option<Point>,
}

impl Scope {
    /// Returns the value of a key that may be absent because the recording gives it; then it is the
    /// recorded one.
    fn given_or_recorded<T>(
        &self,
        [fault, key]: [&str; 2],
        given: Option<T>,
        recorded: impl FnOnce(&Point) -> Option<T>,
    ) -> Resolved<Option<T>> {
        match (given, self.recorded.as_ref().and_then(recorded)) {
            (Some(_), Some(_)) => {
                let what = if key == "jitter" { key } else { fault };
                let issue = Issue::new(format!("the recording gives `{what}` too"));
                let issue = issue.expected(format!("a recording without `{what}`, or it alone"));
                let conflict = Conflict::new(issue, self.rule.keys(&[fault, key]));
                Err(conflict.because_of(self.rule.keys(&["replay", "file"])))
            }
            (given, recorded) => Ok(given.or(recorded)),
        }
    }
}

fn matching(raw: RawMatch) -> Match {
    let (src, src_names) = split(raw.src.0);
    let (dst, dst_names) = split(raw.dst.0);
    Match {
        protocol: raw.protocol,
        src,
        dst,
        src_names,
        dst_names,
        src_port: raw.src_port.0,
        dst_port: raw.dst_port.0,
        ttl: raw.ttl.0,
        dscp: raw.dscp.0,
        mark: raw.mark.0,
        owners: [
            raw.process.0.into_iter().map(|name| name.0).collect(),
            raw.pid.0.into_iter().map(|pid| pid.0).collect(),
            raw.cgroup.0.into_iter().map(|path| path.0).collect(),
            raw.container.0.into_iter().map(|name| name.0).collect(),
            raw.user.0.into_iter().map(|name| name.0).collect(),
        ]
        .into_iter()
        .filter(|owners: &Vec<Owner>| !owners.is_empty())
        .collect(),
        ecn: raw.ecn.0,
        tcp_flags: raw.tcp_flags.0,
        icmp_type: raw.icmp_type.0,
        fragment: raw.fragment.0,
        length: raw.length.0,
        vlan: raw.vlan.0,
        src_mac: raw.src_mac.0,
        dst_mac: raw.dst_mac.0,
        first: raw.connection.map(|Table(raw)| raw.first.0),
        flows: raw.flows.0,
        any: raw.any.0.into_iter().map(matching).collect(),
        not: raw.not.map(|raw| Box::new(matching(raw.0))),
    }
}

/// Tells networks from names.
fn split(addresses: Vec<Address>) -> (Vec<IpNet>, Vec<HostName>) {
    let (mut nets, mut names) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            Address::Network(network) => nets.push(network.net()),
            Address::Name(name) => names.push(name),
        }
    }
    (nets, names)
}

/// Checks the names of several, each at `name_at` its index.
pub(crate) fn names_are_distinct<'a>(
    what: &str,
    names: impl Iterator<Item = &'a String>,
    name_at: impl Fn(usize) -> FieldPath,
) -> Resolved<()> {
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
        return Err(Conflict::new(issue, name_at(second)).against(name_at(first), "the first one"));
    }
    Ok(())
}

fn name_of(given: Option<Name>, what: &str, index: usize) -> String {
    given.map_or_else(|| default_name(what, index), |Name(name)| name)
}

/// Returns what is called so because nobody gave it a name.
pub(crate) fn default_name(what: &str, index: usize) -> String {
    format!("{what}-{}", index + 1)
}
