//! Where faults are injected.

mod targets;

use std::{collections::BTreeSet, fmt, sync::Arc};

use glob::Pattern;

use crate::{
    datapath::{Netns, netlink::Netlink, pair::Names},
    error::{Code, Failure},
    profile::{Addresses, Profile},
    units::Interface,
};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its namespace.
    pub netns: Netns,
    /// Its name.
    pub device: String,
    /// What it is to the profile, where that has targets.
    pub target: Option<Target>,
}

/// A target of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Its name.
    pub name: String,
    /// The addresses of all targets.
    pub addresses: Arc<Addresses>,
}

impl Place {
    /// Where a profile is to be played: on its targets; else on the interfaces that the command line names, or else on
    /// those that the profile does.
    pub(super) fn of(
        profile: &Profile,
        interfaces: &[String],
        netns: &Netns,
    ) -> Result<Vec<Self>, Failure> {
        if !profile.targets.is_empty() {
            return match interfaces {
                [] => targets::find(&profile.targets, netns),
                _ => Err(targets::not_named_twice(profile)),
            };
        }
        if !interfaces.is_empty() {
            return Self::all(interfaces, netns);
        }
        let named = profile.interfaces.iter();
        let named: Vec<_> = named.map(|Interface(name)| name.clone()).collect();
        Self::all(&named, netns)
    }

    /// What is to be played here of a profile.
    pub(super) fn share_of(&self, profile: Profile) -> Profile {
        match &self.target {
            Some(Target { name, addresses }) => profile.at(name, addresses),
            None => profile,
        }
    }

    /// Makes sure that a profile that takes another's place is about the same targets as that was.
    pub(super) fn require_same_targets(&self, profile: &Profile) -> Result<(), Failure> {
        let mut found: Vec<_> = profile.targets.iter().map(|target| &target.name).collect();
        found.sort_unstable();
        let addresses = self.target.iter().map(|target| &target.addresses);
        if found
            .into_iter()
            .eq(addresses.flat_map(|addresses| addresses.keys()))
        {
            return Ok(());
        }
        let message = format!(
            "profile `{}` has other targets than those in force",
            profile.name
        );
        Err(Failure::new(Code::Usage, message).hint("end the run, and start it with this profile"))
    }

    /// The interfaces that are named: by names, which need not be there yet, or by patterns, of which each stands
    /// for all that are there. One that is named twice counts once.
    pub(super) fn all(interfaces: &[String], netns: &Netns) -> Result<Vec<Self>, Failure> {
        let places = Self::all_of(interfaces, netns)?;
        if places.is_empty() {
            return Err(Failure::new(Code::Usage, "no interface is named")
                .hint("name it: `-i eth0`; or write `interfaces` into the profile"));
        }
        Ok(places)
    }

    /// Likewise; none where none is named.
    pub(super) fn all_of(interfaces: &[String], netns: &Netns) -> Result<Vec<Self>, Failure> {
        let mut devices = Vec::new();
        for interface in interfaces {
            if is_pattern(interface) {
                devices.extend(matching(interface, netns)?);
            } else {
                devices.push(interface.clone());
            }
        }
        let mut seen = BTreeSet::new();
        devices.retain(|device| seen.insert(device.clone()));
        let place = |device| Self {
            netns: netns.clone(),
            device,
            target: None,
        };
        Ok(devices.into_iter().map(place).collect())
    }

    /// What these are called together.
    pub(super) fn list(places: &[&Self]) -> String {
        /// More than anybody reads in one line.
        const NAMED_MAX: usize = 8;
        if places.len() > NAMED_MAX {
            return format!("{} interfaces", places.len());
        }
        let names: Vec<_> = places.iter().map(ToString::to_string).collect();
        names.join(", ")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            self.target
                .as_ref()
                .map_or(&self.device, |target| &target.name),
        )
    }
}

/// Whether it is no name, but stands for several.
fn is_pattern(interface: &str) -> bool {
    interface.contains(['*', '?', '['])
}

/// The interfaces that a pattern stands for, in the order of their indexes. The loopback device has to be named,
/// and the private pairs are nobody's business.
fn matching(pattern: &str, netns: &Netns) -> Result<Vec<String>, Failure> {
    let wanted = Pattern::new(pattern).map_err(|error| {
        let message = format!("`{pattern}` is not a pattern of interfaces: {error}");
        Failure::new(Code::Usage, message).hint("`*` stands for anything, `?` for one character")
    })?;
    let there = candidates(netns)?;
    let found: Vec<_> = there.iter().filter(|name| wanted.matches(name)).collect();
    if found.is_empty() {
        let message = format!("no interface in {netns} matches `{pattern}`");
        return Err(Failure::new(Code::Conflict, message)
            .hint(format!("interfaces there: {}", there.join(", "))));
    }
    Ok(found.into_iter().cloned().collect())
}

/// The interfaces that nobody has to name, in the order of their indexes.
fn candidates(netns: &Netns) -> Result<Vec<String>, Failure> {
    let mut links = netns.run(|| Netlink::open()?.links())?;
    links.sort_by_key(|link| link.index);
    let is_meant = |name: &String| name != "lo" && Names::device(name).is_none();
    let names = links.into_iter().map(|link| link.name);
    Ok(names.filter(is_meant).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(interfaces: &[&str]) -> Result<Vec<String>, Failure> {
        let interfaces: Vec<_> = interfaces.iter().map(|&name| name.to_owned()).collect();
        let places = Place::all(&interfaces, &Netns::Current)?;
        Ok(places.into_iter().map(|place| place.device).collect())
    }

    #[test]
    fn a_name_stands_for_itself_once_wherever_it_is() {
        assert_eq!(
            devices(&["nowhere0", "lo", "nowhere0"]).unwrap(),
            ["nowhere0", "lo"]
        );
    }

    #[test]
    fn what_names_nothing_is_refused() {
        assert_eq!(devices(&[]).unwrap_err().code, Code::Usage);
        for (pattern, code) in [("nowhere*", Code::Conflict), ("eth[", Code::Usage)] {
            assert_eq!(devices(&[pattern]).unwrap_err().code, code, "{pattern}");
        }
    }

    #[test]
    fn the_loopback_device_has_to_be_named() {
        let error = devices(&["l[o]"]).unwrap_err();
        assert_eq!(error.code, Code::Conflict, "{error}");
    }
}
