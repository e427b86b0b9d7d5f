//! The names of hosts that a profile has, and the addresses that take their place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Match, Profile, Rule};
use crate::units::HostName;

/// Most different names in a profile: each is looked up again and again.
pub const NAMES_MAX: usize = 64;

/// The addresses of names, in order.
pub type Answers = BTreeMap<HostName, BTreeSet<IpAddr>>;

impl Match {
    /// Whether there are names in a list, and no addresses yet: nothing matches that.
    pub(crate) fn is_unanswered(&self) -> bool {
        let is_empty = |nets: &[IpNet], names: &[HostName]| nets.is_empty() && !names.is_empty();
        is_empty(&self.src, &self.src_names) || is_empty(&self.dst, &self.dst_names)
    }

    fn answer(&mut self, answers: &Answers) {
        for (nets, names) in [
            (&mut self.src, &self.src_names),
            (&mut self.dst, &self.dst_names),
        ] {
            let addresses = names.iter().filter_map(|name| answers.get(name)).flatten();
            nets.extend(addresses.copied().map(IpNet::from));
        }
        let inner = self.any.iter_mut().chain(self.not.as_deref_mut());
        inner.for_each(|inner| inner.answer(answers));
    }

    /// The names in all of its conditions.
    pub(crate) fn names(&self) -> Vec<&HostName> {
        let own = self.src_names.iter().chain(&self.dst_names);
        let inner = self.any.iter().chain(self.not.as_deref());
        own.chain(inner.flat_map(Self::names)).collect()
    }
}

impl Profile {
    /// The names, and a rule that has each.
    pub fn names(&self) -> BTreeMap<&HostName, &Rule> {
        let rules = self.rules().flatten();
        let named = |rule| {
            let Rule { matching, .. }: &Rule = rule;
            matching.names().into_iter().map(move |name| (name, rule))
        };
        rules.flat_map(named).collect()
    }

    /// The profile with the addresses of its names beside its other ones.
    #[must_use]
    pub fn answered(mut self, answers: &Answers) -> Self {
        for rule in self.course.rules_mut() {
            rule.matching.answer(answers);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{plan::Plan, profile};

    fn entries(profile: &Profile) -> Vec<usize> {
        let plan = Plan::all(profile, 0).unwrap().swap_remove(0);
        plan.rules.iter().map(|rule| rule.entries.len()).collect()
    }

    #[test]
    fn a_name_matches_its_addresses_and_nothing_before() {
        let text = "{name: x, rules: [{match: {dst: db.example.com}, drop: 1%}, \
                    {match: {dst: [10.0.0.0/8, db.example.com], dst_port: [1, 3]}}, {match: {src: a, dst: b}}]}";
        let profile = profile::parse("x", text).unwrap();
        let names = profile
            .names()
            .into_keys()
            .map(HostName::as_str)
            .collect::<Vec<_>>();
        assert_eq!(names, ["a", "b", "db.example.com"]);
        assert_eq!(entries(&profile), [0, 2, 0]);
        let answer = |name: &str, addresses: &[&str]| {
            let addresses = addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect();
            (HostName::new(name).unwrap(), addresses)
        };
        // From IPv6 to IPv4 there are no packets.
        let answers = [
            answer("db.example.com", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
            answer("a", &["2001:db8::2"]),
            answer("b", &["192.0.2.3"]),
        ];
        assert_eq!(entries(&profile.answered(&answers.into())), [3, 8, 0]);
    }

    #[test]
    fn names_are_bounded() {
        let with = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            profile::parse(
                "x",
                &format!(
                    "{{name: x, rules: [{{match: {{dst: [{}]}}}}]}}",
                    names.join(", ")
                ),
            )
        };
        assert!(with(NAMES_MAX).is_ok());
        let report = with(NAMES_MAX + 1).unwrap_err().report();
        assert_eq!(report.message, "65 names of hosts in one profile");
    }
}
