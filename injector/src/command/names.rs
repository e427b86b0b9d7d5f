//! The addresses of a profile's names, at the start and later.

use std::{collections::BTreeSet, fmt, io, net::IpAddr};

use crate::{
    error::{Code, Failure},
    lookup::{self, Answer},
    profile::{Answers, Profile},
    units::HostName,
};

/// A profile with names, and what they stand for.
#[derive(Clone)]
pub(super) struct Named {
    /// As it was written.
    profile: Profile,
    pub answers: Answers,
}

/// What new answers change.
pub(super) enum Change {
    /// The name stands for other addresses.
    Moved(HostName, BTreeSet<IpAddr>),
    /// It cannot be looked up any more; what it stood for stays.
    Lost(HostName, io::Error),
}

impl Named {
    /// Looks up the names of a profile; `None` where it has none.
    pub(super) fn look_up(profile: &Profile) -> Result<Option<Self>, Failure> {
        let found = profile.names();
        if found.is_empty() {
            return Ok(None);
        }
        let names: Vec<HostName> = found.keys().copied().cloned().collect();
        let mut answers = Answers::new();
        for (name, answer) in names.iter().zip(lookup::look_up(&names)) {
            let rule = found.get(name).map_or("", |rule| rule.name.as_str());
            let addresses = answer.map_err(|error| unknown(name, rule, &error))?;
            answers.insert(name.clone(), addresses);
        }
        Ok(Some(Self {
            profile: profile.clone(),
            answers,
        }))
    }

    /// The profile with the addresses.
    pub(super) fn profile(&self) -> Profile {
        self.profile.clone().answered(&self.answers)
    }

    pub(super) fn names(&self) -> Vec<HostName> {
        self.answers.keys().cloned().collect()
    }

    /// Takes new answers up. Says what is different, of failures those that are not in `lost` yet.
    pub(super) fn update(
        &mut self,
        answers: Vec<(HostName, Answer)>,
        lost: &mut BTreeSet<HostName>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, answer) in answers {
            match answer {
                Ok(addresses) => {
                    lost.remove(&name);
                    if self.answers.get(&name) != Some(&addresses) {
                        self.answers.insert(name.clone(), addresses.clone());
                        changes.push(Change::Moved(name, addresses));
                    }
                }
                Err(error) if lost.insert(name.clone()) => changes.push(Change::Lost(name, error)),
                Err(_) => {}
            }
        }
        changes
    }
}

/// Addresses in words.
pub(super) fn list(addresses: &BTreeSet<IpAddr>) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(name, addresses) => write!(f, "`{name}` is now {}", list(addresses)),
            Self::Lost(name, error) => {
                write!(
                    f,
                    "cannot look up `{name}` any more, its addresses stay: {error}"
                )
            }
        }
    }
}

fn unknown(name: &HostName, rule: &str, error: &io::Error) -> Failure {
    let message = format!("cannot look up `{name}`, of rule `{rule}`: {error}");
    Failure::new(Code::Conflict, message).hint(
        "names are looked up where injector is started, not in the namespace of `--netns`: try \
         `getent ahosts NAME` here, or write addresses",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    fn named(addresses: &[&str]) -> Named {
        let text = "{name: x, rules: [{match: {dst: db}, drop: 1%}]}";
        Named {
            profile: profile::parse("x", text).unwrap(),
            answers: [(db(), set(addresses))].into(),
        }
    }

    fn db() -> HostName {
        HostName::new("db").unwrap()
    }

    fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect()
    }

    fn shown(named: &mut Named, answer: Answer, lost: &mut BTreeSet<HostName>) -> Vec<String> {
        let changes = named.update(vec![(db(), answer)], lost);
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_changes_is_said_and_failures_once() {
        let (mut named, mut lost) = (named(&["192.0.2.1"]), BTreeSet::new());
        let gone = || Err(io::Error::other("gone"));
        let none: [&str; 0] = [];
        assert_eq!(shown(&mut named, Ok(set(&["192.0.2.1"])), &mut lost), none);
        let said = shown(&mut named, gone(), &mut lost);
        assert_eq!(
            said,
            ["cannot look up `db` any more, its addresses stay: gone"]
        );
        assert_eq!(shown(&mut named, gone(), &mut lost), none);
        assert_eq!(named.answers[&db()], set(&["192.0.2.1"]));
        let said = shown(
            &mut named,
            Ok(set(&["2001:db8::1", "192.0.2.2"])),
            &mut lost,
        );
        assert_eq!(said, ["`db` is now 192.0.2.2, 2001:db8::1"]);
        assert_eq!(shown(&mut named, gone(), &mut lost).len(), 1);
        let rule = &named.profile().rules().next().unwrap()[0].clone();
        assert_eq!(rule.matching.dst.len(), 2);
    }
}
