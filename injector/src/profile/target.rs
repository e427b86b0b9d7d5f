//! Targets by name, and partitions between them.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Direction, Drop, Match, Profile, Rule};
use crate::units::{Interface, Namespace, Probability};

/// Most targets in a profile.
pub const TARGETS_MAX: usize = 1024;

/// What the rules of a partition are called.
pub const PARTITION: &str = "partition";

/// An interface that the profile is about, by a name of the profile's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Where it is; in the namespace of the run where it is absent.
    pub home: Option<Home>,
    /// The interface; the only one but the loopback device where it is absent.
    pub interface: Option<Interface>,
    /// Its addresses; those that the interface has at the start where there are none.
    pub addresses: Vec<IpNet>,
}

/// What has a network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// It is named itself.
    Namespace(Namespace),
    /// A container of that name or identifier has it.
    Container(String),
}

/// Groups of targets of which none hears another: at least two, with a target each, and none in two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition(pub Vec<Vec<String>>);

/// The addresses of targets, by name.
pub type Addresses = BTreeMap<String, Vec<IpNet>>;

impl Partition {
    /// What it comes to, for all targets alike: one rule for each direction, which match nothing until it is known
    /// for which target they are.
    pub(super) fn rules(&self) -> [Rule; 2] {
        [Direction::Egress, Direction::Ingress].map(|direction| Rule {
            drop: Some(Drop::independent(Probability::ALWAYS)),
            partition: Some(self.clone()),
            ..Rule::exempting(PARTITION.to_owned(), direction, Match::default())
        })
    }

    /// The addresses beyond the cut, seen from a target; none where that is in no group.
    fn beyond(&self, target: &str, addresses: &Addresses) -> Vec<IpNet> {
        let has = |group: &&Vec<String>| group.iter().any(|name| name == target);
        if !self.0.iter().any(|group| has(&group)) {
            return Vec::new();
        }
        let others = self.0.iter().filter(|group| !has(group)).flatten();
        let others = others.filter_map(|name| addresses.get(name)).flatten();
        others.copied().collect()
    }
}

impl Profile {
    /// The profile as it is for one of its targets.
    #[must_use]
    pub fn at(mut self, target: &str, addresses: &Addresses) -> Self {
        for rule in self.course.rules_mut() {
            let Some(partition) = &rule.partition else {
                continue;
            };
            let beyond = partition.beyond(target, addresses);
            // Without addresses, a condition would be none.
            if beyond.is_empty() {
                continue;
            }
            match rule.direction {
                Direction::Ingress => rule.matching.src = beyond,
                _ => rule.matching.dst = beyond,
            }
            rule.partition = None;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{plan::Plan, profile};

    fn address(target: usize) -> IpNet {
        format!("10.0.0.{}/32", target + 1).parse().unwrap()
    }

    fn name(target: usize) -> String {
        format!("t{target}")
    }

    /// Whether a rule of the first target's drops what goes to the second, and what comes from there.
    fn cuts(profile: &Profile, [from, to]: [usize; 2], addresses: &Addresses) -> [bool; 2] {
        let profile = profile.clone().at(&name(from), addresses);
        let rules: Vec<_> = profile.rules().flatten().collect();
        let is_cut = |direction, nets: fn(&Match) -> &Vec<IpNet>| {
            rules.iter().any(|rule| {
                rule.direction == direction && nets(&rule.matching).contains(&address(to))
            })
        };
        [
            is_cut(Direction::Egress, |matching| &matching.dst),
            is_cut(Direction::Ingress, |matching| &matching.src),
        ]
    }

    proptest! {
        /// Each target is in the group of its number; in none where there is no such group.
        #[test]
        fn exactly_targets_of_different_groups_are_cut_off_both_ways(
            groups in prop::collection::vec(0..4usize, 2..12),
        ) {
            let group = |number| -> Vec<_> {
                let targets = groups.iter().enumerate();
                targets.filter(|(_, group)| **group == number).map(|(target, _)| name(target)).collect()
            };
            let partition: Vec<_> = (0..3).map(group).filter(|group| !group.is_empty()).collect();
            prop_assume!(partition.len() > 1);
            let targets: Vec<_> = (0..groups.len()).map(|target| format!("{}: {{}}", name(target))).collect();
            let text = format!(
                "{{name: x, targets: {{{}}}, partition: {}}}",
                targets.join(", "),
                serde_json::to_string(&partition).unwrap()
            );
            let profile = profile::parse("x", &text).unwrap();
            let addresses = (0..groups.len()).map(|target| (name(target), vec![address(target)])).collect();
            for from in 0..groups.len() {
                for to in 0..groups.len() {
                    let expected = groups[from] != groups[to] && groups[from] < 3 && groups[to] < 3;
                    prop_assert_eq!(cuts(&profile, [from, to], &addresses), [expected; 2]);
                }
            }
        }
    }

    #[test]
    fn a_partition_matches_nothing_until_it_is_known_for_which_target() {
        let text =
            "{name: x, targets: {a: {}, b: {}, c: {}}, partition: [[a], [b]], rules: [{drop: 1%}]}";
        let profile = profile::parse("x", text).unwrap();
        let entries = |profile: &Profile| -> Vec<_> {
            let plan = Plan::new(profile, 1).unwrap();
            plan.rules.iter().map(|rule| rule.entries.len()).collect()
        };
        assert_eq!(entries(&profile), [0, 0, 1]);
        let addresses = Addresses::from([("b".to_owned(), vec![address(0), address(1)])]);
        assert_eq!(entries(&profile.clone().at("a", &addresses)), [2, 2, 1]);
        assert_eq!(entries(&profile.clone().at("b", &addresses)), [0, 0, 1]);
        assert_eq!(entries(&profile.at("c", &addresses)), [0, 0, 1]);
    }
}
